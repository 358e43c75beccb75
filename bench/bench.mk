# The benchmarks. Included by the Makefile: paths start at the root.

.PHONY: bench
bench: $(VENV)/dev.stamp .venv-bench/stamp ## measure the service beside others (a quarter of an hour; needs wrk)
	$(BIN)/python bench/run.py --save --products 1000,100000 $(ARGS)

.PHONY: bench-large
bench-large: $(VENV)/dev.stamp .venv-bench/stamp ## the same with a million products
	$(BIN)/python bench/run.py --save --products 1000000 $(ARGS)

.PHONY: bench-report
bench-report: .venv-bench/stamp ## write docs/benchmarks.md again from the figures that are there
	.venv-bench/bin/python bench/report.py

.PHONY: bench-compare
bench-compare: $(VENV)/dev.stamp ## measure this checkout beside another: make bench-compare BEFORE=../before
	$(BIN)/python bench/compare.py $(or $(BEFORE),$(error name the other checkout: BEFORE=../before)) . $(ARGS)

# Those that the service is compared with want other versions of the same libraries.
.venv-bench/stamp: bench/requirements.txt | $(BIN)/python
	@echo "installing Flask, Eve, gunicorn and matplotlib into .venv-bench"
	@$(BIN)/python -m venv .venv-bench
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@
