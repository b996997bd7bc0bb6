//! What a component says about itself, read from its bytes.
//!
//! **Invariant**: reading runs nothing and compiles nothing; what is refused here is refused by name.

use lakehouse_catalog::RuleKind;
use lakehouse_types::PluginName;
use serde_json::Value;
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::Engine;

use crate::{
    error::Check,
    limits::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES},
    message::escape,
    sandbox::refuse_import,
};

/// Longest metadata text kept, bytes.
const MAX_TEXT_BYTES: usize = 4096;
/// Longest config schema kept, bytes.
const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Core modules in one component.
const MAX_MODULES: u32 = 64;
/// Imports, exports and nesting that a component may have.
const MAX_NAMES: usize = 256;
const MAX_DEPTH: usize = 16;

/// A component's own description.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) name: Option<PluginName>,
    pub(crate) version: Option<String>,
    pub(crate) licenses: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) config_schema: Option<Value>,
    pub(crate) kinds: Vec<RuleKind>,
    pub(crate) imports: Vec<String>,
}

/// Reads `bytes`, or says why they are no component that could run here.
pub(crate) fn read(bytes: &[u8]) -> Result<Manifest, Check> {
    let component = |why: &str| Check::failed("component", why);
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(component("this is precompiled code; upload the .wasm it was made from"));
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(component("this is an ELF binary, not a component"));
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(component("this is not WebAssembly: the magic number is missing"));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(component(
            "this is a core module, not a component; build for wasm32-wasip2, or wrap it with `wasm-tools component new`",
        ));
    }
    let mut reading = Reading::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| component(&escape(&format!("malformed or truncated: {error}"), 300)))?;
        reading.take(payload)?;
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    /// True for each enclosing component, false for each module.
    nesting: Vec<bool>,
    modules: u32,
    instances: u64,
    memories: u64,
    tables: u64,
    sections: Vec<(String, Vec<u8>, usize)>,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Reading {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), Check> {
        let malformed =
            |error: wasmparser::BinaryReaderError| Check::failed("component", escape(&format!("malformed: {error}"), 300));
        match payload {
            Payload::Version { encoding, .. } => {
                self.nesting.push(encoding == Encoding::Component);
                if self.nesting.len() > MAX_DEPTH {
                    return Err(Check::failed("limits", format!("nests more than {MAX_DEPTH} levels deep")));
                }
            }
            Payload::End(_) => {
                self.nesting.pop();
            }
            Payload::ModuleSection { .. } => self.modules += 1,
            Payload::InstanceSection(section) => self.instances += u64::from(section.count()),
            Payload::MemorySection(section) => self.memories += u64::from(section.count()),
            Payload::TableSection(section) => self.tables += u64::from(section.count()),
            Payload::CustomSection(section) => self.keep(section.name(), section.data()),
            Payload::ComponentImportSection(section) if self.nesting.len() == 1 => {
                for import in section {
                    let name = import.map_err(malformed)?.name.name;
                    push_name(&mut self.imports, name)?;
                }
            }
            Payload::ComponentExportSection(section) if self.nesting.len() == 1 => {
                for export in section {
                    let name = export.map_err(malformed)?.name.name;
                    push_name(&mut self.exports, name)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps our sections; the outermost of a name wins.
    fn keep(&mut self, name: &str, data: &[u8]) {
        let ours = matches!(
            name,
            "lakehouse:name" | "version" | "licenses" | "description" | "lakehouse:config-schema" | "lakehouse:capabilities"
        );
        if !ours || data.len() > MAX_SCHEMA_BYTES {
            return;
        }
        let depth = self.nesting.len();
        match self.sections.iter_mut().find(|(known, ..)| known == name) {
            Some(known) if known.2 <= depth => {}
            Some(known) => *known = (name.to_owned(), data.to_vec(), depth),
            None => self.sections.push((name.to_owned(), data.to_vec(), depth)),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        let (_, data, _) = self.sections.iter().find(|(known, ..)| known == name)?;
        let text = escape(std::str::from_utf8(data).ok()?.trim(), MAX_TEXT_BYTES);
        (!text.is_empty()).then_some(text)
    }

    fn json(&self, name: &str) -> Result<Option<Value>, Check> {
        let Some((_, data, _)) = self.sections.iter().find(|(known, ..)| known == name) else { return Ok(None) };
        serde_json::from_slice(data)
            .map(Some)
            .map_err(|error| Check::failed("metadata", format!("section `{name}` is not JSON: {error}")))
    }

    fn finish(self) -> Result<Manifest, Check> {
        for (what, count, limit) in [
            ("core modules", u64::from(self.modules), MAX_MODULES),
            ("core instances", self.instances, MAX_CORE_INSTANCES),
            ("memories", self.memories, MAX_MEMORIES),
            ("tables", self.tables, MAX_TABLES),
        ] {
            if count > u64::from(limit) {
                return Err(Check::failed("limits", format!("defines {count} {what}; {limit} are allowed")));
            }
        }
        let refused: Vec<_> = self.imports.iter().filter_map(|import| refuse_import(import)).collect();
        if !refused.is_empty() {
            return Err(Check::failed("imports", refused.join("; ")));
        }
        let kinds = kinds(&self.exports)?;
        self.check_capabilities()?;
        let name = match self.text("lakehouse:name") {
            Some(text) => Some(PluginName::new(&text).map_err(|error| Check::failed("name", error.to_string()))?),
            None => None,
        };
        let version = self.text("version");
        if version.as_deref().is_some_and(|version| !is_version(version)) {
            return Err(Check::failed("version", "a version is 1 to 64 letters, digits, ., + and -"));
        }
        Ok(Manifest {
            name,
            version,
            licenses: self.text("licenses"),
            description: self.text("description"),
            config_schema: self.json("lakehouse:config-schema")?,
            kinds,
            imports: self.imports,
        })
    }

    fn check_capabilities(&self) -> Result<(), Check> {
        let Some(asked) = self.json("lakehouse:capabilities")? else { return Ok(()) };
        let asked: Vec<String> = serde_json::from_value(asked)
            .map_err(|_| Check::failed("capabilities", "`lakehouse:capabilities` is not a JSON array of texts"))?;
        match asked.first() {
            None => Ok(()),
            Some(first) => {
                let first = escape(first, 64);
                Err(Check::failed("capabilities", format!("asks for the capability `{first}`; this server grants none yet")))
            }
        }
    }
}

fn push_name(names: &mut Vec<String>, name: &str) -> Result<(), Check> {
    if names.len() >= MAX_NAMES {
        return Err(Check::failed("limits", format!("has more than {MAX_NAMES} imports or exports")));
    }
    names.push(escape(name, 200));
    Ok(())
}

fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-'))
}

/// The kinds behind a component's exports.
fn kinds(exports: &[String]) -> Result<Vec<RuleKind>, Check> {
    let mut kinds = Vec::new();
    for export in exports {
        let Some(interface) = export.strip_prefix("lakehouse:plugin/") else { continue };
        let (name, version) = interface.split_once('@').unwrap_or((interface, ""));
        if name == "types" {
            continue;
        }
        let Some(kind) = RuleKind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
            return Err(Check::failed("exports", format!("exports `{export}`, which is no interface of this server")));
        };
        if !version.starts_with("0.1.") {
            return Err(Check::failed("exports", format!("exports `{export}`; this server speaks lakehouse:plugin@0.1")));
        }
        kinds.push(kind);
    }
    if kinds.is_empty() {
        let known: Vec<_> = RuleKind::ALL.iter().map(|kind| kind.as_str()).collect();
        return Err(Check::failed("exports", format!("exports no lakehouse:plugin interface of {}", known.join(", "))));
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

#[cfg(test)]
mod tests;
