//! Factory strings: the part of FAISS's language that can be filtered, written, and read back safely.
//!
//! ```text
//! factory   = [transform ","]* index ["," refine]
//! transform = "L2norm" | "PCA" d | "PCAR" d | "RR" d | "OPQ" m ["_" d]           at most two
//! index     = "Flat" | scalar | "HNSW" m [("," | "_") ("Flat" | ranged)] | lists "," ("Flat" | scalar | product)
//! lists     = "IVF" n ["_HNSW" m]
//! scalar    = ranged | "SQfp16"
//! ranged    = "SQ4" | "SQ6" | "SQ8" | "SQbf16"
//! product   = "PQ" m ["x" bits] | "PQ" m "x4fs"                                  bits from 1 to 8
//! refine    = "RFlat" | "Refine(" ("Flat" | scalar) ")"
//! ```
//!
//! Left out: what FAISS cannot filter (`PQ` alone, `NSG`, `LSH`), what changes ordinals (`IDMap`), what loses the metric
//! (`HNSW…,PQ…` ignores inner product), whitening and graphs over half precision (they make infinities, which graphs do not
//! survive), and fast scan by residual (`…fsr` reads out of bounds when a query brings its own `nprobe`).

use std::{fmt, str::FromStr};

use crate::{FaissError, MAX_DIMENSIONS, Result};

/// The longest factory string, in bytes.
const MAX_LENGTH: usize = 128;

/// The most inverted lists.
const MAX_LISTS: u32 = 262_144;

const MAX_TRANSFORMS: usize = 2;

/// A factory string that was understood: `IVF1024,PQ48x4fs,RFlat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factory(Box<str>);

impl Factory {
    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Factory {
    type Err = FaissError;

    /// # Errors
    /// When the string is too long, has a part that is unknown or not supported, or a number that is out of bounds. Whether the
    /// numbers suit the vectors (`PQ48` wants dimensions that 48 divides) is found out by building.
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_LENGTH {
            let start = text.char_indices().take_while(|(at, _)| *at < 32).map(|(_, letter)| letter).collect();
            return Err(FaissError::Factory { part: start, problem: "more than 128 bytes" });
        }
        let mut parts: Vec<&str> = text.split(',').collect();
        if parts.last().is_some_and(|last| is_refinement(last)) {
            parts.pop();
        }
        let transforms = parts.iter().take(MAX_TRANSFORMS).take_while(|part| is_transform(part)).count();
        check_index(&parts[transforms..])?;
        Ok(Self(text.into()))
    }
}

fn check_index(parts: &[&str]) -> Result<()> {
    let (problem, part) = match parts {
        ["Flat"] => return Ok(()),
        [code] if is_scalar(code) => return Ok(()),
        [code] if code.starts_with("PQ") => ("product quantization needs lists, as in `IVF256,PQ16`", code),
        [graph] if graph.starts_with("HNSW") => {
            let (graph, code) = graph.split_once('_').unwrap_or((graph, "Flat"));
            return check_graph(graph, code);
        }
        [graph, code] if graph.starts_with("HNSW") => return check_graph(graph, code),
        [lists, code] if lists.starts_with("IVF") => {
            return match (is_lists(lists), is_list_code(code)) {
                (true, true) => Ok(()),
                (true, false) => Err(fail("no such code of a list", code)),
                (false, _) => Err(fail("no such lists", lists)),
            };
        }
        [lists] if lists.starts_with("IVF") => ("lists need a code, as in `IVF256,Flat`", lists),
        [] => ("no index", &""),
        [first, ..] => ("not understood", first),
    };
    Err(fail(problem, part))
}

fn check_graph(graph: &str, code: &str) -> Result<()> {
    if !is_number(graph.strip_prefix("HNSW"), 2, 256) {
        return Err(fail("a graph has from 2 to 256 links, as in `HNSW32`", graph));
    }
    if code != "Flat" && !is_ranged(code) {
        return Err(fail("a graph's code is Flat, SQ4, SQ6, SQ8 or SQbf16", code));
    }
    Ok(())
}

fn fail(problem: &'static str, part: &str) -> FaissError {
    FaissError::Factory { part: part.to_owned(), problem }
}

fn is_refinement(part: &str) -> bool {
    let inner = part.strip_prefix("Refine(").and_then(|rest| rest.strip_suffix(')'));
    part == "RFlat" || inner.is_some_and(|code| code == "Flat" || is_scalar(code))
}

fn is_transform(part: &str) -> bool {
    let dimensions = |text| is_number(text, 1, MAX_DIMENSIONS as u32);
    if let Some(rest) = part.strip_prefix("OPQ") {
        let (m, out) = rest.split_once('_').map_or((rest, None), |(m, out)| (m, Some(out)));
        return dimensions(Some(m)) && (out.is_none() || dimensions(out));
    }
    part == "L2norm"
        || dimensions(part.strip_prefix("PCAR"))
        || dimensions(part.strip_prefix("PCA"))
        || dimensions(part.strip_prefix("RR"))
}

fn is_lists(part: &str) -> bool {
    let Some(rest) = part.strip_prefix("IVF") else { return false };
    let (lists, graph) = rest.split_once("_HNSW").map_or((rest, None), |(lists, graph)| (lists, Some(graph)));
    is_number(Some(lists), 1, MAX_LISTS) && (graph.is_none() || is_number(graph, 2, 256))
}

fn is_list_code(part: &str) -> bool {
    part == "Flat" || is_scalar(part) || is_product(part)
}

fn is_product(part: &str) -> bool {
    let Some(rest) = part.strip_prefix("PQ") else { return false };
    let (m, bits) = rest.split_once('x').map_or((rest, None), |(m, bits)| (m, Some(bits)));
    is_number(Some(m), 1, MAX_DIMENSIONS as u32) && (bits.is_none() || bits == Some("4fs") || is_number(bits, 1, 8))
}

fn is_scalar(part: &str) -> bool {
    is_ranged(part) || part == "SQfp16"
}

/// Scalar codes that hold every number that may be indexed.
fn is_ranged(part: &str) -> bool {
    matches!(part, "SQ4" | "SQ6" | "SQ8" | "SQbf16")
}

/// A decimal number without sign or leading zeros, within bounds.
fn is_number(text: Option<&str>, min: u32, max: u32) -> bool {
    let canonical = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.filter(canonical).and_then(|text| text.parse().ok()).is_some_and(|number| (min..=max).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::Factory;

    fn check(text: &str, expected: Result<(), &str>) {
        match (text.parse::<Factory>(), expected) {
            (Ok(factory), Ok(())) => assert_eq!(factory.as_str(), text),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{text}: {error}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn what_can_be_filtered_and_read_back_is_taken() {
        for text in [
            "Flat",
            "SQ8",
            "SQfp16",
            "HNSW32",
            "HNSW16,Flat",
            "HNSW16_SQ8",
            "HNSW16,SQbf16",
            "IVF1024,Flat",
            "IVF1024,PQ96x4fs,RFlat",
            "IVF65536_HNSW32,PQ48",
            "OPQ48_384,IVF1024,PQ48x8,Refine(SQfp16)",
            "L2norm,PCAR64,HNSW32",
        ] {
            check(text, Ok(()));
        }
    }

    #[test]
    fn the_part_at_fault_is_named() {
        check("", Err("at ``"));
        check("PQ16", Err("needs lists"));
        check("IVF256", Err("need a code"));
        check("IVF0,Flat", Err("no such lists"));
        check("IVF262145,Flat", Err("no such lists"));
        check("IVF00256,Flat", Err("no such lists"));
        check("IVF+256,Flat", Err("no such lists"));
        check("IVF256,PQ16x9", Err("`PQ16x9`"));
        check("IVF256,PQ16x4fsr", Err("`PQ16x4fsr`"));
        check("HNSW1", Err("from 2 to 256"));
        check("HNSW32,SQfp16", Err("`SQfp16`"));
        check("HNSW32,PQ16", Err("`PQ16`"));
        check("IDMap,Flat", Err("`IDMap`"));
        check("Flat,IDMap", Err("`Flat`"));
        check("PCAW64,Flat", Err("`PCAW64`"));
        check("L2norm,L2norm,L2norm,Flat", Err("`L2norm`"));
        check("RFlat", Err("no index"));
        check("NSG32", Err("`NSG32`"));
        check(&"L2norm,".repeat(50), Err("128 bytes"));
    }
}
