# The lakehouse, from a fresh machine: `make demo` shows it, `make test` checks it. `make help` lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(CURDIR)/target
# One profile builds everything that runs, so that the first command pays for the second.
CARGO := cargo
BUILD := $(CARGO_TARGET_DIR)/release
COMPONENTS := $(CARGO_TARGET_DIR)/components
DISTRIBUTION := $(CARGO_TARGET_DIR)/distribution
# What benches compare with, from PyPI.
PEERS := $(CARGO_TARGET_DIR)/peers
# The wheel of the release that we build on.
PEER_DATAFUSION := 55.0.0
COMPONENT_CRATES := $(notdir $(patsubst %/,%,$(wildcard plugins/*/)))
# What a server installs at its first start; the others serve demos and trials.
SHIPPED := $(filter-out evil redact-mask-v2,$(COMPONENT_CRATES))

help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## install what is missing to build (compilers, the wasm target); says what it does
	@bash .ci/setup

components: setup ## build the WebAssembly components into $(COMPONENTS)
	@$(CARGO) build --locked --quiet --profile component --target wasm32-wasip2 $(COMPONENT_CRATES:%=-p %)
	@mkdir -p $(COMPONENTS)
	@for crate in $(COMPONENT_CRATES); do \
	  built=$(CARGO_TARGET_DIR)/wasm32-wasip2/component/$${crate//-/_}.wasm; \
	  cmp -s $$built $(COMPONENTS)/$$crate.wasm || install -m 644 $$built $(COMPONENTS)/$$crate.wasm; \
	done
	@mkdir -p $(DISTRIBUTION)
	@for crate in $(SHIPPED); do \
	  cmp -s $(COMPONENTS)/$$crate.wasm $(DISTRIBUTION)/$$crate.wasm || install -m 644 $(COMPONENTS)/$$crate.wasm $(DISTRIBUTION)/$$crate.wasm; \
	done

build: components ## build the `lakehouse` binary
	$(CARGO) build --locked --release -p lakehouse-cli

demo: build ## tell the whole story over HTTP on generated data, each step timed and checked
	@$(BUILD)/lakehouse demo

serve: build ## run a server on ./data with the shipped configuration
	@$(BUILD)/lakehouse serve --config config --data data

test: components ## run every test
	@bash .ci/test

torture: components ## the trials that could go on for ever, for long: kills, power loss, faults by seed, damaged files; prints counts
	@bash .ci/setup tests
	@LAKEHOUSE_TORTURE=1 $(CARGO) test --locked --release --workspace --test trials -- --test-threads=2 crash:: power:: faults:: damage:: beside::

fuzz-api: build ## ask every route for whatever fits its document and what does not, for long (MAX_EXAMPLES=200, SEED)
	@bash .ci/setup tests
	@$(CARGO_TARGET_DIR)/fuzzer/bin/python tests/fuzz/fuzz.py $(BUILD)/lakehouse

lint: setup ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --quiet --workspace --all-targets -- -D warnings

bench-core: build ## measure the core promises; prints BAR lines, fails on a MISS
	$(CARGO) build --locked --release -p lakehouse-bench
	@$(BUILD)/bench-core

bench-search: build ## measure what search promises, beside bare FAISS
	$(CARGO) build --locked --release -p lakehouse-bench
	@$(BUILD)/bench-search

bench-storage: build ## measure what storage promises, beside bare fsync and DuckDB (fetched from PyPI)
	$(CARGO) build --locked --release -p lakehouse-bench
	@[[ -x $(PEERS)/bin/python ]] || python3 -m venv $(PEERS)
	@$(PEERS)/bin/python -c 'import duckdb' 2>/dev/null || $(PEERS)/bin/pip install --quiet duckdb
	@LAKEHOUSE_BENCH_PYTHON=$(PEERS)/bin/python $(BUILD)/bench-storage

bench-query: build ## measure what queries promise, beside DataFusion and DuckDB (fetched from PyPI) and bare axum
	$(CARGO) build --locked --release -p lakehouse-bench
	@[[ -x $(PEERS)/bin/python ]] || python3 -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check datafusion==$(PEER_DATAFUSION) 'duckdb>=2' pyarrow tpchgen-cli
	@LAKEHOUSE_BENCH_PYTHON=$(PEERS)/bin/python $(BUILD)/bench-query

doc: setup ## the API documentation of our crates
	$(CARGO) doc --locked --no-deps --workspace

.PHONY: help setup components build demo serve test torture fuzz-api lint bench-core bench-search bench-storage bench-query doc
