"""What the fuzzer is told beside the document: components that are some, what to mend, and what every problem is made of."""

import atexit
import collections
import json
import os
import pathlib

import schemathesis
from lake import ADMIN_KEY, HIDDEN, Client, mend
from members import WHOLE, kind_of

COMPONENTS = pathlib.Path(os.environ["LAKEHOUSE_FUZZ_COMPONENTS"])
ADMIN, SELF = (Client(os.environ["LAKEHOUSE_FUZZ_URL"], key) for key in (ADMIN_KEY, os.environ["LAKEHOUSE_FUZZ_KEY"]))
NAMES = json.loads(pathlib.Path(os.environ["LAKEHOUSE_FUZZ_NAMES"]).read_text())
EXAMPLES = 3
TALLY = collections.Counter()
schemathesis.serializer.alias(
    ["application/wasm", "application/x-ndjson", "application/vnd.apache.parquet"], "application/octet-stream"
)
# What a change may have taken from the fixture.
KEPT = ("people", "spare", "loose", "desk", "default") + tuple(file.stem for file in COMPONENTS.glob("*.wasm"))
# The keys that ask. Revoked, they would make the rest of the run one 401.
OWN_KEYS = ("admin", *SELF.key.split("_")[1:2])


@schemathesis.hook
def before_load_schema(context, document):
    """What the document leaves open: only the statuses that it lists may come, and examples that are in the fixture."""
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("default", None)
            wanted = [(f"{told['in']}.{told['name']}", told["schema"]) for told in operation.get("parameters", [])]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                component = content["schema"].get("$ref", "").removeprefix("#/components/schemas/")
                members = schemas.get(component, {}).get("properties", {})
                wanted += [(f"body.{name}", schema) for name, schema in members.items()]
                wanted += [(f"body.{name}[*]", schema["items"]) for name, schema in members.items() if "items" in schema]
            for member, schema in wanted:
                if kind := kind_of(path, member):
                    schema.pop("example", None)
                    schema["examples"] = NAMES[kind][:EXAMPLES]


@schemathesis.hook
def before_call(context, case, kwargs):
    label, given = case.operation.label, case.path_parameters.get("id")
    if label == "DELETE /admin/keys/{id}" and given in OWN_KEYS:
        case.path_parameters["id"] = "nobody"
    elif label == "GET /query/{id}/rows" and given in NAMES["query"]:
        # An erasure ends pages.
        case.path_parameters["id"] = SELF.paged()


@schemathesis.hook
def before_add_examples(context, examples):
    """Requests that make sense; random bytes, for one, are never a component."""
    operation = context.operation
    examples += [operation.Case(**given) for label, given in WHOLE if label == operation.label]
    if operation.label == "PUT /plugins/{name}":
        component = (COMPONENTS / "redact-mask.wasm").read_bytes()
        examples.append(operation.Case(path_parameters={"name": "redact-mask"}, body=component, media_type="application/wasm"))


@atexit.register
def tell():
    """How often each operation was answered with which status: a fuzzer that only meets 401s finds nothing."""
    tally = [[*answer, count] for answer, count in sorted(TALLY.items())]
    pathlib.Path(os.environ["LAKEHOUSE_FUZZ_TALLY"]).write_text(json.dumps(tally))


@schemathesis.hook
def after_call(context, case, response):
    if case.method == case.operation.method.upper():
        TALLY[case.operation.label, response.status_code] += 1
    changes = case.method not in ("GET", "HEAD", "OPTIONS") and not case.path.startswith(
        ("/query/sql", "/truth", "/vectors/hybrid")
    )
    told = f"{case.path_parameters} {case.query} {case.body}"
    if changes and response.status_code < 300 and any(name in told for name in KEPT):
        mend(ADMIN, COMPONENTS)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """503 is documented for a busy server, 504 for who asks for less time than the work takes."""
    if type(failure).__name__ != "ServerError":
        return True
    code = response.json().get("code") if "json" in str(response.headers.get("content-type")) else None
    is_hurried = isinstance(case.body, dict) and "deadline_ms" in case.body
    return not (code == "busy" or code == "query_timeout" and is_hurried)


@schemathesis.check
def problems_are_whole(ctx, response, case):
    """Every failure is an RFC 9457 problem with the status of its answer and the id of its request."""
    if response.status_code < 400 or case.path in ("/health", "/ready"):
        return
    headers = response.headers
    assert headers["content-type"][0] == "application/problem+json", f"a {response.status_code} is {headers['content-type']}"
    problem = response.json()
    assert problem["status"] == response.status_code, f"status {problem['status']} in a {response.status_code}"
    assert problem["request_id"] == headers["x-request-id"][0], "another request's id"
    assert problem["detail"] and problem["action"], "nothing is told"


@schemathesis.check
def every_answer_names_its_request(ctx, response, case):
    assert response.headers.get("x-request-id"), "no X-Request-Id"


@schemathesis.check
def nothing_hidden_is_told(ctx, response, case):
    if SELF.key != ADMIN_KEY:
        assert HIDDEN.encode() not in response.content, "a reader is told what a view hides"
