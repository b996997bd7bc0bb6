//! Statements without what they say of anybody: each literal is a `?`.
//!
//! **Invariant**: works on tokens, so that it holds for what does not parse, too; what cannot even be cut into tokens is not kept.

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Token, Tokenizer},
};

/// Longer ones are cut.
const MAX_BYTES: usize = 2 << 10;

/// The statement in one line, without literals and comments.
pub(crate) fn without_literals(sql: &str) -> Option<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().ok()?;
    let mut text = String::with_capacity(sql.len().min(MAX_BYTES));
    for token in tokens {
        if text.len() > MAX_BYTES {
            text.truncate(text.floor_char_boundary(MAX_BYTES));
            text.push('…');
            break;
        }
        match token {
            Token::EOF => {}
            Token::Whitespace(_) if text.is_empty() || text.ends_with(' ') => {}
            Token::Whitespace(_) => text.push(' '),
            // Words, `$1`, and every sign.
            Token::Word(_)
            | Token::Placeholder(_)
            | Token::Comma
            | Token::DoubleEq
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Spaceship
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::LParen
            | Token::RParen
            | Token::Period
            | Token::Colon
            | Token::DoubleColon
            | Token::SemiColon
            | Token::LBracket
            | Token::RBracket
            | Token::LBrace
            | Token::RBrace
            | Token::Ampersand
            | Token::Pipe
            | Token::Caret
            | Token::RArrow
            | Token::Tilde
            | Token::TildeAsterisk
            | Token::ExclamationMarkTilde
            | Token::ExclamationMarkTildeAsterisk
            | Token::ShiftLeft
            | Token::ShiftRight => text.push_str(&token.to_string()),
            // Literals of every kind, and whatever a later release may add.
            _ => text.push('?'),
        }
    }
    text.truncate(text.trim_end().len());
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, without_literals};

    #[test]
    fn literals_and_comments_are_gone_and_the_rest_stays() {
        let check = |sql: &str, expected: &str| assert_eq!(without_literals(sql).as_deref(), Some(expected), "{sql}");
        check(
            "SELECT  a,\n b FROM t -- of John\n WHERE x = 'O''Brien' AND n > 1.5e3",
            "SELECT a, b FROM t WHERE x = ? AND n > ?",
        );
        check("SELECT /* Ana */ \"Odd Name\" FROM t LIMIT 10", "SELECT \"Odd Name\" FROM t LIMIT ?");
        check("SELECT $1, E'a\\n', X'ff', $$dollar$$, N'n', DATE '2020-01-01'", "SELECT $1, ?, ?, ?, ?, DATE ?");
        assert_eq!(without_literals("SELECT a WHERE x = 'half"), None);
    }

    #[test]
    fn long_ones_are_cut() {
        let long = format!("SELECT {} FROM t", "é, ".repeat(MAX_BYTES));
        let kept = without_literals(&long).unwrap();
        assert!(kept.len() <= MAX_BYTES + '…'.len_utf8() && kept.ends_with('…'), "{}", kept.len());
    }
}
