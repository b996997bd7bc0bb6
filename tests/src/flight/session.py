"""A session of the ADBC Flight SQL driver. Arguments: the gRPC address, the HTTP address, an admin's key, a reader's key, a key to spend."""

import datetime
import json
import sys
import threading
import time
import urllib.request

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow
from adbc_driver_manager import Error
from adbc_driver_flightsql import DatabaseOptions

URI, HTTP, ADMIN, READER, SPARE = sys.argv[1:]
HEADER = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value


def connect(key, **headers):
    options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {key}"}
    options |= {HEADER + name.replace("_", "-"): value for name, value in headers.items()}
    return flightsql.connect(URI, db_kwargs=options)


def asked(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetch_arrow_table()


def refused(work, *words):
    try:
        work()
    except Error as error:
        text = str(error)
        for word in words:
            assert word in text, f"{word!r} is not in {text!r}"
        return text
    raise AssertionError(f"it was answered; expected {words}")


def over_http(method, path, key, body=None):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(HTTP + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


# Who comes in.
with flightsql.connect(URI, db_kwargs={"username": "anybody", "password": ADMIN}) as connection:
    assert asked(connection, "SELECT 1 AS one")["one"].to_pylist() == [1]
refused(lambda: flightsql.connect(URI, db_kwargs={"username": "anybody", "password": "lk_no_key"}), "unauthenticated")
refused(lambda: asked(connect("lk_no_key"), "SELECT 1"), "unauthenticated", "request ")
refused(lambda: asked(flightsql.connect(URI), "SELECT 1"), "unauthenticated")
refused(lambda: asked(connect(ADMIN, x_lakehouse_profile="nobody"), "SELECT 1"), "unknown_profile")
refused(lambda: asked(connect(ADMIN, x_lakehouse_profile="a b"), "SELECT 1"), "invalid_parameter")

admin, reader = connect(ADMIN), connect(READER)

# Rows: types are kept, and a large answer is whole.
row = asked(admin, "SELECT * FROM payroll ORDER BY id DESC").to_pylist()[0]
assert row["id"] == 9007199254740993 and row["name"] == "Ana" and row["pay"] == 1.5 and row["ok"] is True, row
assert row["tags"] == ["a", "b"], row
decimal = asked(admin, "SELECT CAST('12345678901234567890.12' AS DECIMAL(30, 2)) AS d, DATE '2026-01-31' AS day")
assert decimal.schema.field("d").type == pyarrow.decimal128(30, 2) and decimal["day"].to_pylist() == [datetime.date(2026, 1, 31)]
whole = asked(admin, "SELECT candidate_id, city, hourly_rate FROM candidates")
assert whole.num_rows == 20000 and len(set(whole["candidate_id"].to_pylist())) == 20000
assert whole.schema.field("city").type == pyarrow.string(), whole.schema
assert asked(admin, "SELECT city FROM candidates WHERE false").num_rows == 0
wide = asked(admin, "SELECT count(*) AS n FROM candidates a JOIN candidates b ON a.candidate_id = b.candidate_id")
assert wide["n"].to_pylist() == [20000]

# Statements are prepared, with typed parameters.
with admin.cursor() as cursor:
    schema = cursor.adbc_prepare("SELECT name FROM payroll WHERE id = $1 AND name = $2")
    assert schema is None or len(schema) == 2, schema
assert asked(admin, "SELECT name FROM payroll WHERE id = $1", [9007199254740993])["name"].to_pylist() == ["Ana"]
assert asked(admin, "SELECT name FROM payroll WHERE name = $1 AND pay > $2", ["Ana", 1.25])["name"].to_pylist() == ["Ana"]
assert asked(admin, "SELECT name FROM payroll WHERE name = $1", ["x' OR '1' = '1"]).num_rows == 0
assert asked(admin, "SELECT $1 AS day", [datetime.date(2026, 1, 31)])["day"].to_pylist() == [datetime.date(2026, 1, 31)]
refused(lambda: asked(admin, "SELECT name FROM payroll WHERE id = $1", [1, 2]), "parameters up to $1, 2 are given")
refused(lambda: asked(admin, "SELECT name FROM payroll WHERE id = $2", [1]), "parameters up to $2, 1 are given")

# A reader sees the view and not what is under it.
safe = asked(reader, "SELECT candidate_id, status FROM candidates_safe")
assert 0 < safe.num_rows < 20000 and all(id.startswith("CAN") and "*" in id for id in safe["candidate_id"].to_pylist())
assert "do_not_contact" not in safe["status"].to_pylist()
hidden = refused(lambda: asked(reader, "SELECT * FROM candidates"), "unknown_table").replace("candidates", "?")
nothing = refused(lambda: asked(reader, "SELECT * FROM candidatez"), "unknown_table").replace("candidatez", "?")
cut = lambda text: text.split("[", 1)[0]
assert cut(hidden).replace("?_safe", "") == cut(nothing).replace("candidates_safe", ""), (hidden, nothing)
refused(lambda: asked(reader, "SELECT * FROM __raw__candidates"), "unknown_table")
refused(lambda: asked(reader, "SELECT * FROM payroll"), "unknown_table")
refused(lambda: asked(reader, "EXPLAIN ANALYZE SELECT * FROM candidates_safe"), "statement_refused")


def objects(connection, **filters):
    catalogs = connection.adbc_get_objects(**filters).read_all().to_pylist()
    return {
        f"{catalog['catalog_name']}.{schema['db_schema_name']}.{table['table_name']}": table
        for catalog in catalogs
        for schema in catalog["catalog_db_schemas"] or []
        for table in schema["db_schema_tables"] or []
    }


seen = objects(reader, depth="all")
assert set(seen) == {"lakehouse.main.candidates_safe", "lakehouse.system.journal", "lakehouse.system.queries"}, set(seen)
view = seen["lakehouse.main.candidates_safe"]
assert view["table_type"] == "VIEW", view
assert [column["column_name"] for column in view["table_columns"]][:2] == ["candidate_id", "first_name"], view
everything = objects(admin, depth="tables")
assert {"lakehouse.main.candidates", "lakehouse.main.payroll"} <= set(everything), set(everything)
assert set(objects(admin, depth="tables", table_name_filter="pay%")) == {"lakehouse.main.payroll"}
assert set(objects(admin, depth="tables", db_schema_filter="system")) == {"lakehouse.system.journal", "lakehouse.system.queries"}
assert sorted(admin.adbc_get_table_types()) == ["SYSTEM TABLE", "TABLE", "VIEW"]
assert admin.adbc_get_table_schema("payroll").names[0] == "id"
refused(lambda: reader.adbc_get_table_schema("payroll"))
info = admin.adbc_get_info()
assert info["vendor_name"] == "lakehouse", info

# Nothing is written, and errors name what is wrong, not the value.
for statement in ["CREATE TABLE t (a INT)", "DELETE FROM payroll", "COPY payroll TO 'x'", "SET a = 1", "EXPLAIN DROP TABLE payroll"]:
    refused(lambda: asked(admin, statement), "statement_refused")
with admin.cursor() as cursor:
    refused(lambda: cursor.executemany("INSERT INTO payroll VALUES ($1)", [[1]]))
    refused(lambda: cursor.adbc_ingest("t", pyarrow.table({"a": [1]})), "statement_refused")
told = refused(lambda: asked(admin, "SELECT CAST(name AS INT) FROM payroll"), "query_failed")
assert "Ana" not in told, told
refused(lambda: asked(admin, "SELECT 1 / (id - id) FROM payroll"), "query_failed")
refused(lambda: asked(admin, "SELECT 1 +"), "invalid_sql")
refused(lambda: asked(admin, "SELECT nam FROM payroll"), "unknown_column")
refused(lambda: asked(admin, "SELECT 1 " + "-- " + "x" * 5_000_000))

# Who leaves takes the query along.
LONG = "SELECT count(*) AS n FROM candidates a, candidates b, candidates c WHERE a.city || b.city = c.city || 'x'"
with admin.cursor() as cursor:
    threading.Timer(0.5, cursor.adbc_cancel).start()
    refused(lambda: cursor.execute(LONG).fetchall())
until = time.monotonic() + 10
while [query for query in over_http("GET", "/query", ADMIN)["queries"] if query["state"] == "running"]:
    assert time.monotonic() < until, "the query runs on"
    time.sleep(0.05)

# A key that is revoked gets no rows more, in the middle of an answer.
spare = connect(SPARE)
cursor = spare.cursor()
cursor.execute("SELECT a.candidate_id, b.city, b.resume_text FROM candidates a, candidates b")
batches = cursor.fetch_record_batch()
batches.read_next_batch()
key_id = next(key["id"] for key in over_http("GET", "/admin/keys", ADMIN)["keys"] if key["name"] == "spare")
over_http("DELETE", f"/admin/keys/{key_id}", ADMIN)
revoked = time.monotonic()
try:
    while True:
        # Slower than the server, so that the answer is not over before it looks at the key again.
        time.sleep(0.1)
        batches.read_next_batch()
        assert time.monotonic() < revoked + 15, "rows still come"
except StopIteration:
    raise AssertionError("the answer ended as if it were whole")
except (Error, OSError) as error:
    assert "unauthenticated" in str(error).lower() or "revoked" in str(error), error
refused(lambda: asked(connect(SPARE), "SELECT 1"), "unauthenticated")
print("ok")
