//! T-24 through views upon views: `v` stands on a view that nobody may name, and is joined with `w`, another governed relation.

use super::*;

/// Asks of a column that the lower view redacts, so that the lower is a leaf below the upper.
const OF_REDACTED: &str = "note NOT LIKE 'h%' AND secret = '***'";
/// Asks of what the lower gives out as it is, so that both are one leaf.
const OF_PLAIN: &str = "note NOT LIKE 'h%'";

/// `v` over the view of the other tests: it keeps what `filter` says, no note that begins with `h`, and stars `grp`.
fn above(below: Governed, filter: &str) -> Arc<dyn TableProvider> {
    let schema = below.schema();
    let rule = |name: &str| (name == "grp").then(|| Arc::new(Fake::Stars) as Arc<dyn RowRule>);
    let columns = schema.fields().iter().enumerate();
    let columns =
        columns.map(|(at, field)| OutputColumn { base: at, field: Arc::clone(field), rule: rule(field.name()) }).collect();
    let filter = RowFilter::parse(filter, &schema, template().bare()).unwrap();
    below.below(Upper { name: "v".into(), columns, filter: Some(filter) }).into_provider()
}

/// Two databases that look the same through `v`, of which the lower view shows more than the upper.
fn twins_above() -> [Vec<Vec<Row>>; 2] {
    let [mut one, mut other] = twins();
    one[0].extend([row(70, "b", "h-70", 7, MARK), row(4, "b", "h", 7, MARK), row(71, "a", format!("h{MARK}"), 0, "7")]);
    other[1].extend([row(80, "b", "hush", 1, "1"), row(81, "a", "h1", i64::MIN, "2"), row(82, "b", "h", 0, "3")]);
    [one, other]
}

fn base(rows: &[Vec<Row>]) -> Arc<dyn TableProvider> {
    table(rows.iter().map(|rows| batch(rows)).collect())
}

/// Where the barrier of a view is taken out, the view is plain SQL.
#[derive(Debug, Clone, Copy)]
enum Barriers {
    /// With this filter of the upper.
    Both(&'static str),
    Lower,
    None,
}

const UPPER: &str = "SELECT id, CASE WHEN grp IS NULL THEN NULL ELSE '***' END AS grp, note, n, secret FROM l \
                     WHERE note NOT LIKE 'h%' AND secret = '***'";

async fn lake(rows: &[Vec<Row>], beside: &[Vec<Row>], barriers: Barriers) -> Lake {
    let w = governed(base(beside), "grp <> 'x' AND id <> 3", Fake::Stars);
    let lower = rules(base(rows), "grp <> 'x'", Fake::Stars);
    let v = match barriers {
        Barriers::Both(filter) => above(lower, filter),
        Barriers::Lower => plain_above(lower.into_provider()).await,
        Barriers::None => {
            let plain = without_the_barrier(rows).await;
            plain_above(crate::names::Relations::relation(&plain, crate::names::SCHEMA, "v").await.unwrap().unwrap()).await
        }
    };
    Lake::default().with("v", v).with("w", w).apart(256 << 20)
}

async fn plain_above(lower: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
    let context = SessionContext::new();
    context.register_table("l", lower).unwrap();
    context.sql(UPPER).await.unwrap().into_view()
}

async fn both(barriers: Barriers) -> [Lake; 2] {
    let ([one, other], [beside_one, beside_other]) = (twins_above(), twins());
    [lake(&one, &beside_one, barriers).await, lake(&other, &beside_other, barriers).await]
}

const MORE_PROBES: &[&str] = &[
    "note LIKE 'h%'",
    "note >= 'h'",
    "CAST(note AS BIGINT) > 0",
    "CAST(substr(note, 1, 1) AS INT) >= 0",
    "1 / (id - 70) < 5",
    "1 / (id - 80) < 5",
    "1 / (id - 82) < 5",
    "id = 70",
    "id > 60",
    "id BETWEEN 70 AND 90",
    "grp = 'b'",
    "grp < 'b'",
    "1 / (ascii(grp) - 98) > -5",
    "1 / (length(note) - 1) > -5",
    "CASE WHEN note LIKE 'h%' THEN 1 / (id - id) > 0 ELSE true END",
    "CAST(secret AS INT) > 0 OR id > 0",
];

const MORE_SHAPES: &[&str] = &[
    "SELECT count(*) FROM (SELECT * FROM v WHERE {}) a JOIN w b ON a.id = b.id",
    "SELECT a.id, b.secret FROM (SELECT * FROM v WHERE {}) a LEFT JOIN w b ON a.secret = b.secret AND a.id = b.id",
    "SELECT count(*) FROM v a FULL JOIN (SELECT * FROM w WHERE {}) b ON a.id = b.id",
    "SELECT id FROM w WHERE id IN (SELECT id FROM v WHERE {}) AND NOT EXISTS (SELECT 1 FROM v u WHERE u.id = w.id AND u.n > 0)",
    "WITH a AS (SELECT * FROM v WHERE {}), b AS (SELECT * FROM a WHERE {}) SELECT count(*), max(id) FROM a JOIN b USING (id)",
    "SELECT id, row_number() OVER (PARTITION BY grp ORDER BY secret, id) FROM v WHERE {}",
    "SELECT id, lag(note) OVER (ORDER BY id), sum(n) OVER (PARTITION BY secret) FROM v WHERE {}",
    "SELECT id FROM (SELECT *, rank() OVER (ORDER BY id) AS r FROM v) AS v WHERE r > 2 AND ({})",
    "SELECT (SELECT max(id) FROM v WHERE {}) AS a, (SELECT count(*) FROM w) AS b",
    "SELECT grp, count(*) FROM v WHERE {} GROUP BY ROLLUP (grp) HAVING count(*) > 1",
    "SELECT id FROM v WHERE {} INTERSECT SELECT id FROM w",
    "SELECT id FROM v WHERE {} EXCEPT SELECT id FROM w WHERE id < 4",
    "WITH RECURSIVE r AS (SELECT id FROM v WHERE id = 1 UNION ALL SELECT v.id FROM v JOIN r ON v.id = r.id + 1 WHERE r.id < 5) \
     SELECT count(*) FROM r WHERE id IN (SELECT id FROM v WHERE {})",
    "SELECT CASE WHEN {} THEN id ELSE 0 END AS x FROM v ORDER BY x",
    "SELECT min(note), max(note), max(grp), max(secret), max(n), max(id) FROM v WHERE {}",
    "SELECT id FROM v WHERE {} ORDER BY note, id LIMIT 3",
    "EXPLAIN SELECT count(*) FROM (SELECT * FROM v WHERE {}) a JOIN w b ON a.id = b.id",
];

fn question_above() -> impl Strategy<Value = String> {
    let probes: Vec<&'static str> = PROBES.iter().chain(MORE_PROBES).copied().collect();
    let shapes: Vec<&'static str> = SHAPES.iter().chain(MORE_SHAPES).copied().collect();
    let probe = proptest::sample::select(probes).prop_map(str::to_owned);
    let predicate = probe.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR ({b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    });
    (proptest::sample::select(shapes), predicate).prop_map(|(shape, predicate)| shape.replace("{}", &predicate))
}

/// Whether random questions tell the two apart.
fn tells_apart([one, other]: &[Lake; 2]) -> Result<(), String> {
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&question_above(), |sql| {
        let (a, b) = cpu().block_on(async { (learnt(one, &sql).await, learnt(other, &sql).await) });
        prop_assert_eq!(a, b, "{}", sql);
        Ok(())
    });
    ran.map_err(|error| error.to_string())
}

fn every(probes: &'static [&'static str], shapes: &'static [&'static str]) -> impl Iterator<Item = String> {
    probes.iter().flat_map(move |probe| shapes.iter().map(move |shape| shape.replace("{}", probe)))
}

#[test]
fn through_views_upon_views_nothing_hidden_is_learnt() {
    for filter in [OF_REDACTED, OF_PLAIN] {
        let [one, other] = cpu().block_on(both(Barriers::Both(filter)));
        cpu().block_on(async {
            for sql in every(MORE_PROBES, SHAPES).chain(every(MORE_PROBES, MORE_SHAPES)).chain(every(PROBES, MORE_SHAPES)) {
                assert_eq!(learnt(&one, &sql).await, learnt(&other, &sql).await, "{filter}: {sql}");
            }
        });
        tells_apart(&[one, other]).unwrap_or_else(|told| panic!("{filter}: {told}"));
    }
}

/// The test above can fail, and both barriers are needed.
#[test]
fn with_a_barrier_out_a_leak_is_found_through_views_upon_views() {
    for barriers in [Barriers::None, Barriers::Lower] {
        let lakes = cpu().block_on(both(barriers));
        assert!(tells_apart(&lakes).is_err(), "{barriers:?}: no leak was found: the questions are too tame");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upper_view_shows_is_answered_in_full() {
    let [one, other] = both(Barriers::Both(OF_REDACTED)).await;
    let [third, fourth] = both(Barriers::Both(OF_PLAIN)).await;
    for lake in [one, other, third, fourth] {
        for (sql, expected) in [
            ("SELECT count(*), count(n), count(secret), min(grp), max(grp) FROM v", "11 | 0 | 11 | *** | ***"),
            ("SELECT id, secret, grp, n FROM v WHERE id = 7", "7 | *** | *** | NULL"),
            ("SELECT min(id), max(id), sum(CAST(note AS INT)) FROM v", "1 | 11 | 522"),
            ("SELECT count(*) FROM v a JOIN w b ON a.id = b.id", "10"),
            ("SELECT count(*) FROM v WHERE id > 9", "2"),
            ("SELECT count(*) FROM (SELECT 1 FROM v LIMIT 3)", "3"),
        ] {
            assert_eq!(lake.text(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
        }
    }
}

/// A row that the upper view hides, and on which a rule of the lower would fail, is as if it were not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_the_lower_view_never_meets_what_the_upper_hides() {
    let [visible, _] = visible();
    let poisoned = [visible.clone(), vec![row(70, "b", "h", 1, MARK)]];
    let through = |filter: &str| {
        let lower = rules(base(&poisoned), "grp <> 'x'", Fake::Picky);
        Lake::default().with("v", above(lower, filter))
    };
    for sql in ["SELECT count(secret) FROM v", "SELECT count(secret) FROM v WHERE id < 60"] {
        assert_eq!(through(OF_PLAIN).text(sql).await.unwrap(), "5", "{sql}");
    }
    // What asks of redacted values needs them all.
    assert_eq!(through(OF_REDACTED).text("SELECT count(secret) FROM v").await.unwrap_err().code(), Code::PluginFailed);
}

/// Rules upon rules, each seeing the answer of the one below.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_both_redact_is_redacted_twice() {
    let [rows, _] = visible();
    for (lower, upper, shown) in
        [(Fake::Stars, Fake::Null, "NULL"), (Fake::Stars, Fake::Picky, "***"), (Fake::Null, Fake::Stars, "NULL")]
    {
        let below = rules(base(std::slice::from_ref(&rows)), "true", lower);
        let schema = below.schema();
        let (at, field) = schema.column_with_name("secret").unwrap();
        let column = OutputColumn { base: at, field: Arc::new(field.clone()), rule: Some(Arc::new(upper)) };
        let v = below.below(Upper { name: "v".into(), columns: vec![column], filter: None }).into_provider();
        let text = Lake::default().with("v", v).text("SELECT DISTINCT secret FROM v").await.unwrap();
        assert_eq!(text, shown, "{lower:?} below {upper:?}");
    }
}

/// A comparison goes as far down as its column is given out as it is, and no further.
#[tokio::test(flavor = "multi_thread")]
async fn a_hint_stops_at_the_view_that_redacts_its_column() {
    use datafusion::logical_expr::{TableProviderFilterPushDown, col, lit};
    let [rows, _] = twins_above();
    let v = above(rules(base(&rows), "grp <> 'x'", Fake::Stars), OF_REDACTED);
    let (seven, text) = (lit(7i64), lit("7"));
    for (column, literal, goes) in [("id", &seven, true), ("note", &text, true), ("n", &seven, true), ("grp", &text, false)] {
        let predicate = col(column).eq(literal.clone());
        let told = v.supports_filters_pushdown(&[&predicate]).unwrap();
        let expected = if goes { TableProviderFilterPushDown::Inexact } else { TableProviderFilterPushDown::Unsupported };
        assert_eq!(told, [expected], "{column}");
        // `n` is redacted one view further down: the hint is dropped there, and the rows are those of the output.
        let plan = v.scan(template().bare(), None, &[predicate], None).await.unwrap();
        let rows = datafusion::physical_plan::collect(plan, template().bare().task_ctx()).await.unwrap();
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 11, "{column}");
    }
}
