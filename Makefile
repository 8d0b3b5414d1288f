# The two commands of the README are `make demo` and `make test`. Each does all set-up it needs; nothing is installed on
# the machine: packages go to .venv, servers are unpacked below .cache.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ARGS ?=
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup check test faults model demo dist proto clean distclean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup:  ## Make .venv and fetch the servers; does nothing if all is there
	@$(PYTHON) deploy/setup/make_venv.py
	@$(PYTHON) deploy/setup/fetch_servers.py

check: setup  ## Check format, lint, types and the layers of imports
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# In the order of the folders: else modules with few tests come last, and those are the longest.
test: check  ## Check, then run all tests; ARGS goes to pytest
	$(BIN)/pytest --numprocesses 4 --dist loadscope --no-loadscope-reorder $(ARGS)

faults: setup  ## 10,000 files under 200 random faults, of each flow, at most 80 minutes; ARGS goes to tests.faults
	for flow in move copy batch; do \
		$(BIN)/python -m tests.faults --flow $$flow --files 10000 --faults 200 --etcd 3 --limit-s 1340 $(ARGS) || exit 1; \
	done

model: setup  ## Check the delivery protocol in every interleaving, within wide bounds: minutes, some GiB of memory
	$(BIN)/python -m tests.model --deep

demo: setup  ## Run the whole cluster here and kill its leader; ARGS goes to mft-demo
	@$(BIN)/mft-demo $(ARGS)

dist: setup  ## Build dist/: a wheel, and one executable file for each program
	@$(BIN)/python deploy/setup/build_dist.py

proto: setup  ## Generate mft/pb anew from proto/
	@$(BIN)/python deploy/setup/generate_proto.py

clean:  ## Remove what checks, tests and builds leave behind
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./.venv -prune -o -path ./.cache -prune -o -name __pycache__ -type d -print | xargs -r rm -rf

distclean: clean  ## Remove .venv and .cache as well
	rm -rf .venv .cache *.egg-info
