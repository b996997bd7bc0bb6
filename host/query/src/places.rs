//! Where in a statement an operation stands that failed while rows were read.
//!
//! DataFusion's kernels do not know which expression they work for. The statement's own text says where such operations stand, and mostly
//! there is one.
//!
//! **Invariant**: a place is a line and a column of the caller's own statement, and tells nothing of the rows.

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Tokenizer},
};

/// More would help nobody.
const MOST: usize = 8;

/// Words that an operand follows: a minus after them is a sign, a star is all columns. Any other word may be the name of a column.
const BEFORE_AN_OPERAND: &[Keyword] = &[
    Keyword::ALL,
    Keyword::AND,
    Keyword::BETWEEN,
    Keyword::BY,
    Keyword::CASE,
    Keyword::DISTINCT,
    Keyword::ELSE,
    Keyword::HAVING,
    Keyword::IN,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::NOT,
    Keyword::OFFSET,
    Keyword::ON,
    Keyword::OR,
    Keyword::SELECT,
    Keyword::THEN,
    Keyword::VALUES,
    Keyword::WHEN,
    Keyword::WHERE,
];

/// Both count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// What failed, as far as that tells where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Division,
    Arithmetic,
    Conversion,
}

/// Where the statement has such an operation; nowhere if it is implied, such as a comparison of different types.
pub(crate) fn places(sql: &str, operation: Operation) -> Vec<Place> {
    let dialect = GenericDialect {};
    let Ok(tokens) = Tokenizer::new(&dialect, sql).tokenize_with_location() else { return Vec::new() };
    let found = tokens.iter().enumerate().filter(|(at, token)| is(operation, token, before(&tokens, *at)));
    found.take(MOST).map(|(_, token)| Place { line: token.span.start.line, column: token.span.start.column }).collect()
}

fn before(tokens: &[TokenWithSpan], at: usize) -> Option<&Token> {
    tokens[..at].iter().rev().map(|token| &token.token).find(|token| !matches!(token, Token::Whitespace(_)))
}

fn is(operation: Operation, token: &TokenWithSpan, before: Option<&Token>) -> bool {
    match (operation, &token.token) {
        (Operation::Division, Token::Div | Token::Mod) => true,
        (Operation::Arithmetic, Token::Plus | Token::Div) => true,
        (Operation::Arithmetic, Token::Word(word)) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case("sum"),
        // `count(*)`, `t.*`, and a sign are no operations.
        (Operation::Arithmetic, Token::Mul | Token::Minus) => match before {
            Some(Token::Word(word)) => word.quote_style.is_some() || !BEFORE_AN_OPERAND.contains(&word.keyword),
            before => matches!(before, Some(Token::Number(..) | Token::RParen | Token::Placeholder(_))),
        },
        (Operation::Conversion, Token::DoubleColon) => true,
        (Operation::Conversion, Token::Word(word)) => {
            word.quote_style.is_none()
                && ["cast", "arrow_cast", "to_timestamp", "to_date"].iter().any(|name| word.value.eq_ignore_ascii_case(name))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, Place, places};

    #[test]
    fn operations_are_found_where_they_stand() {
        let check = |sql: &str, operation, expected: &[(u64, u64)]| {
            let found: Vec<(u64, u64)> =
                places(sql, operation).into_iter().map(|Place { line, column }| (line, column)).collect();
            assert_eq!(found, expected, "{sql}");
        };
        check("SELECT 1 / (a - a) FROM t", Operation::Division, &[(1, 10)]);
        check("SELECT a % 2,\n  b / 3 -- a / b\nFROM t WHERE c = 'x/y'", Operation::Division, &[(1, 10), (2, 5)]);
        check("SELECT CAST(a AS INT), b::BIGINT, try_cast(c AS INT) FROM t", Operation::Conversion, &[(1, 8), (1, 25)]);
        check("SELECT a * b, count(*), t.*, -a, a - 1, (a) - 1 FROM t", Operation::Arithmetic, &[(1, 10), (1, 36), (1, 45)]);
        // Names that are keywords elsewhere are names.
        check(
            "SELECT id * 2, year - 1, \"select\" * 3, sum(id) FROM t",
            Operation::Arithmetic,
            &[(1, 11), (1, 21), (1, 35), (1, 40)],
        );
        check("SELECT * FROM t WHERE a > 1 AND -b < 0 OR b / -1 > 2", Operation::Arithmetic, &[(1, 45)]);
        check("SELECT a FROM t WHERE a = '5'", Operation::Conversion, &[]);
        check("SELECT 'x", Operation::Division, &[]);
        assert_eq!(places(&"1 / 1 ".repeat(100), Operation::Division).len(), super::MOST);
    }
}
