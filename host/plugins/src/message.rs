//! Words that came out of a sandbox.
//!
//! **Invariant**: a guest's words are bounded, hold no control or direction-changing character, and are printed only where
//! somebody asks for them by name: a rule that has seen rows may repeat them.

use std::fmt;

/// Longest message kept, in bytes.
const MAX_BYTES: usize = 1024;

/// What a component said: bounded and escaped. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestMessage(Box<str>);

impl GuestMessage {
    /// Bounds and escapes `text`.
    pub fn new(text: &str) -> Self {
        Self(escape(text, MAX_BYTES).into())
    }

    /// The words. Show them only to whoever gave the component all that it has seen.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for GuestMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestMessage({} bytes)", self.0.len())
    }
}

/// At most `max` bytes (and an ellipsis), with every control and invisible formatting character escaped.
pub(crate) fn escape(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max) + 4);
    for c in text.chars() {
        let start = out.len();
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > max {
            out.truncate(start);
            out.push('…');
            break;
        }
    }
    out
}

/// Characters that move the cursor, the line or the direction of what surrounds them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::GuestMessage;

    #[test]
    fn messages_are_bounded_and_escaped() {
        let message = GuestMessage::new("a\u{1b}[2J\nb\u{202e}c");
        assert_eq!(message.as_str(), "a\\u{1b}[2J\\nb\\u{202e}c");
        assert_eq!(GuestMessage::new("\u{61c}\u{ad}\u{e0041}").as_str(), "\\u{61c}\\u{ad}\\u{e0041}");
        assert!(GuestMessage::new(&"é".repeat(1_000_000)).as_str().len() <= super::MAX_BYTES + 3);
        assert_eq!(format!("{message:?}"), format!("GuestMessage({} bytes)", message.as_str().len()));
    }
}
