"""A server in a folder of its own, and the few things in it that paths and bodies can name."""

import json
import os
import pathlib
import subprocess
import urllib.error
import urllib.request

ADMIN_KEY = "admin-key-of-the-fuzzer-0123456789"

CITIES = ("Oslo", "Lima", "Pune", "Cork")
# In every name, which readers see hashed, and in the notes of the rows that they do not see. No request says it.
HIDDEN = "Zanzibarbarossa"
PEOPLE = "id,name,city,note\n" + "".join(
    f"P-{n:03},{HIDDEN} {n},{CITIES[n % 4]},note {n} of {HIDDEN if CITIES[n % 4] == 'Cork' else CITIES[n % 3]}\n" for n in range(60)
)
VIEWS = (
    {
        "name": "people_safe",
        "base_dataset": "people",
        "columns": ["id", "name", "city", "note"],
        "row_filter": "city <> 'Cork'",
        "column_redactions": {"name": "hash", "note": {"plugin": {"rule": "pii"}}},
    },
    {"name": "spare_view", "base_dataset": "spare", "columns": ["id"]},
)
PII = {"name": "pii", "kind": "redactor", "component": "redact-pii", "config": {}}
PROFILES = (
    {"id": "default", "rules": [PII]},
    {"id": "desk", "bound_datasets": ["people", "people_safe"], "rules": [PII]},
)
INDEX = {"index_name": "people_text", "id_column": "id", "text_column": "note"}
TRUTH = '[[rule]]\nid = "r"\ntask_class = "fill"\ncondition = { field_empty = "client.id", negate = true }\nactions = ["allow"]\n'
READER = {
    "name": "reader",
    "role": "reader",
    "grants": [
        {"view": "people_safe", "verbs": ["read"]},
        {"dataset": "loose", "verbs": ["read"]},
        {"profile": "desk", "verbs": ["read"]},
    ],
    "profiles": ["default"],
}


class Client:
    """Asks with one key."""

    def __init__(self, url, key):
        self.url, self.key = url, key

    def ask(self, method, path, body=None, **headers):
        """The status, the headers and the JSON of an answer, whatever the status is."""
        headers = {"Authorization": f"Bearer {self.key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, (dict, list)):
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, told, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as problem:
            status, told, text = problem.code, problem.headers, problem.read()
        is_json = "json" in (told.get("Content-Type") or "")
        return status, told, json.loads(text) if text and is_json else None

    def do(self, method, path, body=None, **headers):
        """The JSON of an answer that must be one."""
        status, _, told = self.ask(method, path, body, **headers)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {told}")
        return told

    def paged(self):
        """The id of a query with more pages."""
        _, headers, _ = self.ask("POST", "/query/sql", {"sql": "SELECT id FROM people_safe", "page_rows": 5})
        return headers["X-Query-Id"]


def mend(admin, components):
    """Makes everything that the fixture has as it was; what is so already is put there again, which does no harm."""
    shipped = {file.stem: file for file in components.glob("*.wasm")}
    present = {plugin["name"]: plugin["state"] for plugin in admin.do("GET", "/plugins?limit=1000")["plugins"]}
    for name, file in shipped.items():
        if name not in present:
            admin.do("PUT", f"/plugins/{name}", file.read_bytes())
        elif present[name] != "active":
            admin.do("POST", f"/plugins/{name}/enable")
    admin.do("POST", "/catalog/profiles", PROFILES[0])
    admin.do("POST", "/ingest/file?dataset=people&format=csv&mode=replace", PEOPLE)
    admin.do("POST", "/ingest/file?dataset=spare&format=csv&mode=replace&key=id", "id,v\na,1\nb,2\nc,3\n")
    admin.do("POST", "/ingest/file?dataset=loose&format=csv&mode=replace", "id,v\na,1\n")
    for view in VIEWS:
        admin.do("POST", "/catalog/views", view)
    for profile in PROFILES:
        admin.do("POST", "/catalog/profiles", profile)
    status, _, _ = admin.ask("POST", "/vectors/refresh/people_safe", INDEX)
    if status >= 300:
        # It is of something else by now.
        admin.ask("DELETE", "/vectors/indexes/people_text")
        admin.do("POST", "/vectors/refresh/people_safe", INDEX)


class Lake:
    """A running server with the fixture in it."""

    def __init__(self, program, folder):
        self.folder = pathlib.Path(folder)
        program = pathlib.Path(program).resolve()
        truth = self.folder / "truth"
        truth.mkdir(parents=True)
        (truth / "fill.toml").write_text(TRUTH)
        incoming = self.folder / "data" / "data" / "incoming"
        incoming.mkdir(parents=True)
        (incoming / "one.csv").write_text("id,v\na,1\n")
        (self.folder / "lakehouse.toml").write_text('[ingest]\nimport = ["primary/incoming/"]\n')
        self.log = open(self.folder / "server.log", "wb")
        self.process = subprocess.Popen(
            [
                program,
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--data",
                self.folder / "data",
                "--config",
                self.folder,
                "--until-stdin-closes",
            ],
            env=os.environ | {"LAKEHOUSE_ADMIN_KEY": ADMIN_KEY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        listens = "lakehouse listens on "
        self.url = next((line.removeprefix(listens).strip() for line in self.process.stdout if line.startswith(listens)), None)
        if self.url is None:
            raise RuntimeError(f"the server does not start: {(self.folder / 'server.log').read_text()}")
        self.admin = Client(self.url, ADMIN_KEY)
        self.components = program.parent.parent / "distribution"

    def furnish(self):
        """Fills the lake. Answers the names and ids that resolve in it, by kind, and the reader's key."""
        admin = self.admin
        mend(admin, self.components)
        bury = {"row_key_column": "id", "row_key_values": ["a"], "reason": "asked"}
        admin.do("POST", "/catalog/datasets/by-name/spare/tombstone", bury)
        erase = {"dataset": "spare", "row_key_column": "id", "row_key_values": ["b"]}
        certificate = admin.do("POST", "/erasure", erase)["id"]
        job = admin.do("POST", "/query/compact", {"dataset": "spare"}, Prefer="respond-async")["job"]["id"]
        spare_key = admin.do("POST", "/admin/keys", {"name": "spare", "role": "reader"})["id"]
        made = admin.do("POST", "/admin/keys", READER)
        names = {
            "relation": ["people_safe", "loose", "people", "spare"],
            "dataset": ["people", "spare"],
            "view": ["people_safe", "spare_view"],
            "profile": ["default", "desk"],
            "index": ["people_text"],
            "plugin": [
                "redact-pii",
                "model-openai",
                "chunk-text",
                "redact-mask",
                "condition-required-fields",
                "id-prefix",
                "embed-hash",
            ],
            "column": ["id", "name", "city", "note", "v"],
            "bucket": ["primary"],
            "task": ["fill"],
            "code": ["unknown-table", "busy"],
            "job": [job],
            "certificate": [certificate],
            "key": [spare_key],
            "query": [Client(self.url, key).paged() for key in (ADMIN_KEY, made["key"])],
            "key_name": [f"key-{n}" for n in range(50)],
            "role": ["reader", "writer", "operator", "admin"],
            "kind": ["redactor", "condition", "chunker", "id-mapper", "embedder", "model-adapter"],
            "mode": ["append", "replace", "upsert"],
            "format": ["csv", "tsv", "json", "ndjson", "parquet", "arrow"],
            "event": ["ingest", "tombstone", "denied", "key_create"],
            "sql": [
                "SELECT * FROM people_safe",
                "SELECT city, count(*) AS n FROM people_safe GROUP BY city ORDER BY n DESC",
                "SELECT * FROM people",
                "SELECT * FROM people WHERE id = $1",
                "SELECT * FROM people_safe WHERE id = 'nobody'",
                "SELECT seq, kind, details FROM system.journal",
                "SELECT * FROM system.queries",
                "EXPLAIN SELECT id FROM people_safe WHERE name LIKE 'a%'",
                "SHOW TABLES",
                "DESCRIBE people_safe",
                "SELECT CAST(note AS INT) AS n FROM people_safe",
                "SELECT now() AS t, [1, 2] AS l, {'a': 1} AS s, CAST(1.5 AS DECIMAL(5, 2)) AS d, TRUE AS b, NULL AS x",
            ],
            "filter": ["city = 'Oslo'", "id IN ('P-001', 'P-002') AND note LIKE 'note%'", "missing = 1", "city ="],
            "words": ["note of Oslo"],
            "shape": ["object", "objects", "array", "arrays"],
            "integers": ["number", "text"],
            "on_error": ["fail", "skip"],
            "small": [1, 10, 1000],
            "patience": [60000, 1000, 1],
            "file": ["incoming/one.csv", "incoming/*.csv", "data/*"],
            "once": ["once", "twice"],
            "prefer": ["return=minimal", "respond-async"],
        }
        return names, made["key"]

    def is_alive(self):
        return self.process.poll() is None

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
