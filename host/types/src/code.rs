//! Problem codes: the one list, served under `/problems/{code}` and in OpenAPI.

use serde::{Deserialize, Serialize};

/// What the caller of a failed request can do. The gateway maps kinds to HTTP statuses in one exhaustive match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Fix the request: 400.
    InvalidRequest,
    /// Send a valid key: 401.
    Unauthenticated,
    /// Ask for permission: 403.
    Forbidden,
    /// Name something that exists: 404.
    NotFound,
    /// The state of things forbids it now: 409.
    Conflict,
    /// Send less: 413.
    TooLarge,
    /// Well formed, refused after a look inside: 422.
    Unprocessable,
    /// Slow down: 429.
    TooMany,
    /// A bound rule or model failed; the request may be repeated once the rule is mended: 502.
    PluginFault,
    /// Wait and retry: 503.
    Unavailable,
    /// A deadline passed: 504.
    Timeout,
    /// Report it: 500.
    Bug,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $kind:ident, $title:literal, $action:literal;)*) => {
        /// A stable problem code. New ones are added, old ones never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as it stands in `code`, snake_case.
            pub const fn as_str(self) -> &'static str { match self { $(Code::$name => $text,)* } }

            /// What the caller can do, as a class.
            pub const fn kind(self) -> ErrorKind { match self { $(Code::$name => ErrorKind::$kind,)* } }

            /// A short title.
            pub const fn title(self) -> &'static str { match self { $(Code::$name => $title,)* } }

            /// What to do about it, in a sentence.
            pub const fn advice(self) -> &'static str { match self { $(Code::$name => $action,)* } }
        }
    };
}

codes! {
    InvalidBody = "invalid_body", InvalidRequest, "Invalid body", "Compare the body with the schema in /openapi.json.";
    InvalidParameter = "invalid_parameter", InvalidRequest, "Invalid parameter", "Correct the named query parameter or header.";
    MalformedRequest = "malformed_request", InvalidRequest, "Malformed request", "Send a request line and headers as HTTP/1.1 writes them.";
    InvalidName = "invalid_name", InvalidRequest, "Invalid name", "Use a lower-case letter followed by up to 62 of a-z, 0-9, _ and -.";
    InvalidSql = "invalid_sql", InvalidRequest, "Invalid SQL", "Correct the statement at the place that the detail names.";
    StatementRefused = "statement_refused", InvalidRequest, "Statement refused", "Only SELECT, EXPLAIN, SHOW and DESCRIBE are answered here; write through /ingest.";
    UnknownTable = "unknown_table", InvalidRequest, "Unknown table", "Use a name from GET /catalog/datasets or GET /catalog/views that your key may read.";
    UnknownColumn = "unknown_column", InvalidRequest, "Unknown column", "Use a column of the relation's schema.";
    DuplicateColumn = "duplicate_column", InvalidRequest, "Duplicate column name", "Give each output column its own name with AS, or ask for rows=array.";
    QueryFailed = "query_failed", InvalidRequest, "Query failed", "The query met a value or size that it cannot handle; change the expression.";
    InvalidData = "invalid_data", InvalidRequest, "Invalid data", "Correct the input at the line and column that the detail names, or ask for on_error=skip.";
    SchemaConflict = "schema_conflict", InvalidRequest, "Schema conflict", "Make the column's type agree with the dataset, or use mode=replace.";
    SourceRefused = "source_refused", InvalidRequest, "The source refused it", "Correct the table or query as the detail says; `sqlstate` is the database's own code.";
    UnsupportedFormat = "unsupported_format", InvalidRequest, "Unsupported format", "Name one of the formats that the detail lists.";
    Unauthenticated = "unauthenticated", Unauthenticated, "No valid key", "Send Authorization: Bearer <key> with a key that is neither revoked nor expired.";
    Forbidden = "forbidden", Forbidden, "Not permitted", "Ask an admin for a key with the role or grant that the detail names.";
    NotBound = "not_bound", Forbidden, "Profile not bound", "Use one of allowed_bindings, or another profile.";
    ProfileNotAllowed = "profile_not_allowed", Forbidden, "Profile not allowed", "Use a profile that the key lists.";
    UnknownBucket = "unknown_bucket", NotFound, "Unknown bucket", "Use one of valid_buckets.";
    UnknownSource = "unknown_source", NotFound, "Unknown source", "Use one of valid_sources; operators declare them under [sources] in the server's config.";
    UnknownDataset = "unknown_dataset", NotFound, "Unknown dataset", "Use a name from GET /catalog/datasets.";
    UnknownView = "unknown_view", NotFound, "Unknown view", "Use a name from GET /catalog/views.";
    UnknownProfile = "unknown_profile", NotFound, "Unknown profile", "Use an id from GET /catalog/profiles.";
    UnknownIndex = "unknown_index", NotFound, "Unknown index", "Use a name from GET /vectors/indexes.";
    UnknownPlugin = "unknown_plugin", NotFound, "Unknown plugin", "Use a name from GET /plugins.";
    UnknownVersion = "unknown_version", NotFound, "Unknown version", "Use a version from GET /plugins/{name}.";
    UnknownKey = "unknown_key", NotFound, "Unknown key", "Use an id from GET /admin/keys.";
    UnknownGrant = "unknown_grant", NotFound, "Unknown grant", "Use an id from GET /admin/grants.";
    UnknownJob = "unknown_job", NotFound, "Unknown job", "Use an id from GET /jobs; reports are kept for a day.";
    UnknownQuery = "unknown_query", NotFound, "Unknown query", "Use an id from GET /query or system.queries; the last ones are remembered until the server stops.";
    UnknownCertificate = "unknown_certificate", NotFound, "Unknown certificate", "Use an id from GET /erasure.";
    UnknownRoute = "unknown_route", NotFound, "Unknown route", "See /openapi.json for the routes.";
    MethodNotAllowed = "method_not_allowed", InvalidRequest, "Method not allowed", "See /openapi.json for the route's methods.";
    AlreadyExists = "already_exists", Conflict, "Name taken", "Choose another name, or delete the present holder.";
    InUse = "in_use", Conflict, "In use", "Remove what used_by lists first.";
    OwnedByFile = "owned_by_file", Conflict, "Owned by a file", "Change it in the file that the detail names; a saved change applies within seconds.";
    BucketMismatch = "bucket_mismatch", Conflict, "Another bucket holds it", "Leave the bucket header out, or name the dataset's bucket.";
    IndexMismatch = "index_mismatch", Conflict, "The index was made another way", "Name what the detail says the index was made with, or drop the index and make it anew.";
    IndexOutdated = "index_outdated", Conflict, "Index outdated", "Refresh the index; until then it would show what the rules no longer do.";
    KeyColumnMismatch = "key_column_mismatch", Conflict, "Another key column", "A dataset has one row key column; use the one that the detail names.";
    Cancelled = "cancelled", Conflict, "Cancelled", "Nothing was changed; start it anew when it is wanted.";
    Interrupted = "interrupted", Unavailable, "Interrupted", "The server stopped while it ran; look at the state of things and start it anew.";
    WriteConflict = "write_conflict", Conflict, "Concurrent write", "Repeat the request.";
    VersionMismatch = "version_mismatch", Conflict, "Changed meanwhile", "Read it again, and send the version that you have read.";
    IdempotencyMismatch = "idempotency_mismatch", Conflict, "Idempotency key reused", "Use a new Idempotency-Key for a different request.";
    BodyTooLarge = "body_too_large", TooLarge, "Body too large", "Send less, or raise the limit that the detail names in the server's config.";
    UriTooLong = "uri_too_long", TooLarge, "URI too long", "Send a shorter path and query.";
    HeadTooLarge = "head_too_large", TooLarge, "Head too large", "Send fewer or shorter headers.";
    ResultTooLarge = "result_too_large", TooLarge, "Result too large", "Ask for fewer rows or columns.";
    PluginRefused = "plugin_refused", Unprocessable, "Component refused", "Mend the component as checks[] says; the old version is still in force.";
    InvalidRuleConfig = "invalid_rule_config", Unprocessable, "Rule configuration rejected", "Correct the rule's config as the component's message says.";
    UnresolvedRule = "unresolved_rule", Unprocessable, "Unresolved rule", "Bind the named rule in the profile, or change the view.";
    InvalidDefinition = "invalid_definition", Unprocessable, "Invalid definition", "Correct the definition where the detail points.";
    TooManyRequests = "too_many_requests", TooMany, "Too many requests", "Wait as long as Retry-After says.";
    PluginFailed = "plugin_failed", PluginFault, "A rule failed", "No data was released. Tell the operator which plugin the detail names.";
    PluginTimeout = "plugin_timeout", Timeout, "A rule ran past its deadline", "No data was released. Tell the operator which plugin the detail names.";
    QueryTimeout = "query_timeout", Timeout, "Query deadline passed", "Narrow the query, or raise the deadline within the server's limit.";
    SourceTimeout = "source_timeout", Timeout, "The source took too long", "Nothing was written. Ask for less, or have the operator raise statement_timeout_ms of the source.";
    MemoryExceeded = "memory_exceeded", Unavailable, "Memory limit reached", "Narrow the query, or retry when fewer run.";
    Busy = "busy", Unavailable, "Busy", "Retry after a moment.";
    StorageUnavailable = "storage_unavailable", Unavailable, "Storage unavailable", "Retry; if it lasts, the operator finds the cause in the log under the request id.";
    SourceUnavailable = "source_unavailable", Unavailable, "Source unavailable", "Nothing was written. Retry; if it lasts, the operator finds the cause in the log under the request id.";
    BucketMissing = "bucket_missing", Unavailable, "Bucket not declared", "Ask the operator to put the bucket that the detail names back into the server's settings.";
    ReadOnly = "read_only", Unavailable, "Read only", "Another host writes to this storage; send writes there.";
    OutcomeUnknown = "outcome_unknown", Unavailable, "Outcome unknown", "Look at what became of it before you repeat it; an ingest is repeated safely with the same Idempotency-Key.";
    ShuttingDown = "shutting_down", Unavailable, "Shutting down", "Retry against another host, or in a moment.";
    IndexDamaged = "index_damaged", Unavailable, "Index damaged", "Tell the operator: a refresh of the index rebuilds what is damaged.";
    Corrupt = "corrupt", Bug, "Stored data is damaged", "Tell the operator: the log names the object under the request id.";
    Internal = "internal", Bug, "Internal error", "Report it with the request id.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Code;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let mut seen = HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(code.advice().ends_with('.'));
        }
    }
}
