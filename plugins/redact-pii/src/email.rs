//! E-mail addresses: as they are, and as people spell them out to fool machines.
//!
//! **Invariant**: the less an at sign looks like one, the more the domain must look like one: a spelled-out address needs a known
//! top-level domain, and one that is spelled out in plain words needs its dot spelled out too.

use crate::{Found, Kind};

/// Words for `@` in brackets, and the ones that also count between spaces.
const AT_WORDS: &[&str] = &["at", "ät", "arroba", "arobase", "chiocciola", "a", "à", "@"];
const BARE_AT_WORDS: &[&str] = &["at", "arroba", "arobase", "chiocciola"];

/// Words for `.`.
const DOT_WORDS: &[&str] = &["dot", "punto", "ponto", "point", "punkt", "kropka", "."];

/// Top-level domains that a spelled-out address may end in.
const KNOWN: &[&str] = &[
    "com", "org", "net", "edu", "gov", "mil", "int", "io", "co", "ai", "app", "dev", "me", "info", "biz", "name", "pro", "tech",
    "cloud", "online", "studio", "shop", "xyz", "example", "eu", "uk", "us", "de", "fr", "es", "it", "nl", "be", "ch", "at",
    "pl", "pt", "br", "mx", "ar", "cl", "in", "cn", "jp", "kr", "ru", "ua", "se", "no", "dk", "fi", "ie", "au", "nz", "ca", "za",
    "il", "tr", "gr", "cz", "hu", "ro", "sg", "hk", "my", "tv", "cc",
];

const LONGEST_LOCAL: usize = 64;
const LONGEST_LABEL: usize = 63;

/// Bytes of a URL up to its password.
const LONGEST_URL: usize = 256;

/// Bytes of a spelled-out sign with its spaces.
const LONGEST_WORD: usize = 14;

/// How an at sign is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `@` or `%40` between two characters.
    Plain,
    /// `@` between spaces, or a word in brackets.
    Marked,
    /// A plain word between two of this delimiter.
    Bare(u8),
}

/// An at sign: where the local part ends and the domain starts.
struct At {
    start: usize,
    end: usize,
    style: Style,
}

pub(crate) fn find(text: &str) -> Vec<Found> {
    let (mut found, mut from, mut position) = (Vec::new(), 0, 0);
    while position < text.len() {
        let address = at_sign(text, position).and_then(|at| {
            let end = domain_end(text, &at)?;
            let start = local_start(text, &at, from)?;
            Some((start, end))
        });
        match address {
            Some((start, end)) => {
                found.push(Found { kind: Kind::Email, start, end });
                (from, position) = (end, end);
            }
            None => position += 1,
        }
    }
    found
}

fn at_sign(text: &str, position: usize) -> Option<At> {
    let bytes = text.as_bytes();
    match bytes[position] {
        b'@' => {
            let spaced = position > 0 && bytes[position - 1] == b' ' && bytes.get(position + 1) == Some(&b' ');
            Some(if spaced {
                At { start: position - 1, end: position + 2, style: Style::Marked }
            } else {
                At { start: position, end: position + 1, style: Style::Plain }
            })
        }
        b'%' => bytes[position..].starts_with(b"%40").then_some(At { start: position, end: position + 3, style: Style::Plain }),
        b'(' | b'[' | b'{' | b'<' => {
            let end = bracketed(text, position, AT_WORDS)?;
            let start = text[..position].strip_suffix(' ').map_or(position, str::len);
            Some(At { start, end: skip_space(text, end), style: Style::Marked })
        }
        delimiter @ (b' ' | b'-') => {
            let end = bare(text, position, delimiter, BARE_AT_WORDS)?;
            Some(At { start: position, end, style: Style::Bare(delimiter) })
        }
        _ => None,
    }
}

/// Where the local part starts, not before `from`.
fn local_start(text: &str, at: &At, from: usize) -> Option<usize> {
    if let Some(quotes) = quotes_start(text, at, from) {
        return Some(quotes);
    }
    let mut start = atom_start(text, at.start, from, at.style)?;
    // `jane (dot) doe`, and `jane dot doe` where the at sign is a word too.
    while let Some(dot) = dot_before(text, start, at.style) {
        match atom_start(text, dot, from, at.style) {
            Some(earlier) => start = earlier,
            None => break,
        }
    }
    (!is_in_url(&text[from..start])).then_some(start)
}

/// Whether a password follows that text: `https://jane:`.
fn is_in_url(before: &str) -> bool {
    let near = &before[before.ceil_char_boundary(before.len().saturating_sub(LONGEST_URL))..];
    near.ends_with(':') && near.rsplit(char::is_whitespace).next().is_some_and(|glued| glued.contains("://"))
}

/// Where the quotes open of a local part in quotes.
fn quotes_start(text: &str, at: &At, from: usize) -> Option<usize> {
    let inner = text.get(from..at.start)?.strip_suffix('"').filter(|_| at.style == Style::Plain)?;
    let is_open = |&(place, character): &(usize, char)| character == '"' && !inner[..place].ends_with('\\');
    let open = inner.char_indices().rev().take(LONGEST_LOCAL).find(is_open)?.0;
    let name = &inner[open + 1..];
    let apart = !inner[..open].ends_with(char::is_alphanumeric);
    (apart && name.contains(char::is_alphanumeric) && !name.contains('\n')).then_some(from + open)
}

/// The characters of a local part that end at `end`.
fn atom_start(text: &str, end: usize, from: usize, style: Style) -> Option<usize> {
    let dashes = style != Style::Bare(b'-');
    let allowed = |c: char| is_letter(c) || c.is_ascii_digit() || "._%+'&".contains(c) || (c == '-' && dashes);
    let candidate = text.get(from..end)?;
    let mut start = end;
    for (at, character) in candidate.char_indices().rev().take(LONGEST_LOCAL) {
        if !allowed(character) {
            break;
        }
        start = from + at;
    }
    let atom = &text[start..end];
    let trimmed = atom.trim_start_matches(['.', '-', '\'', '%', '&', '+']);
    // Some providers give out `jane.@`; dots that end a sentence are apart from what follows, or three.
    let sentence = trimmed.ends_with(if style == Style::Plain { "..." } else { "." });
    (trimmed.chars().any(|c| is_letter(c) || c.is_ascii_digit()) && !sentence).then(|| end - trimmed.len())
}

/// A spelled-out dot that ends at `end`; its start.
fn dot_before(text: &str, end: usize, style: Style) -> Option<usize> {
    let before = text.get(..end)?.trim_end_matches(' ');
    if let Some(inner) = before.strip_suffix([')', ']', '}', '>']) {
        let back = inner.bytes().rev().take(LONGEST_WORD).position(|byte| matches!(byte, b'(' | b'[' | b'{' | b'<'))?;
        let open = inner.len() - 1 - back;
        bracketed(text, open, DOT_WORDS)?;
        return Some(text[..open].trim_end_matches(' ').len());
    }
    let Style::Bare(delimiter) = style else { return None };
    let inner = text.get(..end)?.strip_suffix(char::from(delimiter))?;
    let word_start = inner.len() - 1 - inner.bytes().rev().take(LONGEST_WORD).position(|byte| byte == delimiter)?;
    is_one_of(&inner[word_start + 1..], DOT_WORDS).then_some(word_start)
}

/// Where the domain ends that starts after the at sign.
fn domain_end(text: &str, at: &At) -> Option<usize> {
    let dashes = at.style != Style::Bare(b'-');
    let (mut position, mut labels, mut end, mut spelled) = (at.end, 0, None, false);
    loop {
        let label = label(&text[position..], dashes);
        if label.is_empty() || label.len() > LONGEST_LABEL {
            break;
        }
        if labels == 0 && is_image_scale(label) {
            return None;
        }
        labels += 1;
        if let Some(length) = top_level(label, at.style).filter(|_| labels > 1) {
            end = Some((position + length, spelled));
        }
        position += label.len();
        if text[position..].starts_with('.') {
            position += 1;
        } else if let Some(after) = dot_after(text, position, at.style) {
            spelled = true;
            position = after;
        } else {
            break;
        }
    }
    let (end, spelled) = end?;
    (spelled || !matches!(at.style, Style::Bare(_))).then_some(end)
}

/// The characters of a domain's label at the start of a text, which neither start nor end with a dash.
fn label(text: &str, dashes: bool) -> &str {
    let length = text.find(|c| !(is_letter(c) || c.is_ascii_digit() || (c == '-' && dashes))).unwrap_or(text.len());
    if text.starts_with('-') { "" } else { text[..length].trim_end_matches('-') }
}

/// The bytes of a top-level domain that a label is, or starts with where a number is glued to it.
fn top_level(label: &str, style: Style) -> Option<usize> {
    let letters = &label[..label.find(|c: char| !c.is_alphabetic()).unwrap_or(label.len())];
    let numbered = label[letters.len()..].starts_with(|c: char| c.is_ascii_digit());
    let known = is_one_of(letters, KNOWN) && (numbered || letters == label);
    let plausible = label.starts_with("xn--") || (letters == label && letters.chars().count() >= 2);
    match style {
        Style::Plain if plausible => Some(label.len()),
        _ => known.then_some(letters.len()),
    }
}

/// `icon@2x.png`.
fn is_image_scale(label: &str) -> bool {
    matches!(label.as_bytes(), [b'1'..=b'9', b'x'])
}

/// A spelled-out dot at `position`; where the next label starts.
fn dot_after(text: &str, position: usize, style: Style) -> Option<usize> {
    let open = skip_space(text, position);
    if let Some(end) = bracketed(text, open, DOT_WORDS) {
        return Some(skip_space(text, end));
    }
    match style {
        Style::Bare(delimiter) => bare(text, position, delimiter, DOT_WORDS),
        Style::Marked => bare(text, position, b' ', DOT_WORDS),
        Style::Plain => None,
    }
}

/// One of the words in brackets at `open`; where the brackets end.
fn bracketed(text: &str, open: usize, words: &[&str]) -> Option<usize> {
    let close = match text.as_bytes().get(open)? {
        b'(' => ')',
        b'[' => ']',
        b'{' => '}',
        b'<' => '>',
        _ => return None,
    };
    let inner = &text[open + 1..];
    let length = inner.char_indices().take(LONGEST_WORD).find(|&(_, c)| c == close)?.0;
    is_one_of(inner[..length].trim(), words).then_some(open + 1 + length + 1)
}

/// One of the words between two delimiters, the first at `position`; where the second ends.
fn bare(text: &str, position: usize, delimiter: u8, words: &[&str]) -> Option<usize> {
    let rest = text.get(position..)?.strip_prefix(char::from(delimiter))?;
    let length = rest.bytes().take(LONGEST_WORD).position(|byte| byte == delimiter)?;
    is_one_of(rest.get(..length)?, words).then_some(position + 1 + length + 1)
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.len() == word.len() && (known.eq_ignore_ascii_case(word)))
}

fn skip_space(text: &str, position: usize) -> usize {
    position + usize::from(text.as_bytes().get(position) == Some(&b' '))
}

/// Letters of scripts that put spaces between words; others run into the address that follows them.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || (c > '\u{bf}' && c < '\u{2e80}' && c.is_alphabetic())
}
