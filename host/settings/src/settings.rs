//! The whole of `lakehouse.toml`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use lakehouse_types::{BucketName, SourceName};

use crate::{
    AuthSettings, BucketSettings, CompactionSettings, FlightSettings, IngestSettings, LogSettings, PluginSettings, QuerySettings,
    ServerSettings, SettingsError, SourcePassword, SourceSettings, StorageSettings, TlsSettings, TraceSettings, TruthSettings,
    VectorSettings,
    error::Problem,
    section::{self, Problems, Section},
};

/// The file's name inside the config folder.
const FILE: &str = "lakehouse.toml";

/// Everything that the config folder's `lakehouse.toml` can say. [`Settings::default`] is the file left empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub server: ServerSettings,
    /// Plain connections without it.
    pub tls: Option<TlsSettings>,
    pub flight: FlightSettings,
    pub auth: AuthSettings,
    /// Never without `primary`.
    pub buckets: BTreeMap<BucketName, BucketSettings>,
    pub query: QuerySettings,
    pub vector: VectorSettings,
    pub plugins: PluginSettings,
    pub ingest: IngestSettings,
    /// Databases that may be ingested from; none unless the file names some.
    pub sources: BTreeMap<SourceName, SourceSettings>,
    pub storage: StorageSettings,
    pub compaction: CompactionSettings,
    pub truth: TruthSettings,
    pub log: LogSettings,
    pub trace: TraceSettings,
}

impl Settings {
    /// Reads `dir/lakehouse.toml`. The truth folder and the access file are resolved against `dir`; see [`Settings::rooted`] for the other paths.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML, or holds an unknown key or a value beyond its limits: every problem at once.
    pub fn load(dir: &Path) -> Result<Self, SettingsError> {
        let file = dir.join(FILE);
        let text = fs::read_to_string(&file).map_err(|source| SettingsError::Read { file: file.clone(), source })?;
        let mut settings = Self::parse(&text, &file)?;
        let dir = std::path::absolute(dir).map_err(|source| SettingsError::Read { file, source })?;
        settings.truth.dir = dir.join(settings.truth.dir);
        settings.auth.access_file = dir.join(settings.auth.access_file);
        Ok(settings)
    }

    /// Reads the text of a file; `file` is for messages.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsError> {
        let problems = Problems::of(text);
        let table = section::parse(text, &problems).map_err(|Problem { line, message }| SettingsError::Syntax {
            file: file.to_owned(),
            line,
            message,
        })?;
        let settings = Self::read(Section::root(table, &problems));
        match problems.into_sorted() {
            problems if problems.is_empty() => Ok(settings),
            problems => Err(SettingsError::Invalid { file: file.to_owned(), problems }),
        }
    }

    /// Resolves the relative paths of buckets, sources, certificates, spill, spool, plugin folder and cache against the data folder.
    #[must_use]
    pub fn rooted(mut self, data: &Path) -> Self {
        for bucket in self.buckets.values_mut() {
            if let BucketSettings::Local { path } = bucket {
                root(path, data);
            }
        }
        root(&mut self.query.spill_path, data);
        root(&mut self.ingest.spool_path, data);
        for source in self.sources.values_mut() {
            if let Some(SourcePassword::File(path)) = &mut source.password {
                root(path, data);
            }
            if let Some(path) = &mut source.ca_file {
                root(path, data);
            }
        }
        root(&mut self.plugins.folder, data);
        root(&mut self.plugins.cache_path, data);
        if let Some(distribution) = &mut self.plugins.distribution {
            root(distribution, data);
        }
        root(&mut self.truth.dir, data);
        if let Some(tls) = &mut self.tls {
            root(&mut tls.cert_file, data);
            root(&mut tls.key_file, data);
        }
        root(&mut self.auth.access_file, data);
        self
    }

    /// Whether others than this machine's own users could reach a server that asks nobody for a key. A file that says so is refused;
    /// whoever changes `listen` later asks again.
    pub fn is_exposed(&self) -> bool {
        let listens = [Some(self.server.listen), self.flight.listen];
        !self.auth.enabled && listens.into_iter().flatten().any(|address| !address.ip().to_canonical().is_loopback())
    }

    fn read(mut file: Section<'_, '_>) -> Self {
        let buckets = BucketSettings::read(file.section("buckets"));
        let is_remote = matches!(buckets.get(&BucketName::primary()), Some(BucketSettings::S3(_)));
        let settings = Self {
            server: ServerSettings::read(file.section("server")),
            tls: TlsSettings::read(file.section("tls")),
            flight: FlightSettings::read(file.section("flight")),
            auth: AuthSettings::read(file.section("auth")),
            buckets,
            query: QuerySettings::read(file.section("query")),
            vector: VectorSettings::read(file.section("vector")),
            plugins: PluginSettings::read(file.section("plugins")),
            ingest: IngestSettings::read(file.section("ingest")),
            sources: SourceSettings::read(file.section("sources")),
            storage: StorageSettings::read(file.section("storage"), is_remote),
            compaction: CompactionSettings::read(file.section("compaction")),
            truth: TruthSettings::read(file.section("truth")),
            log: LogSettings::read(file.section("log")),
            trace: TraceSettings::read(file.section("trace")),
        };
        if settings.server.request_timeout < settings.query.deadline {
            file.report(format!(
                "\"request_timeout_ms\" in [server] is {}, less than \"deadline_ms\" in [query], {}: queries would be cut off without \
                 their own error",
                settings.server.request_timeout.as_millis(),
                settings.query.deadline.as_millis()
            ));
        }
        for folder in &settings.ingest.import {
            if !settings.buckets.contains_key(&folder.bucket) {
                file.report(format!("\"import\" in [ingest] names bucket \"{}\", which [buckets] does not", folder.bucket));
            }
        }
        if settings.is_exposed() {
            file.report(format!(
                "\"enabled\" in [auth] is false and \"listen\" in [server] is {}{}: everybody who reaches it would be an admin; listen on \
                 a loopback address like 127.0.0.1, or enable keys",
                settings.server.listen,
                settings.flight.listen.map_or_else(String::new, |address| format!(", in [flight] {address}")),
            ));
        }
        file.finish();
        settings
    }
}

impl Default for Settings {
    fn default() -> Self {
        let problems = Problems::of("");
        Self::read(Section::root(toml::de::DeTable::new(), &problems))
    }
}

fn root(path: &mut PathBuf, base: &Path) {
    if path.is_relative() {
        *path = base.join(&*path);
    }
}

#[cfg(test)]
mod tests;
