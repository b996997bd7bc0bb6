//! Erasure: subjects are taken out of everything that holds them, and the certificate says so.

use axum::{extract::State, response::Response};
use lakehouse_engine::{Action, Certificate, ERASURE, Erase};
use lakehouse_types::{CertificateId, ColumnName, DatasetName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::paging::Paging;
use crate::{
    answer::{Answer, Outcome},
    app::App,
    later::{self, Later, Started},
    problem::Problem,
    request::{Json, Named, Params, Who},
    route::{Access, Load, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(__path_erase, erase, Access::May(Action::Erase)).load(Load::Work),
        Route::new(__path_list_certificates, list_certificates, Access::May(Action::Erase)),
        Route::new(__path_show_certificate, show_certificate, Access::May(Action::Erase)),
    ]
}

/// Whom to erase.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EraseBody {
    #[schema(value_type = String)]
    dataset: DatasetName,
    /// The dataset's key column, or the one that becomes it.
    #[schema(value_type = String)]
    row_key_column: ColumnName,
    /// Texts or integers, up to 10,000.
    row_key_values: Vec<Value>,
}

/// That subjects were erased, and how it was made sure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Certificate)]
struct CertificateBody {
    id: String,
    dataset: String,
    bucket: String,
    row_key_column: String,
    /// The subjects as keyed hashes; the same that journal events name them by.
    subjects: Vec<String>,
    requested_by: String,
    request_id: String,
    begun_at: String,
    ended_at: String,
    /// Rows that were there, hidden ones included.
    rows_erased: u64,
    tombstones_removed: u64,
    /// The first table version without them.
    version: u64,
    files_rewritten: u64,
    /// Data files of earlier versions.
    files_removed: u64,
    /// Commits and checkpoints of the table's log.
    log_files_removed: u64,
    indexes: Vec<ErasedIndexBody>,
    /// The generation of the metadata store that took the place of the one that knew the keys.
    metadata_generation: u64,
    scan: ScanBody,
}

/// An index over the dataset.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErasedIndex)]
struct ErasedIndexBody {
    index: String,
    rows_removed: u64,
    segments_rewritten: u64,
    emptied: bool,
}

/// What a search of every byte found afterwards.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScanReport)]
struct ScanBody {
    /// Whether nothing was found, and everything was read through.
    clean: bool,
    objects: u64,
    bytes: u64,
    /// Texts that were searched for: those that stood in the erased rows and in no other row of the dataset.
    needles: u64,
    /// Such texts that also stand in the code of components: they point at nobody, and were not searched for elsewhere.
    common_words: u64,
    traces: Vec<TraceBody>,
    /// Traces beyond those that are named.
    more_traces: u64,
    duration_ms: u64,
}

/// An object with something in it that should be gone: of another dataset, perhaps.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trace)]
struct TraceBody {
    /// A bucket, or a folder of the host.
    place: String,
    object: String,
    /// `found`, or `unreadable`.
    what: String,
}

impl From<Certificate> for CertificateBody {
    fn from(certificate: Certificate) -> Self {
        let scan = certificate.scan;
        Self {
            id: certificate.id.to_string(),
            dataset: certificate.dataset.to_string(),
            bucket: certificate.bucket.to_string(),
            row_key_column: certificate.column.to_string(),
            subjects: certificate.subjects,
            requested_by: certificate.requested_by.to_string(),
            request_id: certificate.request_id.to_string(),
            begun_at: certificate.begun_at.to_rfc3339(),
            ended_at: certificate.ended_at.to_rfc3339(),
            rows_erased: certificate.rows_erased,
            tombstones_removed: certificate.tombstones_removed,
            version: certificate.version,
            files_rewritten: certificate.files_rewritten,
            files_removed: certificate.files_removed,
            log_files_removed: certificate.log_files_removed,
            indexes: certificate
                .indexes
                .into_iter()
                .map(|index| ErasedIndexBody {
                    index: index.index.to_string(),
                    rows_removed: index.rows_removed,
                    segments_rewritten: index.segments_rewritten,
                    emptied: index.is_emptied,
                })
                .collect(),
            metadata_generation: certificate.metadata_generation,
            scan: ScanBody {
                clean: scan.is_clean(),
                objects: scan.objects,
                bytes: scan.bytes,
                needles: scan.needles,
                common_words: scan.common_words,
                traces: scan
                    .traces
                    .into_iter()
                    .map(|trace| TraceBody { place: trace.place, object: trace.object, what: trace.what })
                    .collect(),
                more_traces: scan.more_traces,
                duration_ms: scan.duration_ms,
            },
        }
    }
}

/// A page of certificates, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct Certificates {
    certificates: Vec<CertificateBody>,
    /// The cursor of the next page, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Erases subjects from a dataset and everything that was made of it, and proves it.
///
/// Rows, earlier versions, the table's log, texts and vectors of indexes, caches and the records that named the keys are gone when it
/// answers; then every byte of every bucket is searched for what only those rows said. Whoever opens an older copy of a bucket has the
/// erasure done again before anything of it is served. A key that is not there is no error. With `Prefer: respond-async` it is a job.
#[utoipa::path(post, path = "/erasure", tag = "storage", request_body = EraseBody,
    params(("Prefer" = Option<String>, Header, description = "`respond-async`: a job instead of waiting.")),
    responses((status = 200, description = "The certificate.", body = CertificateBody), (status = 202, description = "The job.", body = Started)))]
async fn erase(State(app): State<App>, Who(caller): Who, later: Later, Json(body): Json<EraseBody>) -> Result<Response, Problem> {
    let EraseBody { dataset, row_key_column: column, row_key_values: values } = body;
    let (engine, asking, subject) = (app.engine.clone(), caller.clone(), dataset.to_string());
    later::answer(&app, &caller, later, ERASURE, subject, |progress| async move {
        Ok(CertificateBody::from(engine.erase(&asking, Erase { dataset, column, values }, progress).await?))
    })
    .await
}

/// Lists certificates.
#[utoipa::path(get, path = "/erasure", tag = "storage", params(Paging),
    responses((status = 200, description = "A page.", body = Certificates)))]
async fn list_certificates(State(app): State<App>, Who(caller): Who, Params(paging): Params<Paging>) -> Outcome<Certificates> {
    let page = app.engine.certificates(&caller, paging.after(), paging.limit()).await?;
    Ok(Answer::ok(Certificates { certificates: page.items.into_iter().map(CertificateBody::from).collect(), next: page.next }))
}

/// Shows a certificate.
#[utoipa::path(get, path = "/erasure/{id}", tag = "storage", params(("id" = String, Path, description = "The certificate.")),
    responses((status = 200, description = "The certificate.", body = CertificateBody)))]
async fn show_certificate(State(app): State<App>, Who(caller): Who, Named(id): Named<CertificateId>) -> Outcome<CertificateBody> {
    Ok(Answer::ok(app.engine.certificate(&caller, &id).await?.into()))
}
