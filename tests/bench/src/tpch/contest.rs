//! The same queries at several sides, in turns.

use super::{Board, answer, peer::Peer, texts::Query};
use crate::{
    bar::{median, ms},
    host::{Failure, Host},
};

const ROUNDS: usize = 5;

/// Who is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    /// The server, over HTTP.
    Server,
    /// A peer by its number, about the tables that it has under this name.
    Peer { peer: usize, tables: &'static str },
}

/// Who is asked what.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) at: At,
    /// One for each query.
    pub(crate) texts: Vec<String>,
}

pub(crate) struct Contest<'a> {
    pub(crate) host: &'a Host,
    pub(crate) peers: &'a mut [Peer],
    pub(crate) sides: Vec<Side>,
}

impl Contest<'_> {
    /// Asks everybody once and compares: how many rows were equal.
    ///
    /// # Errors
    /// Names every query that failed or differs, and where.
    pub(crate) async fn warm(&mut self, queries: &[Query]) -> Result<usize, Failure> {
        let (mut equal, mut wrong) = (0, Vec::new());
        for (at, query) in queries.iter().enumerate() {
            let mut first: Option<Vec<String>> = None;
            for side in 0..self.sides.len() {
                let place = format!("q{} at {}", query.number, self.sides[side].name);
                match self.answer(side, at).await.and_then(|stream| answer::rows(&stream)) {
                    Err(error) => wrong.push(format!("{place}: {error}")),
                    Ok(rows) => match &first {
                        None => first = Some(rows),
                        Some(expected) if *expected == rows => {}
                        Some(expected) => wrong.push(format!("{place}: {}", apart(&rows, expected))),
                    },
                }
            }
            equal += first.map_or(0, |rows| rows.len());
        }
        if wrong.is_empty() { Ok(equal) } else { Err(format!("answers are not equal\n{}", wrong.join("\n")).into()) }
    }

    /// Each query at each side, a round after the other; who begins changes by round and query.
    pub(crate) async fn run(&mut self, queries: &[Query]) -> Result<Board, Failure> {
        let sides = self.sides.len();
        let mut times = vec![vec![Vec::with_capacity(ROUNDS); sides]; queries.len()];
        for round in 0..ROUNDS {
            for (at, times) in times.iter_mut().enumerate() {
                for turn in 0..sides {
                    let side = (turn + round + at) % sides;
                    times[side].push(self.timed(side, at).await?);
                }
            }
        }
        let mut board = Board::new(self.sides.iter().map(|side| side.name).collect());
        for (query, times) in queries.iter().zip(times) {
            board.add(query.number, times.into_iter().map(median).collect());
        }
        Ok(board)
    }

    async fn answer(&mut self, side: usize, query: usize) -> Result<Vec<u8>, Failure> {
        let Side { at, texts, .. } = &self.sides[side];
        match *at {
            At::Server => Ok(self.host.arrow(&texts[query]).await?.1),
            At::Peer { peer, tables } => self.peers[peer].answer(tables, &texts[query]),
        }
    }

    async fn timed(&mut self, side: usize, query: usize) -> Result<f64, Failure> {
        let Side { at, texts, .. } = &self.sides[side];
        let took = match *at {
            At::Server => self.host.arrow(&texts[query]).await?.0,
            At::Peer { peer, tables } => self.peers[peer].timed(tables, &texts[query])?,
        };
        Ok(ms(took))
    }
}

fn apart(rows: &[String], expected: &[String]) -> String {
    let pair = rows.iter().zip(expected).find(|(row, expected)| row != expected);
    let (row, first) = pair.map_or(("", ""), |(row, expected)| (row.as_str(), expected.as_str()));
    format!("{} rows against {}; the first that differ are `{row}` and `{first}`", rows.len(), expected.len())
}
