#!/usr/bin/env python3
"""T-62: every route of a live server's own /openapi.json is asked with whatever fits its document and what does not, once with an
admin's key and once with a reader's. No 5xx but a documented `busy`, no hang, no answer that the document does not describe, nothing
to the reader or into the log of what a view hides.

    fuzz.py PROGRAM          the server, `lakehouse` or what stands in for it

MAX_EXAMPLES cases an operation beside those that cover its document; SEED makes them others. The same of both are the same requests.
"""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from lake import ADMIN_KEY, HIDDEN, Lake
from members import MEMBERS, PATHS

HERE = pathlib.Path(__file__).resolve().parent
OFTEN = 0.7
# An answer that has not begun by then is a hang: the server's own deadlines are shorter, but for long work.
PATIENCE_SECONDS = 90
# The part of all operations that must succeed at least once, lest nothing be tested.
SERVED = {"admin": 0.9, "reader": 0.3}


def settings(names, key, examples, seed):
    """The fuzzer's configuration, as TOML."""
    text = json.dumps
    lines = [
        f"seed = {seed}",
        f"hooks = {text(str(HERE / 'hooks.py'))}",
        f"request-timeout = {PATIENCE_SECONDS}",
        "continue-on-failure = true",
        "suppress-health-check = ['all']",
        "headers = { Authorization = " + text(f"Bearer {key}") + " }",
        "warnings = false",
        "[generation]",
        f"max-examples = {examples}",
        "database = 'none'",
        # The key is asked for in every case; `ignored_auth` asks without it.
        "with-security-parameters = false",
        "[phases]",
        "stateful.enabled = false",
        # Ids of answers differ from run to run.
        "examples.extra-data-sources.responses = false",
        "coverage.extra-data-sources.responses = false",
        "fuzzing.extra-data-sources.responses = false",
        "[checks]",
        "enabled = false",
    ]
    lines += [
        f"{name}.enabled = true"
        for name in (
            "not_a_server_error",
            "status_code_conformance",
            "content_type_conformance",
            "response_headers_conformance",
            "response_schema_conformance",
            "ignored_auth",
            "problems_are_whole",
            "every_answer_names_its_request",
            "nothing_hidden_is_told",
        )
    ]
    lines += ["[dictionaries]"] + [f"{text(kind)} = {{ values = {text(values)} }}" for kind, values in names.items()]
    bound = (
        lambda members: "{ "
        + ", ".join(f"{text(m)} = {{ dictionary = {text(kind)}, probability = {OFTEN} }}" for m, kind in members.items())
        + " }"
    )
    lines += ["[parameters]"] + [
        f"{text(m)} = {{ dictionary = {text(kind)}, probability = {OFTEN} }}" for m, kind in MEMBERS.items()
    ]
    for path, members in PATHS.items():
        lines += ["[[operations]]", f"include-path-regex = {text('^' + path + '(/|$)')}", f"parameters = {bound(members)}"]
    return "\n".join(lines) + "\n"


def weigh(tally, who):
    """Prints what was answered. Whether the fuzzer came past the doors: one that meets only refusals finds nothing."""
    operations = collections.defaultdict(dict)
    for operation, status, count in tally:
        operations[operation][status] = count
    for operation, counts in operations.items():
        print(f"fuzz: {operation}: {', '.join(f'{count} x {status}' for status, count in counts.items())}")
    served = sum(any(status < 300 for status in counts) for counts in operations.values())
    print(f"fuzz: {served} of {len(operations)} operations were served to the {who}")
    return served >= SERVED[who] * len(operations)


def run(program, who, examples, seed):
    """Fuzzes a fresh server with one key; whether nothing was found."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-fuzz-") as folder:
        lake = Lake(program, folder)
        try:
            names, reader = lake.furnish()
            key = ADMIN_KEY if who == "admin" else reader
            config, known, tally = (pathlib.Path(folder) / name for name in ("schemathesis.toml", "names.json", "tally.json"))
            known.write_text(json.dumps(names))
            config.write_text(settings(names, key, examples, seed))
            fuzzer = pathlib.Path(sys.executable).parent / "schemathesis"
            env = os.environ | {
                "PYTHONPATH": str(HERE),
                "PYTHONDONTWRITEBYTECODE": "1",
                "LAKEHOUSE_FUZZ_URL": lake.url,
                "LAKEHOUSE_FUZZ_COMPONENTS": str(lake.components),
                "LAKEHOUSE_FUZZ_KEY": key,
                "LAKEHOUSE_FUZZ_NAMES": str(known),
                "LAKEHOUSE_FUZZ_TALLY": str(tally),
            }
            command = [fuzzer, "--config-file", config, "run", f"{lake.url}/openapi.json", "--no-color", "--workers", "1"]
            began = time.monotonic()
            found = subprocess.run(command, cwd=folder, env=env, check=False).returncode
            if not lake.is_alive():
                print(f"fuzz: the server ended with {lake.process.returncode}")
                found = found or 1
            log = (pathlib.Path(folder) / "server.log").read_text(errors="replace").splitlines()
            told = [line for line in log if "panicked at" in line or HIDDEN in line]
            for line in told[:20]:
                print(f"fuzz: the log: {line}")
            is_met = tally.exists() and weigh(json.loads(tally.read_text()), who)
            print(f"fuzz: as {who}, {examples} examples, seed {seed}: {time.monotonic() - began:.0f} s")
            return found == 0 and not told and is_met
        finally:
            lake.stop()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    examples, seed = int(os.environ.get("MAX_EXAMPLES", "200")), int(os.environ.get("SEED", "62"))
    outcomes = [run(sys.argv[1], who, examples, seed) for who in ("admin", "reader")]
    passed = sum(outcomes)
    # As cargo says it, so that sums can be made of both.
    print(f"test result: {'ok' if all(outcomes) else 'FAILED'}. {passed} passed; {len(outcomes) - passed} failed; 0 ignored")
    sys.exit(not all(outcomes))


if __name__ == "__main__":
    main()
