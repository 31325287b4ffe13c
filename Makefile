# Everything a newcomer needs: `make demo`, `make test`. `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHOTOS ?=
BENCH ?=
.DEFAULT_GOAL := help

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "imageledger needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

%/node_modules/.installed: %/package-lock.json
	@command -v npm >/dev/null || { echo "imageledger needs Node 20 or newer with npm" >&2; exit 1; }
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: setup
setup: $(VENV)/.installed supabase/local/node_modules/.installed ## Install the environment and the pinned binaries

.PHONY: setup-test
setup-test: setup tests/e2e/node_modules/.installed

.PHONY: up
up: setup ## Start the embedded stack, apply the SQL, start a worker
	$(BIN)/imageledger up --worker

.PHONY: down
down: ## Stop what `make up` or `make demo` started
	@test ! -x $(BIN)/imageledger || $(BIN)/imageledger down

.PHONY: demo
demo: setup ## Play a seller and a studio session from the outside; PHOTOS="a.jpg b.heic" for your own
	$(BIN)/imageledger demo $(PHOTOS)

.PHONY: migrate
migrate: setup ## Apply sql/ and functions/ to the stack's database
	$(BIN)/imageledger migrate

.PHONY: status
status: setup ## Show the stack's parts, addresses and keys
	$(BIN)/imageledger status

.PHONY: links
links: setup ## Make supabase/migrations/ link to every SQL file
	$(BIN)/imageledger links

.PHONY: types
types: setup ## Make supabase/types/ and functions/REFERENCE.md from an empty stack of its own
	@home=$$(mktemp -d) && export IMAGELEDGER_HOME=$$home/stack && unset SUPABASE_URL SUPABASE_DB_URL && \
	  trap '$(BIN)/imageledger down --destroy --yes 2>/dev/null; rmdir "$$home"' EXIT && \
	  $(BIN)/imageledger up >/dev/null && $(BIN)/imageledger types --write
.PHONY: catalog
catalog: setup ## Write what `imageledger doctor` expects of a migrated database; after every change of the SQL
	$(BIN)/python -m cli.doctor.generate

.PHONY: release-schema
release-schema: setup ## Keep the schema with the demo's rows in tests/upgrade/, once a release; VERSION=1.2.0
	@home=$$(mktemp -d) && export IMAGELEDGER_HOME=$$home/stack && unset SUPABASE_URL SUPABASE_DB_URL && \
	  trap '$(BIN)/imageledger down --destroy --yes 2>/dev/null; rmdir "$$home"' EXIT && \
	  $(BIN)/imageledger up --worker >/dev/null && $(BIN)/imageledger demo >/dev/null && \
	  $(BIN)/python -m tests.upgrade.release $${VERSION:?give VERSION=}

.PHONY: test
test: setup-test ## Lint, then every test
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 3

.PHONY: quick
quick: setup-test lint ## Lint, and the tests of the database alone: minutes less, while you write SQL
	$(BIN)/python -m pytest -n 3 tests/sql tests/rls

.PHONY: lint
lint: setup ## ruff, mypy, sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/imageledger links --check
	$(BIN)/sqlfluff lint sql functions supabase/local/bootstrap.sql

.PHONY: bench
bench: setup tests/bench/node_modules/.installed ## Every benchmark, each against its peer in one run; BENCH="ledger queue" for some
	$(BIN)/python -m tests.bench $(BENCH)

.PHONY: soak
soak: setup-test ## Ten random minutes of several sellers while workers are killed; SOAK_SECONDS, SOAK_SEED
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(BIN)/python -m pytest -q -s tests/e2e/test_soak.py

.PHONY: lock
lock: ## Pin the newest dependencies again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra dev --upgrade pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --extra gemini --extra google --extra openai --extra otel --extra outbox --extra replicate -c requirements.lock \
	  pyproject.toml -o worker/requirements.lock

.PHONY: clean
clean: ## Stop the stack, delete its data, remove the environment
	@test ! -x $(BIN)/imageledger || $(BIN)/imageledger down --destroy --yes
	rm -rf $(VENV) .imageledger supabase/local/node_modules tests/e2e/node_modules tests/bench/node_modules

.PHONY: help
help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
