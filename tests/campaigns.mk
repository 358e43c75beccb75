# What takes longer than `make test` may. Included by the Makefile: paths start at the root.

CAMPAIGNS := tests/e2e/test_mongo_faults.py tests/e2e/test_redis_faults.py tests/e2e/test_restarts.py \
    tests/e2e/test_keyed.py tests/e2e/test_overload.py tests/e2e/test_instances.py \
    tests/http_cache/test_failover.py tests/embedded/test_durability.py

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
