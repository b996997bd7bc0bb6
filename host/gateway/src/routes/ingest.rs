//! Files in: CSV, NDJSON, Parquet and their kin become rows of a dataset.

use std::{
    fmt, io,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    BoxError,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, header},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use lakehouse_engine::{Action, Format, IngestFile, IngestMode, IngestReport, Ingested, OnError, WriteMode};
use lakehouse_types::{BucketName, Code, ColumnName, DatasetName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::datasets::ColumnBody;
use crate::{
    answer::{Answer, Outcome},
    app::App,
    problem::Problem,
    request::{Params, Who, header_value},
    route::{Access, Load, Route},
};

/// Names the bucket of a new dataset.
pub(crate) const BUCKET: HeaderName = HeaderName::from_static("x-lakehouse-bucket");

/// Makes a repeated request have one effect.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What may stand before the file of a multipart form: other fields, part headers.
const MAX_BEFORE_FILE_BYTES: usize = 64 << 10;

/// Bytes of a form that are looked at together until its file is found.
const PIECE_BYTES: usize = 4 << 10;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(__path_ingest_file, ingest_file, Access::May(Action::Ingest)).load(Load::File)]
}

/// How a file becomes rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FileParams {
    /// The dataset; made when it does not exist.
    #[param(value_type = String)]
    dataset: DatasetName,
    /// `append` (the default), `replace`, or `upsert`: rows take the place of those with the same `key`.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    mode: IngestMode,
    /// `csv`, `tsv`, `json`, `ndjson`, `parquet`, `arrow`; else the file's name or the Content-Type decides.
    format: Option<String>,
    /// The column whose values name the rows.
    #[param(value_type = Option<String>)]
    key: Option<ColumnName>,
    /// `fail` (the default) refuses the whole file at its first bad row, `skip` leaves bad rows out and reports them.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    on_error: OnError,
}

/// A row that was left out.
#[derive(Debug, Serialize, ToSchema)]
struct RejectedBody {
    /// Line of the input where it begins, from 1.
    line: u64,
    reason: String,
}

/// What an ingest did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IngestReport)]
pub(super) struct ReportBody {
    dataset: String,
    bucket: String,
    /// `append`, `replace` or `upsert`.
    #[schema(value_type = String)]
    mode: WriteMode,
    rows: u64,
    /// Rows of before that an upsert took out.
    replaced_rows: u64,
    /// The first of the rows that were left out.
    rejected: Vec<RejectedBody>,
    /// How many were left out in all.
    rejected_rows: u64,
    columns: Vec<ColumnBody>,
    /// The table version that the write made.
    version: u64,
    /// Rows of this file that stay hidden because their key is tombstoned.
    tombstoned_keys: u64,
    duration_ms: u64,
}

impl From<IngestReport> for ReportBody {
    fn from(report: IngestReport) -> Self {
        Self {
            dataset: report.dataset.to_string(),
            bucket: report.bucket.to_string(),
            mode: report.mode,
            rows: report.rows,
            replaced_rows: report.replaced_rows,
            rejected: report.rejected.into_iter().map(|row| RejectedBody { line: row.line, reason: row.reason }).collect(),
            rejected_rows: report.rejected_rows,
            columns: report.columns.into_iter().map(ColumnBody::from).collect(),
            version: report.version,
            tombstoned_keys: report.tombstoned_keys,
            duration_ms: report.duration_ms,
        }
    }
}

/// Ingests a file, as the raw body or as the first file of a multipart form.
///
/// The schema is inferred; a new column widens it; a changed type is refused naming column and row. Acknowledged means durable
/// and visible to the next query.
#[utoipa::path(post, path = "/ingest/file", tag = "ingest",
    params(FileParams,
        ("X-Lakehouse-Bucket" = Option<String>, Header, description = "The bucket; `primary` when absent."),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeats with one key have one effect and one answer.")),
    request_body(content(
        (crate::openapi::FileForm = "multipart/form-data"), (crate::openapi::Binary = "text/csv"), (crate::openapi::Binary = "application/x-ndjson"),
        (crate::openapi::Binary = "application/vnd.apache.parquet"), (crate::openapi::Binary = "application/octet-stream")), description = "The file."),
    responses((status = 201, description = "Committed.", body = ReportBody)))]
async fn ingest_file(
    State(app): State<App>,
    Who(caller): Who,
    Params(params): Params<FileParams>,
    headers: HeaderMap,
    request: Request,
) -> Outcome<ReportBody> {
    let format = params.format.as_deref().map(Format::from_str).transpose()?;
    let idempotency_key = idempotency_key(&headers)?;
    app.engine.require_ingest(&caller, &params.dataset).await?;
    let bucket = bucket(&headers, || app.engine.bucket_names(&caller))?;
    let file = File::of(request).await?;
    let wanted = IngestFile {
        dataset: params.dataset,
        bucket,
        mode: params.mode,
        format,
        file_name: file.name,
        content_type: file.kind,
        key: params.key,
        on_error: params.on_error,
        idempotency_key,
    };
    let Ingested { report, is_repeat } = app.engine.ingest(&caller, wanted, file.content).await?;
    if !is_repeat {
        app.metrics.ingested(report.rows, report.duration_ms);
    }
    Ok(Answer::created(report.into()))
}

/// The bucket that the header names. A text that no bucket can be called is answered as a name that none has.
pub(super) fn bucket(headers: &HeaderMap, valid: impl FnOnce() -> Vec<BucketName>) -> Result<Option<BucketName>, Problem> {
    header_value::<BucketName>(headers, &BUCKET).map_err(|malformed| {
        if headers.get_all(&BUCKET).iter().count() > 1 {
            return malformed;
        }
        let valid: Vec<String> = valid().iter().map(ToString::to_string).collect();
        Problem::new(Code::UnknownBucket, format!("header `{BUCKET}`: no bucket is called so")).with("valid_buckets", valid)
    })
}

/// The caller's name for the request.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    Ok(header_value::<IdempotencyKey>(headers, &IDEMPOTENCY_KEY)?.map(|key| key.0))
}

/// A caller's name for a request: 1 to 255 visible ASCII characters.
struct IdempotencyKey(String);

impl FromStr for IdempotencyKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err("must be 1 to 255 visible ASCII characters") }
    }
}

/// The file of a request.
struct File {
    name: Option<String>,
    kind: Option<String>,
    content: BoxStream<'static, Result<Bytes, io::Error>>,
}

impl File {
    async fn of(request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        match kind.as_deref().filter(|kind| kind.to_ascii_lowercase().starts_with("multipart/")) {
            Some(kind) => Self::of_form(kind, body).await,
            None => {
                let named = parts.headers.get(header::CONTENT_DISPOSITION).and_then(|value| value.to_str().ok());
                Ok(Self { name: named.and_then(file_name), kind, content: stream(body) })
            }
        }
    }

    async fn of_form(kind: &str, body: Body) -> Result<Self, Problem> {
        let boundary = multer::parse_boundary(kind).map_err(malformed)?;
        let found = Arc::new(AtomicBool::new(false));
        let mut form = multer::Multipart::new(sparing(body, Arc::clone(&found)), boundary);
        while let Some(field) = form.next_field().await.map_err(malformed)? {
            if field.file_name().is_none() && field.name() != Some("file") {
                continue;
            }
            found.store(true, Ordering::Relaxed);
            return Ok(Self {
                name: field.file_name().map(str::to_owned),
                kind: field.content_type().map(ToString::to_string),
                content: field.map_err(io::Error::other).boxed(),
            });
        }
        Err(Problem::new(Code::InvalidBody, "the multipart form has no file"))
    }
}

/// A form whose file is too far from its start.
#[derive(Debug)]
struct FileTooFar;

impl fmt::Display for FileTooFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} KiB stand before the multipart form's file", MAX_BEFORE_FILE_BYTES >> 10)
    }
}

impl std::error::Error for FileTooFar {}

fn malformed(error: multer::Error) -> Problem {
    let detail = match error {
        multer::Error::StreamReadFailed(source) if source.is::<FileTooFar>() => source.to_string(),
        _ => "the multipart form cannot be read".to_owned(),
    };
    Problem::new(Code::InvalidBody, detail)
}

/// The body of a form, given out one piece at a time: the parser takes all that is ready before it looks, and would otherwise hold
/// as much as the client can send. Until the file is found the pieces are small and few.
fn sparing(body: Body, found: Arc<AtomicBool>) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    async_stream::try_stream! {
        let mut frames = body.into_data_stream();
        let mut before_file = 0;
        while let Some(mut rest) = frames.try_next().await? {
            while !rest.is_empty() {
                let is_found = found.load(Ordering::Relaxed);
                let piece = rest.split_to(if is_found { rest.len() } else { rest.len().min(PIECE_BYTES) });
                before_file += if is_found { 0 } else { piece.len() };
                if before_file > MAX_BEFORE_FILE_BYTES {
                    Err::<(), _>(FileTooFar)?;
                }
                yield piece;
                tokio::task::yield_now().await;
            }
        }
    }
}

fn stream(body: Body) -> BoxStream<'static, Result<Bytes, io::Error>> {
    body.into_data_stream().map_err(io::Error::other).boxed()
}

/// The file name of `attachment; filename="people.csv"`.
fn file_name(disposition: &str) -> Option<String> {
    let value = disposition.split(';').find_map(|part| part.trim().strip_prefix("filename="))?;
    Some(value.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request};
    use futures::TryStreamExt;

    use super::{File, MAX_BEFORE_FILE_BYTES, file_name};

    #[tokio::test]
    async fn the_first_file_of_a_form_is_the_file() {
        let form = "--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
                    --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"people.csv\"\r\nContent-Type: text/csv\r\n\r\n\
                    id\n1\n\r\n--x--\r\n";
        let request =
            Request::builder().header("content-type", "multipart/form-data; boundary=x").body(Body::from(form)).unwrap();
        let file = File::of(request).await.unwrap();
        assert_eq!((file.name.as_deref(), file.kind.as_deref()), (Some("people.csv"), Some("text/csv")));
        let content: Vec<_> = file.content.try_collect().await.unwrap();
        assert_eq!(content.concat(), b"id\n1\n");
    }

    #[tokio::test]
    async fn a_form_without_a_file_or_a_boundary_is_a_problem() {
        for (kind, form) in [
            ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n"),
            ("multipart/form-data; boundary=x", "garbage"),
            ("multipart/form-data", ""),
        ] {
            let request = Request::builder().header("content-type", kind).body(Body::from(form)).unwrap();
            assert!(File::of(request).await.is_err(), "{kind} {form}");
        }
    }

    #[tokio::test]
    async fn what_stands_before_the_file_is_bounded_and_the_file_is_not() {
        let part = |name: &str, content: &str| format!("--x\r\nContent-Disposition: form-data; {name}\r\n\r\n{content}\r\n");
        let (small, large) = ("n".repeat(MAX_BEFORE_FILE_BYTES / 2), "n".repeat(MAX_BEFORE_FILE_BYTES + 1));
        let file = part("name=\"file\"; filename=\"a.csv\"", &large) + "--x--\r\n";
        let wide = format!("name=\"file\"\r\nX-Note: {large}");
        for (form, is_fine) in [
            (part("name=\"note\"", &small) + &file, true),
            (part("name=\"note\"", &large) + &file, false),
            (format!("{large}\r\n{file}"), false),
            (part(&wide, "id") + &file, false),
        ] {
            let request = Request::builder().header("content-type", "multipart/form-data; boundary=x").body(Body::from(form));
            match File::of(request.unwrap()).await {
                Ok(file) => {
                    let content: Vec<_> = file.content.try_collect().await.unwrap();
                    assert!(is_fine && content.concat() == large.as_bytes());
                }
                Err(problem) => {
                    let told = problem.body(&lakehouse_types::RequestId::new("r").unwrap())["detail"].to_string();
                    assert!(!is_fine && told.contains("64 KiB"), "{told}");
                }
            }
        }
    }

    #[test]
    fn a_raw_body_may_be_named_by_its_disposition() {
        assert_eq!(file_name("attachment; filename=\"a b.csv\"").as_deref(), Some("a b.csv"));
        assert_eq!(file_name("attachment"), None);
    }
}
