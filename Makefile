# `make` alone prints what there is. Everything but `help`, `clean` and `lock` sets up .venv first,
# from requirements.lock, and again when requirements.lock or pyproject.toml have changed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Python 3.11 or 3.12 for a new .venv: the first of these that runs.
PYTHON ?= python3.12 python3.11 python3 python
GOLDEN_DIR ?= tests/golden
PYTEST_WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed

export TF_CPP_MIN_LOG_LEVEL ?= 2

PYTEST := $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help setup quickstart test check lint unit compat clients golden bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(STAMP) ## set up, then run every step on the built-in marketplace, offline
	$(BIN)/tfrs-sage quickstart

test: $(STAMP) ## set up, then run all tests
	$(PYTEST) tests

check: lint unit ## format, lint, types, unit tests: the developer's loop

lint: $(STAMP) ## format, lint and types only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: $(STAMP) ## tests without the integration tests
	$(PYTEST) -m "not integration" tests

compat: $(STAMP) ## exported retrieval under TensorFlow 2.20 and 2.21, an environment each (downloads them)
	$(BIN)/python -m tests.integration.check_versions

clients: $(STAMP) ## other people's clients against our server, an environment each (downloads them)
	$(BIN)/python -m tests.integration.check_clients

golden: $(STAMP) ## golden tests; GOLDEN_DIR=folder takes other golden files
	GOLDEN_DIR="$(abspath $(GOLDEN_DIR))" $(BIN)/python -m pytest tests/golden

bench: $(STAMP) ## every benchmark of benchmarks/; those of the server ask the quickstart's models
	$(BIN)/tfrs-sage quickstart
	@for file in benchmarks/*.py; do \
	  echo "== $$file"; \
	  $(BIN)/python "$$file"; \
	done

setup: $(STAMP) ## only set up .venv

lock: ## make requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --universal \
	  --extra dev pyproject.toml -o requirements.lock

clean: ## remove caches and build outputs (not .venv, runs or saved models)
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# A shim may stand in the path and run nothing, so each Python is tried, not only looked for.
$(STAMP): requirements.lock pyproject.toml
	@found=""; tried=""; \
	for python in $(PYTHON); do \
	  version="$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" \
	    || version="does not run"; \
	  tried="$$tried $$python ($$version)"; \
	  case "$$version" in 3.11|3.12) \
	    if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found="$$python"; break; fi; \
	    tried="$$tried, without venv: install its venv package,";; \
	  esac; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "tfrs-sage needs Python 3.11 or 3.12 with venv. Found:$$tried." >&2; \
	  echo "Install one of them, or say where it is: make PYTHON=/path/to/python3.12 ..." >&2; \
	  exit 1; \
	fi; \
	echo "setting up .venv with $$found (a few GB, about a minute)"; \
	rm -rf .venv; \
	"$$found" -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@
