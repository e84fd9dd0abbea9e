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

.PHONY: up test lint types check bench lock clean help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

up: $(VENV)/.ready ## Start Watcher: database, broker, api, worker, beat
	@exec $(BIN)/watcher up

test: $(VENV)/.ready-dev .venv-sdk/.ready ## Run every test on real engines
	@$(BIN)/python -m pytest -n 2

lint: $(VENV)/.ready-dev ## Lint and check the format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.ready-dev ## Check the types
	@$(BIN)/mypy

check: lint types test ## What CI runs

bench: $(VENV)/.ready ## Measure this machine
	@$(BIN)/python -m bench

lock: ## Write the lock files anew (needs uv)
	@requirements/compile.sh

clean: ## Remove the environments (never the data)
	rm -rf .venv .venv-sdk

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Watcher needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.ready: $(BIN)/python requirements/watcher.lock requirements/demo.lock pyproject.toml
	@echo "Installing Watcher into $(VENV) (once) ..."
	@$(BIN)/python $(PIP_INSTALL) -r requirements/watcher.lock
	@$(BIN)/python $(DEMO_INSTALL)
	@$(BIN)/python $(SELF_INSTALL)
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements/dev.lock
	@echo "Installing the test tools ..."
	@$(BIN)/python $(PIP_INSTALL) -r requirements/dev.lock
	@touch $@

# The published SDK lives apart: it brings its own versions of what the server pins, and declares a newer
# Python than it needs.
.venv-sdk/.ready: requirements/sdk.lock
	@echo "Installing the published SDK into .venv-sdk ..."
	@$(PYTHON) -m venv .venv-sdk
	@.venv-sdk/bin/python $(PIP_INSTALL) --ignore-requires-python -r requirements/sdk.lock
	@touch $@
