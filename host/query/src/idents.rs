//! Column names in the case of their source.
//!
//! **Invariant**: an unquoted name finds the column that is written the same, then the only one that differs in case, among those
//! that its place in the statement can see: the nearest query first. Quoted names are left alone, and an alias is what SQL makes of
//! it. Files from the wild have headers like `Miles_per_Gallon`, and SQL would fold them to lower case.

use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
};

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement,
    TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut, With,
};

use crate::names::SCHEMA;

/// An identifier as SQL folds it.
pub(crate) fn normalized(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The columns of the relations that a statement reads, by schema and name.
pub(crate) type Known = HashMap<(String, String), Vec<String>>;

/// Quotes the unquoted column names of `statement` that stand for a column in another case than lower.
pub(crate) fn restore_case(statement: &mut Statement, known: &Known) {
    if known.values().flatten().any(|name| name.chars().any(char::is_uppercase)) {
        let _ = statement.visit(&mut Restore { known, named: Vec::new(), scopes: Vec::new(), withs: Vec::new() });
    }
}

/// The names that a place can see, by their lower case.
#[derive(Default)]
struct Scope(HashMap<String, BTreeSet<String>>);

impl Scope {
    fn of(names: impl IntoIterator<Item = String>) -> Self {
        let mut scope = Self::default();
        for name in names {
            scope.0.entry(name.to_lowercase()).or_default().insert(name);
        }
        scope
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.0.values().flatten().cloned()
    }

    /// What an unquoted name finds; none where this scope has nothing of the kind.
    fn find(&self, ident: &Ident) -> Option<String> {
        let folded = ident.value.to_lowercase();
        let candidates = self.0.get(&folded)?;
        if candidates.contains(&ident.value) {
            return Some(ident.value.clone());
        }
        match candidates.first() {
            Some(only) if candidates.len() == 1 => Some(only.clone()),
            _ => Some(folded),
        }
    }
}

struct Restore<'a> {
    known: &'a Known,
    /// Columns of the names of WITH, of the queries around.
    named: Vec<HashMap<String, Vec<String>>>,
    /// What the queries and selects around can see.
    scopes: Vec<Scope>,
    /// The WITH of each query around, which is visited before the rest of it.
    withs: Vec<Option<With>>,
}

impl Restore<'_> {
    fn ident(&self, ident: &mut Ident) {
        if ident.quote_style.is_some() {
            return;
        }
        let found = self.scopes.iter().rev().find_map(|scope| scope.find(ident));
        if let Some(found) = found.filter(|found| found.chars().any(char::is_uppercase)) {
            ident.value = found;
            ident.quote_style = Some('"');
        }
    }

    /// The names that a query gives out.
    fn outputs(&mut self, query: &Query) -> Vec<String> {
        self.named.push(HashMap::new());
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.name(cte);
        }
        let outputs = self.given(&query.body);
        self.named.pop();
        outputs
    }

    fn name(&mut self, cte: &Cte) {
        let mut columns = self.outputs(&cte.query);
        columns.extend(aliased(Some(&cte.alias)));
        if let Some(named) = self.named.last_mut() {
            named.insert(normalized(&cte.alias.name), columns);
        }
    }

    fn given(&mut self, body: &SetExpr) -> Vec<String> {
        match body {
            SetExpr::Select(select) => {
                let inputs = self.inputs(&select.from);
                let of_item = |item: &SelectItem| match item {
                    SelectItem::UnnamedExpr(Expr::Identifier(ident)) => vec![found(&inputs, ident)],
                    SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                        parts.last().map(|ident| found(&inputs, ident)).into_iter().collect()
                    }
                    SelectItem::ExprWithAlias { alias, .. } => vec![normalized(alias)],
                    SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => inputs.names().collect(),
                    _ => Vec::new(),
                };
                select.projection.iter().flat_map(of_item).collect()
            }
            SetExpr::Query(query) => self.outputs(query),
            // The names are those of the first.
            SetExpr::SetOperation { left, .. } => self.given(left),
            _ => Vec::new(),
        }
    }

    /// The names that the relations after FROM give.
    fn inputs(&mut self, from: &[TableWithJoins]) -> Scope {
        let mut names = Vec::new();
        for part in from {
            self.factor(&part.relation, &mut names);
            for join in &part.joins {
                self.factor(&join.relation, &mut names);
            }
        }
        Scope::of(names)
    }

    fn factor(&mut self, factor: &TableFactor, names: &mut Vec<String>) {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                names.extend(self.relation(name));
                names.extend(aliased(alias.as_ref()));
            }
            TableFactor::Derived { subquery, alias, .. } => {
                names.extend(self.outputs(subquery));
                names.extend(aliased(alias.as_ref()));
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                names.extend(self.inputs(std::slice::from_ref(table_with_joins)).names());
                names.extend(aliased(alias.as_ref()));
            }
            TableFactor::Table { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => names.extend(aliased(alias.as_ref())),
            _ => {}
        }
    }

    fn relation(&self, name: &ObjectName) -> Vec<String> {
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(normalized)).collect();
        let key = match parts.as_slice() {
            [table] => {
                if let Some(columns) = self.named.iter().rev().find_map(|named| named.get(table)) {
                    return columns.clone();
                }
                (SCHEMA.to_owned(), table.clone())
            }
            [.., schema, table] => (schema.clone(), table.clone()),
            [] => return Vec::new(),
        };
        self.known.get(&key).cloned().unwrap_or_default()
    }
}

fn found(scope: &Scope, ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => scope.find(ident).unwrap_or_else(|| ident.value.to_lowercase()),
    }
}

/// The column list of an alias; the names that it replaces are kept, which at most leaves a name as it is written.
fn aliased(alias: Option<&TableAlias>) -> Vec<String> {
    alias.into_iter().flat_map(|alias| &alias.columns).map(|column| normalized(&column.name)).collect()
}

fn constraint(join: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match join {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::Semi(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::RightSemi(constraint)
        | JoinOperator::Anti(constraint)
        | JoinOperator::LeftAnti(constraint)
        | JoinOperator::RightAnti(constraint) => Some(constraint),
        _ => None,
    }
}

impl VisitorMut for Restore<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let mut with = query.with.take();
        self.named.push(HashMap::new());
        let recursive = with.as_ref().is_some_and(|with| with.recursive);
        for cte in with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            // A query of WITH sees those before it; itself only where it says so.
            if recursive {
                self.name(cte);
            }
            let _ = cte.query.visit(self);
            self.name(cte);
        }
        self.withs.push(with);
        // ORDER BY sees what is given out, then what is read.
        let read = match query.body.as_ref() {
            SetExpr::Select(select) => self.inputs(&select.from),
            _ => Scope::default(),
        };
        let given = self.given(&query.body);
        self.scopes.extend([read, Scope::of(given)]);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.scopes.truncate(self.scopes.len().saturating_sub(2));
        query.with = self.withs.pop().flatten();
        self.named.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let inputs = self.inputs(&select.from);
        self.scopes.push(inputs);
        for join in select.from.iter_mut().flat_map(|part| &mut part.joins) {
            let Some(JoinConstraint::Using(columns)) = constraint(&mut join.join_operator) else { continue };
            for part in columns.iter_mut().filter_map(|column| column.0.last_mut()) {
                if let ObjectNamePart::Identifier(ident) = part {
                    self.ident(ident);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.ident(ident),
            Expr::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last_mut() {
                    self.ident(last);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, restore_case};
    use crate::guard::{Command, admit};
    use crate::names::SCHEMA;

    fn restored(sql: &str, columns: &[&str]) -> String {
        let Ok(Command::Read(mut statement)) = admit(sql, 10_000) else { panic!("{sql}") };
        let columns = columns.iter().map(ToString::to_string).collect();
        restore_case(&mut statement, &Known::from([((SCHEMA.to_owned(), "c".to_owned()), columns)]));
        statement.to_string()
    }

    #[test]
    fn a_header_is_found_in_any_case() {
        let known = ["Name", "Miles_per_Gallon", "year"];
        assert_eq!(restored("SELECT Name, c.miles_per_gallon FROM c", &known), r#"SELECT "Name", c."Miles_per_Gallon" FROM c"#);
        assert_eq!(restored("SELECT year, YEAR FROM c", &known), "SELECT year, YEAR FROM c");
        assert_eq!(restored(r#"SELECT "name" FROM c"#, &known), r#"SELECT "name" FROM c"#, "quoted names are left alone");
        assert_eq!(
            restored("SELECT 1 FROM c JOIN main.c AS d USING (name) WHERE EXISTS (SELECT 1 FROM x WHERE x.i = NAME)", &known),
            r#"SELECT 1 FROM c JOIN main.c AS d USING("Name") WHERE EXISTS (SELECT 1 FROM x WHERE x.i = "Name")"#
        );
        assert_eq!(
            restored("WITH w AS (SELECT * FROM c), v AS (SELECT name FROM w) SELECT NAME FROM v ORDER BY name", &known),
            r#"WITH w AS (SELECT * FROM c), v AS (SELECT "Name" FROM w) SELECT "Name" FROM v ORDER BY "Name""#
        );
    }

    #[test]
    fn an_alias_is_what_it_is_written_as() {
        for sql in [
            "SELECT count(*) AS year FROM c ORDER BY year",
            "SELECT NAME FROM (SELECT 1 AS name FROM c)",
            "WITH w (year) AS (SELECT 1 FROM c) SELECT year FROM w",
            "SELECT t.year FROM c AS t (year, b)",
            "WITH c AS (SELECT 1 AS year) SELECT YEAR FROM c",
        ] {
            assert_eq!(restored(sql, &["Year", "Name"]), sql);
        }
        assert_eq!(
            restored("WITH c AS (SELECT year AS y FROM c) SELECT Y FROM c", &["Year"]),
            r#"WITH c AS (SELECT "Year" AS y FROM c) SELECT Y FROM c"#,
            "a query of WITH does not see itself"
        );
        assert_eq!(
            restored("SELECT year AS name FROM c WHERE name = 'x' ORDER BY name", &["Year", "Name"]),
            r#"SELECT "Year" AS name FROM c WHERE "Name" = 'x' ORDER BY name"#
        );
    }

    #[test]
    fn what_could_mean_two_columns_is_left_alone() {
        assert_eq!(restored("SELECT id FROM c", &["Id", "ID"]), "SELECT id FROM c");
        assert_eq!(restored("SELECT ID, Id, id FROM c", &["Id", "id"]), r#"SELECT ID, "Id", id FROM c"#);
    }
}
