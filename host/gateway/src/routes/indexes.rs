//! Indexes: made and refreshed from a dataset or view, listed, dropped.

use axum::{extract::State, response::Response};
use lakehouse_engine::{Action, IndexMetric, IndexSource, PinnedRule, RefreshIndex, RefreshReport, ShownIndex, StaleDataset};
use lakehouse_types::{Code, ColumnName, DatasetName, IndexName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::Paging;
use crate::{
    answer::{Answer, NoContent, Outcome},
    app::App,
    later::{self, Later, Started},
    problem::Problem,
    request::{Json, Named, Params, Who},
    route::{Access, Load, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_refresh_index, refresh_index, Access::May(Action::ManageIndexes)).load(Load::Work),
        Route::new(__path_list_indexes, list_indexes, Access::May(Action::Search)),
        Route::new(__path_show_index, show_index, Access::May(Action::Search)),
        Route::new(__path_drop_index, drop_index, Access::May(Action::ManageIndexes)),
        Route::new(__path_list_stale, list_stale, Access::May(Action::Search)),
    ]
}

/// How vectors are compared.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = Metric)]
#[serde(rename_all = "snake_case")]
enum MetricBody {
    Cosine,
    InnerProduct,
    L2,
}

impl From<MetricBody> for IndexMetric {
    fn from(metric: MetricBody) -> Self {
        match metric {
            MetricBody::Cosine => Self::Cosine,
            MetricBody::InnerProduct => Self::InnerProduct,
            MetricBody::L2 => Self::L2,
        }
    }
}

impl From<IndexMetric> for MetricBody {
    fn from(metric: IndexMetric) -> Self {
        match metric {
            IndexMetric::Cosine => Self::Cosine,
            IndexMetric::InnerProduct => Self::InnerProduct,
            IndexMetric::L2 => Self::L2,
        }
    }
}

/// What to index, and how. The first refresh makes the index; later ones may leave everything but its name out, and embed anew what
/// other columns or settings ask for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefreshBody {
    #[schema(value_type = String)]
    index_name: IndexName,
    /// The column that names rows: text or integers, each once.
    #[schema(value_type = Option<String>)]
    id_column: Option<ColumnName>,
    /// Text: it is cut into chunks, which are embedded.
    #[schema(value_type = Option<String>)]
    text_column: Option<ColumnName>,
    /// In place of `text_column`: lists of numbers, indexed as they are.
    #[schema(value_type = Option<String>)]
    vector_column: Option<ColumnName>,
    /// `cosine` when absent.
    metric: Option<MetricBody>,
    /// Handed to the profile's chunker; the shipped one counts characters, 800 when absent.
    chunk_size: Option<u32>,
    /// Handed to the profile's chunker; 100 when absent.
    overlap: Option<u32>,
    /// Handed to the profile's id mapper as `prefix`; the shipped one puts it before each row key.
    id_prefix: Option<String>,
}

impl RefreshBody {
    fn source(&self) -> Result<Option<IndexSource>, Problem> {
        match (&self.text_column, &self.vector_column) {
            (Some(_), Some(_)) => Err(Problem::new(Code::InvalidBody, "say `text_column` or `vector_column`, not both")),
            (Some(text), None) => Ok(Some(IndexSource::Text(text.clone()))),
            (None, Some(vectors)) => Ok(Some(IndexSource::Vectors(vectors.clone()))),
            (None, None) => Ok(None),
        }
    }
}

/// What a refresh did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefreshReport)]
struct RefreshAnswer {
    index: String,
    relation: String,
    /// Rows that are indexed now.
    rows: u64,
    new_docs: u64,
    changed_docs: u64,
    removed_docs: u64,
    unchanged_docs: u64,
    /// Rows that were not indexed because their id is NULL.
    rows_without_id: u64,
    /// Rows that were not indexed because their text or vector is NULL.
    rows_without_content: u64,
    /// Chunks of new and changed rows.
    chunks: u64,
    /// Texts that the embedder was called with.
    embedded: u64,
    segments: usize,
    /// Whether everything was embedded anew, because the rules or columns are others than before.
    rebuilt: bool,
    /// Whether the index was behind its rows or rules, and is no longer.
    stale_cleared: bool,
    duration_ms: u64,
}

impl From<RefreshReport> for RefreshAnswer {
    fn from(report: RefreshReport) -> Self {
        let RefreshReport { index, counts, is_rebuilt, stale_cleared, duration } = report;
        Self {
            index: index.name.to_string(),
            relation: index.relation.clone(),
            rows: index.rows(),
            new_docs: counts.new_rows,
            changed_docs: counts.changed_rows,
            removed_docs: counts.removed_rows,
            unchanged_docs: counts.unchanged_rows,
            rows_without_id: counts.rows_without_id,
            rows_without_content: counts.rows_without_content,
            chunks: counts.chunks,
            embedded: counts.embedded,
            segments: index.segments.len(),
            rebuilt: is_rebuilt,
            stale_cleared,
            duration_ms: millis(duration),
        }
    }
}

/// A rule that an index was made with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IndexRule)]
struct RuleBody {
    plugin: String,
    version: String,
    digest: String,
    /// Shown to those who manage indexes.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<serde_json::Value>,
}

impl RuleBody {
    fn of(rule: &PinnedRule, manages: bool) -> Self {
        Self {
            plugin: rule.plugin.to_string(),
            version: rule.version.clone(),
            digest: rule.digest.to_string(),
            config: manages.then(|| rule.config.clone()),
        }
    }
}

/// An index.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Index)]
struct IndexBody {
    name: String,
    /// The dataset or view that it belongs to.
    relation: String,
    /// The dataset beneath.
    dataset: String,
    bucket: String,
    id_column: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_column: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector_column: Option<String>,
    metric: MetricBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    /// The profile whose rules made it.
    profile: String,
    /// The embedder's plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    embed_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunker: Option<RuleBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedder: Option<RuleBody>,
    id_mapper: RuleBody,
    rows: u64,
    /// Vectors, dead ones included.
    chunks: u64,
    /// As a factory string, the oldest first; `Flat` has no structure.
    segments: Vec<String>,
    size_bytes: u64,
    /// Whether it is in memory, so that a search is as fast as it gets.
    warm: bool,
    /// Whether a refresh would change it.
    stale: bool,
    /// Of `rows`, `rules`, `view`, `damaged`, `unfinished`.
    #[schema(value_type = Vec<String>)]
    stale_because: Vec<&'static str>,
    created_at: String,
    created_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refreshed_at: Option<String>,
}

impl IndexBody {
    fn of(shown: ShownIndex, manages: bool) -> Self {
        let ShownIndex { record, stale, is_warm } = shown;
        let (text_column, vector_column) = match &record.recipe.source {
            IndexSource::Text(column) => (Some(column.to_string()), None),
            IndexSource::Vectors(column) => (None, Some(column.to_string())),
        };
        let rules = &record.recipe.rules;
        let structure = |segment: &lakehouse_engine::SegmentRecord| {
            segment.files.faiss.as_ref().map_or_else(|| "Flat".to_owned(), |faiss| faiss.factory.clone())
        };
        Self {
            name: record.name.to_string(),
            relation: record.relation.clone(),
            dataset: record.base.to_string(),
            bucket: record.bucket.to_string(),
            id_column: record.recipe.id_column.to_string(),
            text_column,
            vector_column,
            metric: record.recipe.metric.into(),
            dimensions: record.dimensions,
            profile: record.profile.to_string(),
            embed_model: rules.embedder.as_ref().map(|rule| rule.plugin.to_string()),
            chunker: rules.chunker.as_ref().map(|rule| RuleBody::of(rule, manages)),
            embedder: rules.embedder.as_ref().map(|rule| RuleBody::of(rule, manages)),
            id_mapper: RuleBody::of(&rules.id_mapper, manages),
            rows: record.rows(),
            chunks: record.chunks(),
            segments: record.segments.iter().map(structure).collect(),
            size_bytes: record.segments.iter().flat_map(|segment| segment.files.iter()).map(|file| file.bytes).sum(),
            warm: is_warm,
            stale: !stale.is_empty(),
            stale_because: stale,
            created_at: record.created_at.to_rfc3339(),
            created_by: record.created_by.to_string(),
            refreshed_at: record.refreshed_at.map(|at| at.to_rfc3339()),
        }
    }
}

/// A page of indexes, by name.
#[derive(Debug, Serialize, ToSchema)]
struct Indexes {
    indexes: Vec<IndexBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An index that is behind, or not.
#[derive(Debug, Serialize, ToSchema)]
struct StaleIndex {
    index: String,
    stale: bool,
    /// Of `rows`, `rules`, `view`, `damaged`, `unfinished`.
    #[schema(value_type = Vec<String>)]
    stale_because: Vec<&'static str>,
}

/// A dataset that was embedded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StaleDataset)]
struct StaleBody {
    dataset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_embedded_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_stale_since: Option<String>,
    embedding_refresh_policy: serde_json::Value,
    indexes: Vec<StaleIndex>,
}

impl From<StaleDataset> for StaleBody {
    fn from(StaleDataset { record, indexes }: StaleDataset) -> Self {
        let index = |(name, why): (IndexName, Vec<&'static str>)| StaleIndex {
            index: name.to_string(),
            stale: !why.is_empty(),
            stale_because: why,
        };
        Self {
            dataset: record.name.to_string(),
            last_embedded_at: record.last_embedded_at.map(|at| at.to_rfc3339()),
            embedding_stale_since: record.embedding_stale_since.map(|at| at.to_rfc3339()),
            embedding_refresh_policy: serde_json::to_value(&record.embedding_refresh_policy).unwrap_or_default(),
            indexes: indexes.into_iter().map(index).collect(),
        }
    }
}

/// Datasets that were ever embedded.
#[derive(Debug, Serialize, ToSchema)]
struct Stale {
    datasets: Vec<StaleBody>,
}

/// Whole milliseconds.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Makes an index of a dataset or view, or brings it up to date.
///
/// New and changed rows are embedded, by the hash of their content; rows that are gone are found no more; what is unchanged is not
/// touched. When it fails nothing of it is searched, and the next refresh goes on from what was embedded.
#[utoipa::path(post, path = "/vectors/refresh/{dataset}", tag = "vectors", request_body = RefreshBody,
    params(("dataset" = String, Path, description = "The dataset or view."),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: a job instead of waiting.")),
    responses((status = 200, description = "What was done.", body = RefreshAnswer), (status = 202, description = "The job.", body = Started)))]
async fn refresh_index(
    State(app): State<App>,
    Who(caller): Who,
    later: Later,
    Named(relation): Named<DatasetName>,
    Json(body): Json<RefreshBody>,
) -> Result<Response, Problem> {
    let source = body.source()?;
    let what = RefreshIndex {
        relation: relation.to_string(),
        id_column: body.id_column,
        source,
        metric: body.metric.map(IndexMetric::from),
        chunk_size: body.chunk_size,
        overlap: body.overlap,
        id_prefix: body.id_prefix,
    };
    let (shared, asking, index) = (app.clone(), caller.clone(), body.index_name);
    later::answer(&app, &caller, later, "refresh", index.to_string(), |progress| async move {
        let report = shared.engine.refresh_index(&asking, &index, what, progress).await?;
        shared.metrics.refreshed(report.counts.embedded, report.duration);
        Ok(RefreshAnswer::from(report))
    })
    .await
}

/// Lists the indexes that the key may search or manage.
#[utoipa::path(get, path = "/vectors/indexes", tag = "vectors", params(Paging),
    responses((status = 200, description = "A page.", body = Indexes)))]
async fn list_indexes(State(app): State<App>, Who(caller): Who, Params(paging): Params<Paging>) -> Outcome<Indexes> {
    let manages = caller.principal.may(Action::ManageIndexes);
    let page = app.engine.indexes(&caller, paging.after(), paging.limit())?;
    let indexes = page.items.into_iter().map(|index| IndexBody::of(index, manages)).collect();
    Ok(Answer::ok(Indexes { indexes, next: page.next }))
}

/// Shows an index.
#[utoipa::path(get, path = "/vectors/indexes/{name}", tag = "vectors", params(("name" = String, Path, description = "The index.")),
    responses((status = 200, description = "The index.", body = IndexBody)))]
async fn show_index(State(app): State<App>, Who(caller): Who, Named(name): Named<IndexName>) -> Outcome<IndexBody> {
    let manages = caller.principal.may(Action::ManageIndexes);
    Ok(Answer::ok(IndexBody::of(app.engine.index(&caller, &name).await?, manages)))
}

/// Drops an index.
#[utoipa::path(delete, path = "/vectors/indexes/{name}", tag = "vectors", params(("name" = String, Path, description = "The index.")),
    responses((status = 204, description = "Gone.")))]
async fn drop_index(State(app): State<App>, Who(caller): Who, Named(name): Named<IndexName>) -> Result<NoContent, Problem> {
    app.engine.drop_index(&caller, &name).await?;
    Ok(NoContent)
}

/// Lists the datasets that were ever embedded, and which of their indexes are behind.
#[utoipa::path(get, path = "/vectors/stale", tag = "vectors", responses((status = 200, description = "By name.", body = Stale)))]
async fn list_stale(State(app): State<App>, Who(caller): Who) -> Outcome<Stale> {
    Ok(Answer::ok(Stale { datasets: app.engine.stale(&caller).into_iter().map(StaleBody::from).collect() }))
}
