//! Buckets: where datasets may live, and how those places are.

use axum::extract::State;
use lakehouse_engine::{Action, BucketCounts, BucketMigration, ShownBucket};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    answer::{Answer, Outcome},
    app::App,
    request::Who,
    route::{Access, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_buckets, buckets, Access::AnyKey),
        Route::new(__path_migrate_buckets, migrate_buckets, Access::May(Action::ManageBuckets)),
    ]
}

/// The server's buckets.
#[derive(Debug, Serialize, ToSchema)]
struct Buckets {
    /// Sorted by name, `primary` among them.
    buckets: Vec<BucketBody>,
}

/// A bucket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bucket)]
struct BucketBody {
    /// What `X-Lakehouse-Bucket` may say.
    name: String,
    /// `local`, `memory` or `s3`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// Whether its datasets go when the server stops.
    volatile: bool,
    /// Whether it answered just now, within two seconds.
    healthy: bool,
    /// How long that took.
    latency_ms: f64,
    /// The folder or URL, without credentials. For admins and operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// For admins and operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    counters: Option<CountersBody>,
}

/// What the server did in a bucket since it started.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BucketCounters)]
struct CountersBody {
    reads: u64,
    read_bytes: u64,
    /// Objects written.
    writes: u64,
    written_bytes: u64,
    deletes: u64,
    /// Listings begun.
    lists: u64,
    /// Calls repeated after a failure that passes.
    retries: u64,
    /// Calls that failed for good.
    errors: u64,
}

impl From<BucketCounts> for CountersBody {
    fn from(counts: BucketCounts) -> Self {
        let BucketCounts { reads, writes, deletes, lists, errors, retries, read_bytes, written_bytes } = counts;
        Self { reads, read_bytes, writes, written_bytes, deletes, lists, retries, errors }
    }
}

impl From<ShownBucket> for BucketBody {
    fn from(shown: ShownBucket) -> Self {
        let ShownBucket { name, kind, is_volatile, health, inside } = shown;
        let (location, counters) = inside.map(|inside| (inside.location, inside.counts.into())).unzip();
        Self {
            name: name.to_string(),
            kind,
            volatile: is_volatile,
            healthy: health.healthy,
            latency_ms: health.latency.as_secs_f64() * 1e3,
            location,
            counters,
        }
    }
}

/// What a migration of bucket names found and did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BucketMigration)]
struct MigrationBody {
    /// Datasets whose record now says `primary`.
    renamed: usize,
    already_canonical: usize,
    /// Datasets in all.
    total: usize,
}

impl From<BucketMigration> for MigrationBody {
    fn from(BucketMigration { renamed, already_canonical, total }: BucketMigration) -> Self {
        Self { renamed, already_canonical, total }
    }
}

/// Lists the buckets that `X-Lakehouse-Bucket` may name, and asks each whether it answers.
#[utoipa::path(get, path = "/buckets", tag = "datasets", responses((status = 200, description = "All buckets.", body = Buckets)))]
async fn buckets(State(app): State<App>, Who(caller): Who) -> Answer<Buckets> {
    let shown = app.engine.buckets(&caller).await;
    Answer::ok(Buckets { buckets: shown.into_iter().map(BucketBody::from).collect() })
}

/// Rewrites the names that earlier releases gave the primary bucket in the records of datasets (none, `data`, `local`). Moves nothing;
/// a second run renames nothing.
#[utoipa::path(post, path = "/catalog/migrate-buckets", tag = "datasets",
    responses((status = 200, description = "Done.", body = MigrationBody)))]
async fn migrate_buckets(State(app): State<App>, Who(caller): Who) -> Outcome<MigrationBody> {
    Ok(Answer::ok(app.engine.migrate_buckets(&caller).await?.into()))
}
