//! What is shown of the story: chapters with their time, their checks, and a table at the end.
//!
//! **Invariant**: a chapter without a check that held counts as failed.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::spoken;
use crate::{
    console::{Console, table},
    failure::Failure,
};

/// Where a chapter's time stands.
const TIME_COLUMN: usize = 86;

pub(super) struct Narrator {
    console: Console,
    planned: usize,
    chapters: Vec<Chapter>,
    figures: Vec<(String, String)>,
    colours: bool,
    spinner: Option<ProgressBar>,
}

struct Chapter {
    title: String,
    began: Instant,
    took: Option<Duration>,
    lines: Vec<String>,
    held: usize,
    failed: Vec<String>,
}

impl Narrator {
    pub(super) fn new(console: Console, planned: usize) -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { console, planned, chapters: Vec::new(), figures: Vec::new(), colours, spinner: None }
    }

    pub(super) fn console(&self) -> Console {
        // No bars of other hands between the chapters.
        Console { person: false, ..self.console }
    }

    pub(super) fn title(&self, text: &str) {
        self.say(&format!("\n  {}\n", self.paint("1", &format!("lakehouse demo: {text}"))));
    }

    /// A word after the end.
    pub(super) fn aside(&self, text: &str) {
        self.say(&format!("  {text}"));
    }

    /// Begins a chapter; the one before must have ended.
    pub(super) fn begin(&mut self, title: &str) {
        if self.console.person && io::stderr().is_terminal() {
            let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
                spinner.set_style(style);
            }
            spinner.set_message(title.to_owned());
            spinner.enable_steady_tick(Duration::from_millis(90));
            self.spinner = Some(spinner);
        }
        self.chapters.push(Chapter {
            title: title.to_owned(),
            began: Instant::now(),
            took: None,
            lines: Vec::new(),
            held: 0,
            failed: Vec::new(),
        });
    }

    /// Something worth seeing.
    pub(super) fn show(&mut self, text: impl AsRef<str>) {
        if let Some(chapter) = self.chapters.last_mut() {
            chapter.lines.extend(text.as_ref().lines().map(|line| format!("     {line}")));
        }
    }

    /// A statement that must hold.
    pub(super) fn check(&mut self, holds: bool, text: impl AsRef<str>) {
        let text = text.as_ref();
        let mark = if holds { self.paint("32", "✓") } else { self.paint("31;1", "✗") };
        if let Some(chapter) = self.chapters.last_mut() {
            chapter.lines.push(format!("     {mark} {text}"));
            if holds {
                chapter.held += 1;
            } else {
                chapter.failed.push(text.to_owned());
            }
        }
    }

    /// A figure for the table at the end.
    pub(super) fn figure(&mut self, name: &str, value: impl Into<String>) {
        self.figures.push((name.to_owned(), value.into()));
    }

    /// Ends the chapter and shows it.
    pub(super) fn end(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
        let number = self.chapters.len();
        let Some(chapter) = self.chapters.last_mut().filter(|chapter| chapter.took.is_none()) else { return };
        let took = chapter.began.elapsed();
        chapter.took = Some(took);
        if chapter.held == 0 && chapter.failed.is_empty() {
            chapter.failed.push("nothing was checked".into());
        }
        let (title, lines) = (chapter.title.clone(), chapter.lines.join("\n"));
        let gap = TIME_COLUMN.saturating_sub(5 + title.chars().count());
        self.say(&format!(
            "  {number:>2} {}{:>gap$}",
            self.paint("1", &title),
            self.paint("2", &spoken(took)),
            gap = gap + if self.colours { 8 } else { 0 }
        ));
        self.say(&lines);
        self.say("");
    }

    /// Ends the chapter with the failure that broke it off.
    pub(super) fn broke_off(&mut self, failure: &Failure) {
        if let Some(chapter) = self.chapters.last_mut().filter(|chapter| chapter.took.is_none()) {
            chapter.failed.push(failure.to_string());
            let lines = failure.explain();
            self.check(false, "the chapter broke off:");
            self.show(lines.join("\n"));
            self.end();
        }
    }

    /// How many checks failed; chapters that were never told count one each.
    pub(super) fn failed(&self) -> usize {
        let untold = self.planned.saturating_sub(self.chapters.len());
        untold + self.chapters.iter().map(|chapter| chapter.failed.len()).sum::<usize>()
    }

    /// The table at the end, or the whole report as JSON.
    pub(super) fn summary(&self) -> Result<(), Failure> {
        let held: usize = self.chapters.iter().map(|chapter| chapter.held).sum();
        if self.console.json {
            return self.console.write_json(&self.report(held));
        }
        let rows: Vec<[Value; 3]> = self
            .chapters
            .iter()
            .map(|chapter| {
                let outcome = if chapter.failed.is_empty() { format!("{} held", chapter.held) } else { "FAILED".to_owned() };
                [json!(chapter.title), json!(outcome), json!(chapter.took.map_or_else(String::new, spoken))]
            })
            .collect();
        self.say(&table(&["chapter", "checks", "time"], rows.iter().map(|row| row.iter())));
        if !self.figures.is_empty() {
            let rows: Vec<[Value; 2]> = self.figures.iter().map(|(name, value)| [json!(name), json!(value)]).collect();
            self.say(&table(&["measured", ""], rows.iter().map(|row| row.iter())));
        }
        match self.failed() {
            0 => self.say(&self.paint("32;1", &format!("\n  all {held} checks of {} chapters held", self.chapters.len()))),
            failed => self.say(&self.paint("31;1", &format!("\n  failed: {failed}, held: {held}"))),
        }
        if self.failed() == 0 {
            self.say(NEXT);
        }
        Ok(())
    }

    fn report(&self, held: usize) -> Value {
        let chapters: Vec<Value> = self
            .chapters
            .iter()
            .map(|chapter| {
                json!({
                    "chapter": chapter.title,
                    "duration_ms": chapter.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                    "held": chapter.held,
                    "failed": chapter.failed,
                })
            })
            .collect();
        let figures: serde_json::Map<String, Value> =
            self.figures.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({ "chapters": chapters, "held": held, "failed": self.failed(), "measured": figures })
    }

    fn say(&self, text: &str) {
        if !self.console.json {
            let _ = writeln!(io::stdout().lock(), "{text}");
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

const NEXT: &str = "
  What to try next
     lakehouse demo --file YOUR.csv --id COLUMN      the same story on your own rows
     lakehouse demo --keep                           keep the folder, and look at the Delta tables in it
     lakehouse serve                                 a server to stay; its API is browsable at /docs
     plugins/redact-mask/src/lib.rs                  a rule is this short: change one, `make components`, push it
";
