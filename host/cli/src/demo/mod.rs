//! `lakehouse demo`: rows in, governed rows out, the rule swapped live, told over HTTP against a server of its own.
//!
//! **Invariant**: exit code 0 means that every chapter was told and each of its checks held.

mod ask; // SQL over HTTP, in small words
mod chapters; // one file per chapter
mod clients; // many at once
mod components; // which files are shipped, which only serve the show
mod lake; // the server as a child process
mod narrator; // what is shown, timed, counted
mod own; // a subject out of any file
mod subject; // what the story is about

use std::time::Duration;

use crate::{args::Demo, console::Console, failure::Failure};
use chapters::Stage;
use narrator::Narrator;

/// The chapters of a whole story; fewer told means that it broke off.
const CHAPTERS: usize = 13;

pub(crate) async fn tell(console: Console, demo: Demo) -> Result<(), Failure> {
    let mut narrator = Narrator::new(console, CHAPTERS);
    let told = tokio::select! {
        told = story(&mut narrator, &demo) => told,
        _ = tokio::signal::ctrl_c() => Err(Failure::Start("interrupted".into())),
    };
    if let Err(failure) = &told {
        narrator.broke_off(failure);
    }
    verdict(told, narrator.failed(), narrator.summary())
}

/// What the story comes to. That nobody reads its summary any more changes nothing about it.
fn verdict(told: Result<(), Failure>, failed: usize, shown: Result<(), Failure>) -> Result<(), Failure> {
    told?;
    if failed > 0 { Err(Failure::Demo { failed }) } else { shown }
}

async fn story(narrator: &mut Narrator, demo: &Demo) -> Result<(), Failure> {
    narrator.title(if demo.file.is_some() {
        "the story, told on your rows"
    } else {
        "rows in, governed rows out, the rule swapped live"
    });
    let mut stage = Stage::open(narrator, demo).await?;
    let subject = match (&demo.file, &demo.id) {
        (Some(file), Some(id)) => chapters::your_rows(narrator, &stage, file, id, demo.text.as_deref()).await?,
        _ => chapters::candidates(narrator, &stage, demo.rows).await?,
    };
    chapters::view(narrator, &mut stage, &subject).await?;
    chapters::free_text(narrator, &stage, &subject).await?;
    chapters::tombstones(narrator, &stage, &subject).await?;
    chapters::search(narrator, &mut stage, &subject).await?;
    chapters::truth(narrator, &stage).await?;
    chapters::swap(narrator, &stage, &subject).await?;
    chapters::hostile(narrator, &stage, &subject).await?;
    chapters::restart(narrator, &mut stage, &subject).await?;
    chapters::erasure(narrator, &stage, &subject).await?;
    stage.close(demo.keep, narrator).await
}

/// Milliseconds as a person reads them.
fn spoken(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{:.1} ms", seconds * 1e3),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Failure, grouped, verdict};

    #[test]
    fn a_failed_check_stays_one_when_nobody_reads() {
        let gone = || Err(Failure::Output(io::ErrorKind::BrokenPipe.into()));
        assert!(matches!(verdict(Ok(()), 2, gone()), Err(Failure::Demo { failed: 2 })));
        assert!(matches!(verdict(Err(Failure::Start("interrupted".into())), 1, gone()), Err(Failure::Start(_))));
        assert!(verdict(Ok(()), 0, gone()).is_err_and(|failure| failure.is_closed_pipe()));
        assert!(verdict(Ok(()), 0, Ok(())).is_ok());
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
