//! Many clients at once, each answer looked at as a whole.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use futures::future::join_all;

use crate::client::Client;

/// What version 1 of the mask puts in place of a character; version 2 puts `#`.
pub(super) const OLD: char = '*';

/// How an answer was masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    Old,
    New,
    /// Both in one answer: what must never be seen.
    Mixed,
    /// Neither: no row, or rows whose key is absent.
    Bare,
}

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) began: Instant,
    pub(super) face: Face,
    pub(super) rows: usize,
}

/// Looks at every byte of a CSV answer of masked keys.
pub(super) fn classify(body: &[u8]) -> Face {
    let (old, new) = body.iter().fold((false, false), |(old, new), byte| (old | (*byte == b'*'), new | (*byte == b'#')));
    match (old, new) {
        (true, true) => Face::Mixed,
        (true, false) => Face::Old,
        (false, true) => Face::New,
        (false, false) => Face::Bare,
    }
}

/// The clients' shared word to stop, and what they saw.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) stop: Cell<bool>,
    pub(super) answered: RefCell<Vec<Answered>>,
    pub(super) failures: RefCell<Vec<String>>,
}

/// `clients` loop over the statements until the watch stops; whatever is no whole answer is a failure.
pub(super) async fn watch(client: &Client, clients: usize, statements: &[(String, Option<usize>)], watch: Rc<Watch>) {
    let loops = (0..clients).map(|number| {
        let watch = Rc::clone(&watch);
        async move {
            let mut turn = number;
            while !watch.stop.get() {
                let (sql, expected) = &statements[turn % statements.len()];
                turn += 1;
                let began = Instant::now();
                match client.csv(sql).await {
                    Ok(body) => {
                        let rows = body.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
                        if expected.is_some_and(|expected| expected != rows) {
                            watch.failures.borrow_mut().push(format!("{rows} rows where {expected:?} were due"));
                        }
                        watch.answered.borrow_mut().push(Answered { began, face: classify(&body), rows });
                    }
                    Err(failure) => watch.failures.borrow_mut().push(failure.to_string()),
                }
            }
        }
    });
    join_all(loops).await;
}

/// The median time of an answer over `time`, asked by one client at a steady pace.
pub(super) async fn median(client: &Client, sql: &str, time: Duration, pace: Duration) -> (Option<Duration>, usize, Vec<String>) {
    let (mut took, mut failures) = (Vec::new(), Vec::new());
    let end = Instant::now() + time;
    while Instant::now() < end {
        let began = Instant::now();
        match client.csv(sql).await {
            Ok(_) => took.push(began.elapsed()),
            Err(failure) => failures.push(failure.to_string()),
        }
        tokio::time::sleep(pace).await;
    }
    took.sort_unstable();
    (took.get(took.len() / 2).copied(), took.len(), failures)
}

#[cfg(test)]
mod tests {
    use super::{Face, classify};

    #[test]
    fn an_answer_with_both_masks_is_mixed() {
        assert_eq!(classify(b"id\nCAN**01\nCAN##02\n"), Face::Mixed);
        assert_eq!(classify(b"id\nCAN**01\n"), Face::Old);
        assert_eq!(classify(b"id\nCAN##01\n"), Face::New);
        assert_eq!(classify(b"id\n"), Face::Bare);
    }
}
