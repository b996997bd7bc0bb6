//! Search: a text or a vector in, rows out, with or without a filter.

use axum::extract::State;
use lakehouse_engine::{Action, Caller, Found, Hits, SearchIndex, Seek};
use lakehouse_types::{Code, IndexName, ProfileId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    answer::{Answer, Outcome},
    app::App,
    problem::Problem,
    request::{Json, Named, Who},
    route::{Access, Route},
};

/// Rows of a search that does not say.
const USUAL_K: usize = 10;
/// Rows of a search that counts what it wants to show: so many for each, and no fewer than [`LEAST_K`].
const K_PER_COUNT: usize = 5;
const LEAST_K: usize = 20;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_search_profile, search_profile, Access::May(Action::Search)),
        Route::new(__path_search_hybrid, search_hybrid, Access::May(Action::Search)),
    ]
}

/// What to look for, in an index of the profile's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchBody {
    #[schema(value_type = String)]
    #[serde(alias = "index_name")]
    index: IndexName,
    /// A text, embedded as the index was.
    query: Option<String>,
    /// In place of `query`.
    vector: Option<Vec<f32>>,
    /// Rows; 10 when absent, up to `[vector] max_k`.
    k: Option<usize>,
}

/// What to look for, and which rows may be found.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HybridBody {
    #[schema(value_type = String)]
    #[serde(alias = "index_name")]
    index: IndexName,
    /// A text, embedded as the index was.
    query: Option<String>,
    /// In place of `query`.
    vector: Option<Vec<f32>>,
    /// One SQL expression over the columns of the index's relation, as the key sees them.
    #[schema(example = "state = 'OH' AND years_experience > 5")]
    filter: Option<String>,
    /// Rows; 10 when absent, up to `[vector] max_k`.
    k: Option<usize>,
    /// In place of `k`: how many rows are wanted in the end; five times as many are answered, and no fewer than 20.
    count: Option<usize>,
    /// In place of the request's profile.
    #[schema(value_type = Option<String>)]
    profile: Option<ProfileId>,
}

/// A part of a row's text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HitChunk)]
struct ChunkBody {
    text: String,
    /// The first byte within the row's text, and one past the last.
    start: u32,
    end: u32,
}

/// A row that was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hit)]
struct HitBody {
    doc_id: String,
    row_key: String,
    /// The nearer, the greater: the cosine, the inner product, or the squared distance with a minus.
    score: f32,
    /// The row's best chunk; absent where vectors are indexed as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<ChunkBody>,
}

impl From<Found> for HitBody {
    fn from(found: Found) -> Self {
        let chunk = found.chunk.map(|chunk| ChunkBody { text: chunk.text, start: chunk.start, end: chunk.end });
        Self { doc_id: found.doc_id, row_key: found.row_key, score: found.score, chunk }
    }
}

/// Rows, nearest first, each once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hits)]
struct HitsBody {
    index: String,
    relation: String,
    profile: String,
    hits: Vec<HitBody>,
    hit_count: usize,
    /// `flat`: all vectors were compared, the index has no structure; `hnsw`: a graph was walked; `brute_force`: all that may be found
    /// were compared, because the structure is not in memory or few may be found.
    method: &'static str,
    /// Vectors that could have been found.
    candidates: usize,
    /// Whether the relation has rows that the index does not know yet.
    stale: bool,
    duration_ms: f64,
}

impl HitsBody {
    fn of(hits: Hits, began: Instant) -> Self {
        let found: Vec<HitBody> = hits.found.hits.into_iter().map(HitBody::from).collect();
        Self {
            index: hits.index.name.to_string(),
            relation: hits.index.relation.clone(),
            profile: hits.profile.to_string(),
            hit_count: found.len(),
            hits: found,
            method: hits.found.method.as_str(),
            candidates: hits.found.candidates,
            stale: hits.is_stale,
            duration_ms: (began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

fn seek(query: Option<String>, vector: Option<Vec<f32>>) -> Result<Seek, Problem> {
    match (query, vector) {
        (Some(text), None) => Ok(Seek::Text(text)),
        (None, Some(vector)) => Ok(Seek::Vector(vector)),
        _ => Err(Problem::new(Code::InvalidBody, "say `query` or `vector`, one of them")),
    }
}

fn rows(k: Option<usize>, count: Option<usize>, max_k: usize) -> Result<usize, Problem> {
    let most = (max_k / K_PER_COUNT).max(1);
    match (k, count) {
        (Some(_), Some(_)) => Err(Problem::new(Code::InvalidBody, "say `k` or `count`, not both")),
        (Some(k), None) => Ok(k),
        (None, Some(count)) if !(1..=most).contains(&count) => {
            Err(Problem::new(Code::InvalidParameter, format!("`count` must be from 1 to {most}")))
        }
        (None, Some(count)) => Ok(count.saturating_mul(K_PER_COUNT).max(LEAST_K.min(max_k))),
        (None, None) => Ok(USUAL_K),
    }
}

async fn answer(app: &App, caller: &Caller, what: SearchIndex, began: Instant) -> Outcome<HitsBody> {
    let hits = app.engine.search(caller, what).await?;
    app.metrics.searched(hits.found.method.as_str(), began.elapsed());
    Ok(Answer::ok(HitsBody::of(hits, began)))
}

/// Searches an index under a profile: only relations that the profile is bound to, redacted by its rules.
#[utoipa::path(post, path = "/vectors/profile/{id}/search", tag = "vectors", request_body = SearchBody,
    params(("id" = String, Path, description = "The profile.")),
    responses((status = 200, description = "Rows, nearest first.", body = HitsBody)))]
async fn search_profile(
    State(app): State<App>,
    Who(caller): Who,
    Named(id): Named<ProfileId>,
    Json(body): Json<SearchBody>,
) -> Outcome<HitsBody> {
    let began = Instant::now();
    let k = rows(body.k, None, app.engine.settings().vector.max_k)?;
    let what = SearchIndex { index: body.index, seek: seek(body.query, body.vector)?, k, filter: None, profile: Some(id) };
    answer(&app, &caller, what, began).await
}

/// Searches an index among the rows that satisfy a filter.
///
/// Every hit satisfies it, and there are never fewer hits than asked for while as many indexed rows satisfy it.
#[utoipa::path(post, path = "/vectors/hybrid", tag = "vectors", request_body = HybridBody,
    responses((status = 200, description = "Rows, nearest first.", body = HitsBody)))]
async fn search_hybrid(State(app): State<App>, Who(caller): Who, Json(body): Json<HybridBody>) -> Outcome<HitsBody> {
    let began = Instant::now();
    let k = rows(body.k, body.count, app.engine.settings().vector.max_k)?;
    let what =
        SearchIndex { index: body.index, seek: seek(body.query, body.vector)?, k, filter: body.filter, profile: body.profile };
    answer(&app, &caller, what, began).await
}

#[cfg(test)]
mod tests {
    use lakehouse_engine::Seek;

    use super::{rows, seek};

    #[test]
    fn what_is_wanted_in_the_end_asks_for_more() {
        for (k, count, expected) in [
            (None, None, Some(10)),
            (Some(3), None, Some(3)),
            (None, Some(1), Some(20)),
            (None, Some(10), Some(50)),
            (None, Some(0), None),
            (Some(1), Some(1), None),
        ] {
            assert_eq!(rows(k, count, 1_000).ok(), expected, "{k:?} {count:?}");
        }
        assert_eq!((rows(None, Some(200), 1_000).ok(), rows(None, Some(201), 1_000).ok()), (Some(1_000), None));
        assert_eq!(rows(None, Some(1), 5).ok(), Some(5));
    }

    #[test]
    fn one_thing_is_looked_for() {
        assert!(matches!(seek(Some("x".into()), None), Ok(Seek::Text(_))));
        assert!(matches!(seek(None, Some(vec![1.0])), Ok(Seek::Vector(_))));
        assert!(seek(None, None).is_err() && seek(Some("x".into()), Some(vec![])).is_err());
    }
}
