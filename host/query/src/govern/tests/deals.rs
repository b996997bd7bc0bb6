//! What the sizes and the order of batches tell: how many rows there are to be seen, and nothing of those between.

use super::*;
use crate::{QueryError, session::BATCH_ROWS};

/// Rows 0, 1, … to be seen in batches of any size over several partitions, with hidden rows between them as `hidden` says.
fn stored(visible: i64, sizes: &[usize], hidden: impl Fn(i64) -> usize) -> Arc<dyn TableProvider> {
    let rows = (0..visible).flat_map(|id| {
        let x =
            (0..hidden(id)).map(move |at| if at % 2 == 0 { row(id, "x", MARK, 0, MARK) } else { row(900, "a", MARK, 0, MARK) });
        x.chain([row(if id < 900 { id } else { id + 100 }, "a", "n", 0, "s")])
    });
    let rows: Vec<Row> = rows.collect();
    let (mut batches, mut rest, mut sizes) = (Vec::new(), rows.as_slice(), sizes.iter().cycle());
    while !rest.is_empty() {
        let (first, others) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        batches.push(batch(first));
        rest = others;
    }
    table(batches)
}

fn expected(visible: i64) -> BTreeSet<Vec<i64>> {
    let ids: Vec<i64> = (0..visible).map(|id| if id < 900 { id } else { id + 100 }).collect();
    ids.chunks(BATCH_ROWS).map(<[i64]>::to_vec).collect()
}

async fn ids(lake: &Lake, sql: &str) -> BTreeSet<Vec<i64>> {
    let batches = lake.rows(sql).await.unwrap();
    batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn batches_hold_the_same_rows_however_many_hidden_ones_lie_between() {
    const VISIBLE: i64 = 40_000;
    let hidden: [fn(i64) -> usize; 4] =
        [|_| 0, |id| usize::from(id % 3 == 0), |id| if id == 20_000 { 30_000 } else { 0 }, |id| if id < 10_000 { 5 } else { 0 }];
    for hidden in hidden {
        for sizes in [&[8_192_usize][..], &[1, 3_000, 20_000, 7], &[200_000], &[1_000]] {
            let base = stored(VISIBLE, sizes, hidden);
            let filter = "grp <> 'x'";
            let one = Lake::default().with("v", governed(Arc::clone(&base), filter, Fake::Stars));
            cpu().block_on(async {
                assert_eq!(ids(&one, "SELECT id, secret FROM v").await, expected(VISIBLE), "{sizes:?}");
                assert_eq!(one.text("SELECT count(*), count(secret), sum(id) FROM v").await.unwrap(), total(VISIBLE));
            });
            // The lower redacts what the upper asks of, so that each is a leaf of its own.
            let schema = base.schema();
            let columns = schema.fields().iter().enumerate();
            let columns =
                columns.map(|(at, field)| OutputColumn { base: at, field: Arc::clone(field), rule: None }).collect::<Vec<_>>();
            let lower = Governed { filter: None, ..rules(base, filter, Fake::Stars) };
            let upper = RowFilter::parse("grp <> 'x' AND secret = '***'", &schema, template().bare()).unwrap();
            let above = lower.below(Upper { name: "v".into(), columns, filter: Some(upper) });
            let both = Lake::default().with("v", above.into_provider());
            cpu().block_on(async { assert_eq!(ids(&both, "SELECT id FROM v").await, expected(VISIBLE), "{sizes:?}, stacked") });
        }
    }
}

fn total(visible: i64) -> String {
    let sum: i64 = (0..visible).map(|id| if id < 900 { id } else { id + 100 }).sum();
    format!("{visible} | {visible} | {sum}")
}

/// The rule breaks at a row of the third of four parts.
#[test]
fn a_part_that_breaks_ends_the_answer_and_is_never_left_out() {
    let secret = |id: i64| if id == 30_000 { MARK } else { "s" };
    let rows: Vec<Row> = (1_000..41_000).map(|id| row(id, "a", "n", 0, secret(id))).collect();
    let base = table(rows.chunks(10_000).map(batch).collect());
    let lake = Lake::default().with("v", governed(base, "grp <> 'x'", Fake::Picky));
    cpu().block_on(async {
        for sql in ["SELECT id, secret FROM v", "SELECT count(secret) FROM v", "SELECT id, secret FROM v ORDER BY id"] {
            let error = lake.rows(sql).await.unwrap_err();
            assert!(matches!(&error, QueryError::Rule { .. }), "{sql}: {error:?}");
        }
        // What is not asked of the rule does not break.
        assert_eq!(lake.text("SELECT count(*) FROM v").await.unwrap(), "40000");
    });
}

/// Who has enough leaves the others at work.
#[test]
fn a_join_and_a_limit_take_what_they_need() {
    let base = stored(30_000, &[5_000], |id| usize::from(id % 2 == 0));
    let lake = Lake::default().with("v", governed(base, "grp <> 'x'", Fake::Stars)).apart(256 << 20);
    cpu().block_on(async {
        for (sql, expected) in [
            ("SELECT count(*) FROM (SELECT id FROM v LIMIT 10)", "10"),
            ("SELECT count(*) FROM v a JOIN v b ON a.id = b.id", "30000"),
            ("SELECT count(*) FROM v a JOIN (SELECT id FROM v ORDER BY id LIMIT 3) b ON a.id > b.id AND a.id < 10", "24"),
            ("SELECT count(*) FROM (SELECT id FROM v UNION ALL SELECT id FROM v)", "60000"),
            ("SELECT count(*) FROM v WHERE id IN (SELECT id FROM v WHERE id < 5)", "5"),
        ] {
            assert_eq!(lake.text(sql).await.unwrap(), expected, "{sql}");
        }
    });
}

/// What is read ahead is memory of the query.
#[test]
fn what_is_read_ahead_is_paid_for() {
    let wide: Vec<Row> = (1_000..3_000).map(|id| row(id, "a", "n".repeat(1 << 10), 0, "s")).collect();
    let base = table(wide.chunks(500).map(batch).collect());
    let lake = |memory| Lake::default().with("v", governed(Arc::clone(&base), "grp <> 'x'", Fake::Stars)).apart(memory);
    cpu().block_on(async {
        let error = lake(64 << 10).rows("SELECT note FROM v").await.unwrap_err();
        assert!(matches!(error, QueryError::Memory), "{error:?}");
        assert_eq!(lake(64 << 20).text("SELECT count(note) FROM v").await.unwrap(), "2000");
    });
}
