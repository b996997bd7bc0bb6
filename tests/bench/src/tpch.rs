//! TPC-H at scale factor 1 over HTTP, beside DataFusion and DuckDB on the very files of our tables.

mod answer;
mod board;
mod contest;
mod lake;
mod peer;
mod texts;

pub(crate) use self::{
    board::Board,
    contest::{At, Contest, Side},
    lake::Lake,
    texts::{Query, Substitute},
};

use self::peer::Peer;
use crate::{bar::Bars, host::Failure};

/// Peers read the tables' own files under this name,
const OURS: &str = "tables";
/// and what the generator wrote under that one.
const GENERATED: &str = "generated";

pub(crate) async fn run(bars: &mut Bars, lake: &Lake) -> Result<(), Failure> {
    let mut peers = [Peer::start("datafusion")?, Peer::start("duckdb")?];
    let mut versions = Vec::new();
    for peer in &mut peers {
        peer.open(GENERATED, lake.generated())?;
        versions.push(peer.open(OURS, lake.tables())?);
    }
    let texts: Vec<String> = lake.queries().iter().map(Query::sql).collect();
    let side = |name, at| Side { name, at, texts: texts.clone() };
    let sides = vec![
        side("ours", At::Server),
        side("datafusion", At::Peer { peer: 0, tables: OURS }),
        side("duckdb", At::Peer { peer: 1, tables: OURS }),
        side("datafusion, generated", At::Peer { peer: 0, tables: GENERATED }),
        side("duckdb, generated", At::Peer { peer: 1, tables: GENERATED }),
    ];
    let mut contest = Contest { host: lake.host(), peers: &mut peers, sides };
    let equal = contest.warm(lake.queries()).await?;
    let board = contest.run(lake.queries()).await?;
    println!("TPC-H, DataFusion {} and DuckDB {}; ms, and how many times theirs ours is", versions[0], versions[1]);
    board.print();
    let total = board.totals();
    for (name, side, limit) in [("tpch.ratio_datafusion", 1, 1.10), ("tpch.ratio_duckdb", 2, 1.4)] {
        let beside = format!(
            "{:.2} s over HTTP against {:.2} s, {} queries, {equal} rows equal; theirs on the generator's files {:.2} s",
            total[0] / 1e3,
            total[side] / 1e3,
            texts.len(),
            total[side + 2] / 1e3
        );
        bars.at_most(name, total[0] / total[side], limit, &beside);
    }
    Ok(())
}
