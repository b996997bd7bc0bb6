"""A query engine beside ours: one JSON line a request, one a reply. Started as `peer.py datafusion|duckdb THREADS`."""

import json
import pathlib
import sys
import time

import pyarrow


class DataFusion:
    def __init__(self, threads):
        import datafusion

        self.version = datafusion.__version__
        self.context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(threads))

    def table(self, name, folder):
        self.context.register_parquet(name, folder)

    def ask(self, sql):
        frame = self.context.sql(sql)
        batches = frame.collect()
        # The schema of the plan may call a text what the batches have as a view of text.
        return batches[0].schema if batches else frame.schema(), batches


class DuckDB:
    def __init__(self, threads):
        import duckdb

        self.version = duckdb.__version__
        self.context = duckdb.connect()
        self.context.execute(f"SET threads = {threads}")
        self.context.execute("SET enable_progress_bar = false")

    def table(self, name, folder):
        files = sorted(str(file) for file in pathlib.Path(folder).iterdir())
        self.context.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({files})")

    def ask(self, sql):
        table = self.context.sql(sql).to_arrow_table()
        return table.schema, table.to_batches()


def serve(lakes, request):
    if "tables" in request:
        make = {"datafusion": DataFusion, "duckdb": DuckDB}[sys.argv[1]]
        engine = lakes[request["on"]] = make(int(sys.argv[2]))
        for name, folder in request["tables"].items():
            engine.table(name, folder)
        return {"version": engine.version}
    begun = time.perf_counter()
    schema, batches = lakes[request["on"]].ask(request["sql"])
    seconds = time.perf_counter() - begun
    if "save" in request:
        with pyarrow.ipc.new_stream(request["save"], schema) as stream:
            for batch in batches:
                stream.write_batch(batch)
    return {"seconds": seconds}


def main():
    lakes = {}
    for line in sys.stdin:
        try:
            reply = serve(lakes, json.loads(line))
        except Exception as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


main()
