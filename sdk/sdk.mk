# The clients and the Postman collection, made from openapi.json. Included by the Makefile: paths start at the root.

COLLECTION := sdk/dist/shop_api.postman_collection.json

.PHONY: sdk
sdk: sdk/dist/python.stamp sdk/dist/typescript.stamp ## make the Python and the TypeScript client into sdk/dist
	@ls sdk/dist/*.whl sdk/dist/*.tgz

.PHONY: postman
postman: $(COLLECTION) ## make a Postman collection
	@ls $(COLLECTION)

.PHONY: clients
clients: sdk/dist/python.stamp sdk/dist/typescript.stamp $(COLLECTION)
	@:

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
