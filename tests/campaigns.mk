# What takes longer than `make test` may, and what that leaves out. Included by the Makefile: paths start at the root.
# docs/development.md says which is run when.

# What happens under faults and attacks. Each file says how much of it there is; CHAOS_ variables say how much there is to be.
CAMPAIGNS := tests/e2e/test_mongo_faults.py tests/e2e/test_redis_faults.py tests/e2e/test_restarts.py \
    tests/e2e/test_keyed.py tests/e2e/test_overload.py tests/e2e/test_attacks.py tests/e2e/test_abuse.py tests/e2e/test_instances.py \
    tests/cache/test_failover.py tests/embedded/test_durability.py
# Deliberately broken variants that a check has to find.
MUTANTS := tests/cache/test_history.py::test_a_cache_that_breaks_them_is_found
# What pyproject.toml leaves out of the suite is in.
CAMPAIGN := $(BIN)/pytest -m ""

.PHONY: campaigns-short
campaigns-short: $(VENV)/dev.stamp ## each fault and kill once, under full load, and each mutant (about five minutes)
	CHAOS_FAULTS=1 $(CAMPAIGN) $(CAMPAIGNS) $(MUTANTS) $(ARGS)

.PHONY: chaos
chaos: $(VENV)/dev.stamp ## everything that can fail does, again and again, under load (about an hour)
	CHAOS_FAULTS=10 CHAOS_FAILOVERS=10 CHAOS_ROLLING=30 CHAOS_KILLS=10 CHAOS_REQUESTS=60000 CHAOS_KEYED=2000 CHAOS_WRITES=5000 CHAOS_SECONDS=60 CHAOS_ATTACK_SECONDS=60 CHAOS_ABUSE_SECONDS=60 \
	    $(CAMPAIGN) -s $(CAMPAIGNS) $(ARGS)

.PHONY: mutants
mutants: $(VENV)/dev.stamp ## break the cache on purpose, in each way, and find that out (a quarter of a minute)
	$(CAMPAIGN) -s $(MUTANTS) $(ARGS)

.PHONY: soak
soak: $(VENV)/dev.stamp ## check the cache's promises under faults for ten minutes
	SOAK_SECONDS=$${SOAK_SECONDS:-600} \
	    $(CAMPAIGN) -s tests/cache/test_history.py::test_every_read_keeps_the_promises $(ARGS)

.PHONY: soak-hour
soak-hour: $(VENV)/dev.stamp ## an hour of steady load: memory and open files stay what they are
	CHAOS_SOAK=3600 $(CAMPAIGN) -s tests/e2e/test_soak.py

.PHONY: fuzz
fuzz: $(VENV)/dev.stamp ## send 20,000 generated requests and more as anyone, as a user and as an admin (a quarter of an hour)
	SHOP_TEST_CASES=$${SHOP_TEST_CASES:-900} SHOP_TEST_INJECTION_ONE_IN=1 $(CAMPAIGN) -n 3 --dist load -rP \
	    tests/test_schema_conformance.py tests/security/test_injection.py

.PHONY: timing
timing: $(VENV)/dev.stamp ## compare how long 300 failing sign-ins of each kind take; needs a quiet machine
	SHOP_TEST_SIGN_INS=$${SHOP_TEST_SIGN_INS:-300} $(CAMPAIGN) -s tests/security/test_enumeration.py
