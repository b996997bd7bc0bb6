//! Which statements are answered at all.
//!
//! **Invariant**: what leaves [`admit`] is one reading statement whose tree is shallow enough to be planned, walked and dropped on
//! an ordinary stack. The limits are checked on tokens, before anything is built from them.

mod lengths;

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::sqlparser::{
    ast::{
        BinaryOperator, Expr, ExprWithAlias, ObjectName, Query, Select, SetExpr, ShowStatementOptions, Statement, TableFactor,
        Visit, Visitor, visit_expressions_mut, visit_relations,
    },
    dialect::GenericDialect,
    parser::{Parser, ParserOptions},
    tokenizer::{Token, TokenWithSpan, Tokenizer, Word},
};

use self::lengths::names_fixed_length;
use crate::{error::QueryError, idents::normalized};

/// Parentheses, brackets and subqueries within each other.
pub(crate) const MAX_NESTING: usize = 50;
/// Operators in one run such as `a + b + c`: they make a tree as deep as the run is long.
const MAX_OPERATORS: usize = 500;
/// UNION, EXCEPT and INTERSECT of one statement.
const MAX_SET_OPERATIONS: usize = 100;
/// Tables, subqueries and table functions named after FROM and JOIN.
const MAX_RELATIONS: usize = 100;
/// The same, where every use of a name of WITH counts as its whole query: that is how DataFusion plans it.
const MAX_EXPANDED: usize = 500;

/// A statement that may be answered.
#[derive(Debug)]
pub(crate) enum Command {
    /// SELECT, WITH, VALUES.
    Read(Box<Statement>),
    /// EXPLAIN of one of these.
    Explain { analyze: bool, statement: Box<Statement> },
    /// SHOW TABLES.
    ShowTables,
    /// DESCRIBE of one relation.
    Describe(ObjectName),
}

/// Parses `sql` and lets only reading statements pass.
///
/// # Errors
/// Says what is refused, or where the text does not parse.
pub(crate) fn admit(sql: &str, max_bytes: usize) -> Result<Command, QueryError> {
    if sql.len() > max_bytes {
        return Err(QueryError::StatementTooLarge { bytes: sql.len(), limit: max_bytes });
    }
    let dialect = GenericDialect {};
    let tokens =
        Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|error| QueryError::syntax(&error.to_string()))?;
    check_opening(&tokens)?;
    check_shape(&tokens)?;

    let mut statements = Parser::new(&dialect)
        .with_options(ParserOptions { trailing_commas: false, ..ParserOptions::default() })
        .with_recursion_limit(MAX_NESTING)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| QueryError::syntax(&error.to_string()))?;
    match statements.len() {
        0 => return Err(QueryError::Syntax { message: "the statement is empty".into() }),
        1 => {}
        _ => return Err(refused("one statement at a time is answered")),
    }
    classify(statements.remove(0))
}

/// Parses one expression that ends where the text ends, under the same limits.
///
/// # Errors
/// As [`admit`].
pub(crate) fn admit_expression(text: &str) -> Result<ExprWithAlias, QueryError> {
    const MAX_BYTES: usize = 16 * 1024;
    if text.len() > MAX_BYTES {
        return Err(QueryError::StatementTooLarge { bytes: text.len(), limit: MAX_BYTES });
    }
    let dialect = GenericDialect {};
    let tokens =
        Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| QueryError::syntax(&error.to_string()))?;
    check_shape(&tokens)?;
    let mut parser = Parser::new(&dialect).with_recursion_limit(MAX_NESTING).with_tokens_with_locations(tokens);
    let expr = parser.parse_expr().map_err(|error| QueryError::syntax(&error.to_string()))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return Err(QueryError::Syntax { message: format!("one expression is expected, found more: {rest}") });
    }
    let mut reading = Reading::default();
    match expr.visit(&mut reading) {
        ControlFlow::Continue(()) => Ok(ExprWithAlias { expr, alias: None }),
        ControlFlow::Break(error) => Err(*error),
    }
}

fn refused(what: &str) -> QueryError {
    QueryError::Refused { what: what.to_owned() }
}

/// Refuses by the first words, so that a writing statement is called that even where its syntax is not ours.
fn check_opening(tokens: &[TokenWithSpan]) -> Result<(), QueryError> {
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) | Token::LParen | Token::SemiColon => {}
            Token::Word(Word { value, quote_style: None, .. }) => {
                let word = value.to_ascii_uppercase();
                match word.as_str() {
                    "SELECT" | "WITH" | "VALUES" | "TABLE" | "SHOW" | "FROM" => return Ok(()),
                    "DESCRIBE" | "DESC" | "EXPLAIN" | "ANALYZE" | "VERBOSE" | "FORMAT" => {}
                    _ if tokens_open_description(tokens) => return Ok(()),
                    _ => {
                        return Err(QueryError::Refused {
                            what: format!("{word} is not answered here: only SELECT, EXPLAIN, SHOW TABLES and DESCRIBE are"),
                        });
                    }
                }
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// `DESCRIBE name` and `DESC name` have a relation where others have a verb.
fn tokens_open_description(tokens: &[TokenWithSpan]) -> bool {
    let mut words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF));
    let first = words.next().is_some_and(|token| match &token.token {
        Token::Word(word) => ["DESCRIBE", "DESC"].contains(&word.value.to_ascii_uppercase().as_str()),
        _ => false,
    });
    // One dotted name and nothing after it.
    first && words.all(|token| matches!(token.token, Token::Word(_) | Token::Period)) && {
        let names = tokens.iter().filter(|token| matches!(token.token, Token::Word(_))).count();
        let periods = tokens.iter().filter(|token| matches!(token.token, Token::Period)).count();
        names == periods + 2
    }
}

/// Bounds depth by counting: open brackets, operators in a row, set operations.
fn check_shape(tokens: &[TokenWithSpan]) -> Result<(), QueryError> {
    let mut runs = vec![0usize];
    let (mut set_operations, mut cases) = (0usize, 0usize);
    for token in tokens {
        match &token.token {
            Token::Whitespace(_)
            | Token::EOF
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::Placeholder(_) => {}
            Token::LParen | Token::LBracket | Token::LBrace => {
                if matches!(token.token, Token::LBracket) {
                    bump(&mut runs)?;
                }
                runs.push(0);
                if runs.len() > MAX_NESTING {
                    return Err(QueryError::TooComplex { what: "levels of nesting", limit: MAX_NESTING });
                }
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                if runs.len() > 1 {
                    runs.pop();
                }
            }
            Token::Comma | Token::SemiColon => {
                if let Some(run) = runs.last_mut() {
                    *run = 0;
                }
            }
            Token::Word(word) => {
                if word.quote_style.is_none() {
                    match word.value.to_ascii_uppercase().as_str() {
                        // The parser's own limit does not see them; how deep they are is counted once they are parsed.
                        "CASE" => cases += 1,
                        "UNION" | "EXCEPT" | "INTERSECT" | "MINUS" => set_operations += 1,
                        "AND" | "OR" | "XOR" | "NOT" | "IS" | "LIKE" | "ILIKE" | "SIMILAR" | "IN" | "BETWEEN" | "COLLATE"
                        | "AT" | "DIV" | "REGEXP" | "RLIKE" | "OPERATOR" | "OVERLAPS" | "MEMBER" | "JOIN" => bump(&mut runs)?,
                        _ => {}
                    }
                }
            }
            _ => bump(&mut runs)?,
        }
    }
    if cases > MAX_OPERATORS {
        return Err(QueryError::TooComplex { what: "CASE expressions", limit: MAX_OPERATORS });
    }
    if set_operations > MAX_SET_OPERATIONS {
        return Err(QueryError::TooComplex { what: "set operations", limit: MAX_SET_OPERATIONS });
    }
    Ok(())
}

fn bump(runs: &mut [usize]) -> Result<(), QueryError> {
    if let Some(run) = runs.last_mut() {
        *run += 1;
        if *run > MAX_OPERATORS {
            return Err(QueryError::TooComplex { what: "operators in one expression", limit: MAX_OPERATORS });
        }
    }
    Ok(())
}

fn classify(mut statement: Statement) -> Result<Command, QueryError> {
    match_by_operator(&mut statement);
    match statement {
        Statement::Query(_) => {
            check_reading(&statement)?;
            Ok(Command::Read(Box::new(statement)))
        }
        Statement::Explain { analyze, verbose, query_plan, estimate, format, options, statement, .. } => {
            if verbose || query_plan || estimate || format.is_some() || options.is_some() {
                return Err(refused("only EXPLAIN and EXPLAIN ANALYZE without options are answered"));
            }
            if !matches!(*statement, Statement::Query(_)) {
                return Err(refused("EXPLAIN is answered for SELECT, WITH and VALUES only"));
            }
            check_reading(&statement)?;
            Ok(Command::Explain { analyze, statement })
        }
        Statement::ExplainTable { table_name, hive_format: None, .. } => Ok(Command::Describe(table_name)),
        Statement::ShowTables {
            terse: false,
            history: false,
            extended: false,
            full: false,
            external: false,
            show_options:
                ShowStatementOptions { show_in: None, starts_with: None, limit: None, limit_from: None, filter_position: None },
        } => Ok(Command::ShowTables),
        Statement::ShowColumns {
            show_options: ShowStatementOptions { show_in: Some(place), filter_position: None, .. }, ..
        } => place
            .parent_name
            .map(Command::Describe)
            .ok_or_else(|| refused("SHOW COLUMNS needs a relation: SHOW COLUMNS FROM name")),
        _ => Err(refused("only SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES and DESCRIBE are answered here")),
    }
}

/// `a SIMILAR TO b` means `a ~ b` to DataFusion, and only the operator can be planned as a function that is bounded.
fn match_by_operator(statement: &mut Statement) {
    let _ = visit_expressions_mut(statement, |expr| {
        if let Expr::SimilarTo { negated, expr: text, pattern, escape_char: None } = expr {
            let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
            let (left, right) = (text.clone(), pattern.clone());
            *expr = Expr::BinaryOp { left, op, right };
        }
        ControlFlow::<()>::Continue(())
    });
}

fn check_reading(statement: &Statement) -> Result<(), QueryError> {
    let mut reading = Reading::default();
    match statement.visit(&mut reading) {
        ControlFlow::Continue(()) => {}
        ControlFlow::Break(error) => return Err(*error),
    }
    let mut weights = Weights::default();
    // The second time, queries inside others know the names of those around them.
    for _ in 0..2 {
        let _ = statement.visit(&mut weights);
    }
    if weights.of(statement) > MAX_EXPANDED {
        return Err(QueryError::TooComplex { what: "relations, once the names of WITH are written out", limit: MAX_EXPANDED });
    }
    Ok(())
}

/// How many relations each name of WITH stands for; of names that are defined twice, the larger.
#[derive(Default)]
struct Weights(HashMap<String, usize>);

impl Weights {
    fn of<V: Visit>(&self, part: &V) -> usize {
        let mut sum = 0usize;
        let _ = visit_relations(part, |name: &ObjectName| {
            let known = match name.0.as_slice() {
                [one] => one.as_ident().and_then(|ident| self.0.get(&normalized(ident))).copied(),
                _ => None,
            };
            sum = sum.saturating_add(known.unwrap_or(1));
            ControlFlow::<()>::Continue(())
        });
        sum.max(1)
    }
}

impl Visitor for Weights {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let weight = self.of(&*cte.query);
            let known = self.0.entry(normalized(&cte.alias.name)).or_insert(weight);
            *known = weight.max(*known);
        }
        ControlFlow::Continue(())
    }
}

/// Looks for a writing clause anywhere inside a query, and counts.
#[derive(Default)]
struct Reading {
    relations: usize,
    /// CASE expressions around the present one.
    cases: usize,
}

fn stop(error: QueryError) -> ControlFlow<Box<QueryError>> {
    ControlFlow::Break(Box::new(error))
}

impl Visitor for Reading {
    type Break = Box<QueryError>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        if !query.locks.is_empty() {
            return stop(refused("FOR UPDATE and FOR SHARE are not answered here"));
        }
        let mut bodies = vec![query.body.as_ref()];
        while let Some(body) = bodies.pop() {
            match body {
                SetExpr::SetOperation { left, right, .. } => bodies.extend([left.as_ref(), right.as_ref()]),
                SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                    return stop(refused("a writing statement inside a query is not answered here"));
                }
                SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        if select.into.is_some() {
            return stop(refused("SELECT INTO is not answered here"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Self::Break> {
        match statement {
            Statement::Query(_) => ControlFlow::Continue(()),
            _ => stop(refused("a statement inside a query is not answered here")),
        }
    }

    fn pre_visit_table_factor(&mut self, _factor: &TableFactor) -> ControlFlow<Self::Break> {
        self.relations += 1;
        if self.relations > MAX_RELATIONS {
            return stop(QueryError::TooComplex { what: "relations", limit: MAX_RELATIONS });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        if names_fixed_length(expr) {
            return stop(refused("arrays of a fixed length are not answered here: leave the length out"));
        }
        if matches!(expr, Expr::Case { .. }) {
            self.cases += 1;
            if self.cases > MAX_NESTING {
                return stop(QueryError::TooComplex { what: "levels of nesting", limit: MAX_NESTING });
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        if matches!(expr, Expr::Case { .. }) {
            self.cases = self.cases.saturating_sub(1);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
