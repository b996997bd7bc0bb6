//! TPC-H over governed views, beside what somebody would write by hand: the same filters, and the same mask in SQL.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::{
    bar::Bars,
    host::{Failure, Host},
    tpch::{At, Contest, Lake, Side, Substitute},
};

const KEEP_PREFIX: usize = 3;
const KEEP_SUFFIX: usize = 2;

/// A table as some may see it.
struct Rule {
    table: &'static str,
    view: &'static str,
    by_hand: &'static str,
    row_filter: &'static str,
    masked: &'static [&'static str],
}

const RULES: [Rule; 2] = [
    Rule {
        table: "customer",
        view: "customer_v",
        by_hand: "customer_n",
        row_filter: "c_acctbal > -900",
        masked: &["c_name", "c_address"],
    },
    Rule { table: "lineitem", view: "lineitem_v", by_hand: "lineitem_n", row_filter: "l_linenumber <= 6", masked: &[] },
];

pub(crate) async fn run(bars: &mut Bars, lake: &Lake) -> Result<(), Failure> {
    let (mut views, mut by_hand) = (Vec::new(), Vec::new());
    for rule in &RULES {
        let columns = columns(lake.host(), rule.table).await?;
        rule.put(lake.host(), &columns).await?;
        views.push(Substitute { table: rule.table, name: rule.view, select: None });
        by_hand.push(Substitute { table: rule.table, name: rule.by_hand, select: Some(rule.select(&columns)) });
    }
    let side = |name, substitutes: &[Substitute]| {
        let texts = lake.queries().iter().map(|query| query.over(substitutes).sql()).collect();
        Side { name, at: At::Server, texts }
    };
    let sides = vec![side("views", &views), side("by hand", &by_hand)];
    let mut contest = Contest { host: lake.host(), peers: &mut [], sides };
    let equal = contest.warm(lake.queries()).await?;
    let board = contest.run(lake.queries()).await?;
    println!("TPC-H over governed views; ms, and how many times as long as by hand");
    board.print();
    let total = board.totals();
    let beside = format!(
        "{:.2} s over views against {:.2} s with filters and masks in the statements, {equal} rows equal",
        total[0] / 1e3,
        total[1] / 1e3
    );
    bars.at_most("views.ratio_native", total[0] / total[1], 1.5, &beside);
    Ok(())
}

async fn columns(host: &Host, table: &str) -> Result<Vec<String>, Failure> {
    let dataset = host.send(Method::GET, &format!("/catalog/datasets/by-name/{table}"), &Value::Null).await?;
    let columns = dataset["columns"].as_array().ok_or("a dataset without columns")?;
    Ok(columns.iter().filter_map(|column| column["name"].as_str()).map(str::to_owned).collect())
}

impl Rule {
    /// Makes the view.
    async fn put(&self, host: &Host, columns: &[String]) -> Result<(), Failure> {
        let mask = json!({ "mask": { "keep_prefix": KEEP_PREFIX, "keep_suffix": KEEP_SUFFIX } });
        let redactions: Map<String, Value> = self.masked.iter().map(|&column| (column.to_owned(), mask.clone())).collect();
        let body = json!({
            "name": self.view,
            "base_dataset": self.table,
            "columns": columns,
            "row_filter": self.row_filter,
            "column_redactions": redactions,
        });
        host.send(Method::POST, "/catalog/views", &body).await?;
        Ok(())
    }

    /// The view in plain SQL.
    fn select(&self, columns: &[String]) -> String {
        let shown = |column: &String| {
            let is_masked = self.masked.contains(&column.as_str());
            if is_masked { format!("{} as {column}", mask(column)) } else { column.clone() }
        };
        let columns: Vec<String> = columns.iter().map(shown).collect();
        format!("select {} from {} where {}", columns.join(", "), self.table, self.row_filter)
    }
}

/// What the redaction `mask` does where no value is null: characters are counted, and a value with nothing between the ends is starred
/// whole.
fn mask(column: &str) -> String {
    const SHOWN: usize = KEEP_PREFIX + KEEP_SUFFIX;
    format!(
        "case when char_length({column}) <= {SHOWN} then repeat('*', char_length({column})) \
         else concat(substr({column}, 1, {KEEP_PREFIX}), repeat('*', char_length({column}) - {SHOWN}), right({column}, {KEEP_SUFFIX})) end"
    )
}
