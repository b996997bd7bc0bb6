"""What stands for a parameter or a member of a body: the kind of name, of those that `Lake.furnish` answers; and whole requests."""

MEMBERS = {
    "path.name": "relation",
    "path.dataset": "relation",
    "query.dataset": "dataset",
    "query.key": "column",
    "query.mode": "mode",
    "query.format": "format",
    "query.kind": "event",
    "query.rows": "shape",
    "query.integers": "integers",
    "query.on_error": "on_error",
    "query.limit": "small",
    "query.task_class": "task",
    "header.X-Lakehouse-Profile": "profile",
    "header.X-Lakehouse-Bucket": "bucket",
    "header.Idempotency-Key": "once",
    "header.Prefer": "prefer",
    "body.dataset": "dataset",
    "body.base_dataset": "dataset",
    "body.row_key_column": "column",
    "body.index": "index",
    "body.index_name": "index",
    "body.id_column": "column",
    "body.text_column": "column",
    "body.vector_column": "column",
    "body.columns[*]": "column",
    "body.task_class": "task",
    "body.sql": "sql",
    "body.filter": "filter",
    "body.query": "words",
    "body.kind": "kind",
    "body.mode": "mode",
    "body.key": "column",
    "body.role": "role",
    "body.profile": "profile",
    "body.deadline_ms": "patience",
    "body.max_rows": "small",
    "body.page_rows": "small",
    "body.k": "small",
    "body.on_error": "on_error",
    "body.component": "plugin",
    "body.bucket": "bucket",
    "body.path": "file",
}
# By the beginning of the path, where the same word names something else.
PATHS = {
    "/admin/keys": {"path.id": "key", "body.name": "key_name"},
    "/catalog/profiles": {"path.id": "profile", "body.id": "profile"},
    "/catalog/views": {"path.name": "view", "body.name": "view"},
    "/erasure": {"path.id": "certificate"},
    "/jobs": {"path.id": "job"},
    "/plugins": {"path.name": "plugin"},
    "/problems": {"path.code": "code"},
    "/query": {"path.id": "query"},
    "/vectors/indexes": {"path.name": "index"},
    "/vectors/profile": {"path.id": "profile"},
}


def kind_of(path, member):
    """The kind of name that stands for `member`, such as `path.name`, of an operation at `path`."""
    for beginning, members in PATHS.items():
        if (path + "/").startswith(beginning + "/") and member in members:
            return members[member]
    return MEMBERS.get(member)


def asks(label, body=None, path=None, query=None, headers=None, media_type="application/json"):
    """A whole request, as the fuzzer's cases take it."""
    given = {"path_parameters": path, "query": query, "headers": headers}
    given |= {} if body is None else {"body": body, "media_type": media_type}
    return label, {name: value for name, value in given.items() if value is not None}


# What succeeds as an admin, where random members seldom fit each other.
WHOLE = [
    asks("POST /ingest/file", b"id,v\n1,2\n", query={"dataset": "loaded"}, media_type="text/csv"),
    asks("POST /ingest/file", b"", query={"dataset": "empty"}, media_type="application/x-ndjson"),
    asks(
        "POST /ingest/file",
        b"id,v\n1,2\n1\n",
        query={"dataset": "loaded", "key": "id", "mode": "upsert", "on_error": "skip"},
        media_type="text/csv",
    ),
    asks("POST /ingest/bucket", {"dataset": "fetched", "bucket": "primary", "path": "incoming/*.csv"}),
    asks("POST /query/sql", {"sql": "SELECT * FROM people_safe", "max_rows": 3}),
    asks("POST /query/sql", {"sql": "SELECT * FROM people_safe", "page_rows": 3}),
    asks("POST /query/sql", {"sql": "SELECT id FROM people_safe WHERE id = $1", "params": ["nobody"]}),
    asks("POST /query/sql", {"sql": "SELECT 1 AS a, 2 AS a"}, query={"rows": "arrays"}),
    asks("POST /query/sql", {"sql": "SELECT CAST(note AS INT) AS n FROM people_safe"}),
    asks("POST /query/sql", {"sql": "SELECT 9007199254740993 AS n, CAST('NaN' AS DOUBLE) AS d"}, query={"integers": "text"}),
    asks("POST /query/compact", {"dataset": "people"}, headers={"Prefer": "respond-async"}),
    asks("POST /vectors/hybrid", {"index": "people_text", "query": "note of Oslo", "k": 5, "filter": "city = 'Oslo'"}),
    asks("POST /vectors/hybrid", {"index": "people_text", "query": "note of Oslo", "filter": "city = 'nowhere'"}),
    asks("POST /vectors/profile/{id}/search", {"index": "people_text", "query": "note"}, path={"id": "desk"}),
    asks("POST /vectors/profile/{id}/search", {"index": "people_text", "vector": [1.0, 0.0]}, path={"id": "desk"}),
    asks(
        "POST /vectors/refresh/{dataset}",
        {"index_name": "other", "id_column": "id", "text_column": "city"},
        path={"dataset": "people"},
    ),
    asks("POST /erasure", {"dataset": "spare", "row_key_column": "id", "row_key_values": ["c"]}),
    asks(
        "POST /catalog/views",
        {
            "name": "seen",
            "base_dataset": "people",
            "columns": ["id"],
            "column_redactions": {"id": {"mask": {"keep_prefix": 1, "keep_suffix": 1}}},
        },
    ),
    asks("POST /truth/evaluate", {"task_class": "fill", "context": {"client": {"id": "c"}}}),
    asks(
        "POST /plugins/{name}/dry-run",
        {"kind": "redactor", "input": {"values": ["a@b.example", None, 7]}, "config": {}},
        path={"name": "redact-pii"},
    ),
    asks(
        "POST /plugins/{name}/dry-run",
        {"kind": "chunker", "input": {"documents": ["one two", None, ""], "doc_ids": ["a", "b", "c"]}},
        path={"name": "chunk-text"},
    ),
    asks("POST /plugins/{name}/dry-run", {"kind": "embedder", "input": {"texts": ["one", ""]}}, path={"name": "embed-hash"}),
    asks("POST /plugins/{name}/dry-run", {"kind": "id-mapper", "input": {"keys": ["a", None]}}, path={"name": "id-prefix"}),
    asks(
        "POST /plugins/{name}/dry-run",
        {"kind": "condition", "input": {"contexts": [{"a": 1}]}, "config": {"fields": ["a"]}},
        path={"name": "condition-required-fields"},
    ),
]
