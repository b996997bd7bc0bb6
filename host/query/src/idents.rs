//! Column names in the case of their source.
//!
//! **Invariant**: an unquoted name finds the column that is written the same, then the only one that differs in case, among those
//! that its place in the statement can see: the nearest query first. Quoted names are left alone, and so are members of objects; an
//! alias is what SQL makes of it. Files from the wild have headers like `Miles_per_Gallon`, and SQL would fold them to lower case.

mod scope;

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Cte, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    Statement, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut, With,
};

use self::scope::{Columns, Scope};
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
    if known.values().flatten().any(|name| is_cased(name)) {
        let _ = statement.visit(&mut Restore { known, named: Vec::new(), scopes: Vec::new(), withs: Vec::new() });
    }
}

/// The same for one expression over some columns.
pub(crate) fn restore_case_of(expr: &mut Expr, columns: Vec<String>) {
    if columns.iter().any(|name| is_cased(name)) {
        let (known, scopes) = (Known::new(), vec![Scope::of(columns)]);
        let _ = expr.visit(&mut Restore { known: &known, named: Vec::new(), scopes, withs: Vec::new() });
    }
}

fn is_cased(name: &str) -> bool {
    name.chars().any(char::is_uppercase)
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
        restore(ident, self.scopes.iter().rev().find_map(|scope| scope.columns.find(ident)));
    }

    /// `relation.column.member…` or `column.member…`: one part is a column.
    fn compound(&self, parts: &mut [Ident]) {
        if let Some((place, found)) = self.scopes.iter().rev().find_map(|scope| scope.find_in(parts)) {
            restore(&mut parts[place], found);
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
                    SelectItem::UnnamedExpr(Expr::Identifier(ident)) => vec![found(&inputs.columns, ident)],
                    SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => match inputs.find_in(parts) {
                        Some((place, found)) if place + 1 == parts.len() => {
                            vec![found.unwrap_or_else(|| normalized(&parts[place]))]
                        }
                        Some(_) => Vec::new(),
                        None => parts.last().map(normalized).into_iter().collect(),
                    },
                    SelectItem::ExprWithAlias { alias, .. } => vec![normalized(alias)],
                    SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => inputs.columns.names().collect(),
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

    /// What the relations after FROM give.
    fn inputs(&mut self, from: &[TableWithJoins]) -> Scope {
        let mut scope = Scope::default();
        for part in from {
            self.factor(&part.relation, &mut scope);
            for join in &part.joins {
                self.factor(&join.relation, &mut scope);
            }
        }
        scope
    }

    fn factor(&mut self, factor: &TableFactor, scope: &mut Scope) {
        let (columns, alias, own_name) = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                (self.relation(name), alias, name.0.last().and_then(|part| part.as_ident()).map(normalized))
            }
            TableFactor::Derived { subquery, alias, .. } => (self.outputs(subquery), alias, None),
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let inner = self.inputs(std::slice::from_ref(table_with_joins));
                let columns = inner.columns.names().collect();
                if alias.is_none() {
                    scope.relations.extend(inner.relations);
                }
                (columns, alias, None)
            }
            TableFactor::Table { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => (Vec::new(), alias, None),
            _ => return,
        };
        let name = alias.as_ref().map(|alias| normalized(&alias.name)).or(own_name);
        scope.add(name, columns.into_iter().chain(aliased(alias.as_ref())));
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

fn restore(ident: &mut Ident, found: Option<String>) {
    if let Some(found) = found.filter(|found| ident.quote_style.is_none() && is_cased(found)) {
        *ident = Ident { value: found, quote_style: Some('"'), span: ident.span };
    }
}

fn found(columns: &Columns, ident: &Ident) -> String {
    columns.find(ident).unwrap_or_else(|| normalized(ident))
}

/// What SQL makes of a member's name, so that it is taken for no column.
fn settle(member: &mut Expr) {
    if let Expr::Identifier(ident) = member {
        *ident = Ident { value: normalized(ident), quote_style: Some(ident.quote_style.unwrap_or('"')), span: ident.span };
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
            Expr::CompoundIdentifier(parts) => self.compound(parts),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    if let AccessExpr::Dot(member) = access {
                        settle(member);
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
