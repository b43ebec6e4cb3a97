# Everything a newcomer needs is python3 (3.11 or 3.12) and make; the rest is fetched and locked.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory --silent

UV_VERSION := 0.13.9
UV := .uv/bin/uv
RUN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
# the example data ends with 2013: the demo replays it as of its last midnight
AS_OF ?= 2013-12-31T00:00:00Z
BENCH ?= asof

.DEFAULT_GOAL := help
.PHONY: help env demo demo-full down test test-docs test-ui test-cluster check lint bench mutants clean

help: ## this list
	grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(UV):
	echo "fetching uv $(UV_VERSION)"
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

env: $(UV) ## the locked environment in .venv
	$(UV) sync --frozen --quiet --python "$$(command -v python3)"

# read before anything is fetched, so that the demo's seconds count the downloads too
demo demo-full: STARTED := $(shell date +%s.%N)
# of the hourly view the last month; every daily view has its whole year
demo: SLICE := 744
demo: env ## nothing -> stack -> real data -> live predictions, then the URLs
	$(RUN)/tiffin up --as-of "$(AS_OF)"
	$(RUN)/python scripts/materialise.py --latest $(SLICE)
	$(RUN)/python scripts/prove.py --started "$(STARTED)" --hours $(SLICE)

demo-full: env ## the demo with all 8,760 hours of the hourly view
	$(RUN)/tiffin up --as-of "$(AS_OF)"
	$(RUN)/python scripts/materialise.py
	$(RUN)/python scripts/prove.py --started "$(STARTED)"

down: env ## stop everything that `make demo` started; data stays in .tiffin
	$(RUN)/tiffin down

lint: env
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

check: lint ## lint, types, unit and contract tests
	$(RUN)/pytest tests/unit tests/contract -q -n 2 --dist loadfile

test: lint ## everything, as CI runs it
	$(RUN)/pytest tests/unit tests/contract tests/integration -n 2 --dist loadfile
	$(RUN)/pytest tests/e2e # one house for all stories, alone on the machine

test-docs: env ## docs/how-to word for word, in a copy of the checkout
	$(RUN)/pytest tests/docs

test-ui: env ## the stories in a real Chromium (Debian's: apt-get install chromium); SCREENSHOTS=DIR keeps the pictures
	SCREENSHOTS="$${SCREENSHOTS:-}" $(RUN)/pytest tests/ui

test-cluster: env ## on a real Kubernetes with Kueue: built once into the cache (17 minutes), or the cluster of $KUBECONFIG; FAULT_POINTS=n random points of each fault story (10)
	if [ -z "$${KUBECONFIG:-}" ]; then $(RUN)/python -m deploy.devcluster build; fi
	$(RUN)/pytest tests/cluster -n 2 --dist loadfile --no-loadscope-reorder --durations=15

bench: env ## make bench BENCH=name: a table, then one JSON line
	$(RUN)/python -m bench.$(BENCH)

mutants: env ## apply each small edit of tests/mutants and demand a red test
	$(RUN)/python -m tests.mutants.run

clean: ## remove environment, caches and the stack's data
	if [ -x $(RUN)/tiffin ]; then $(RUN)/tiffin down || true; fi
	rm -rf .venv .uv .tiffin .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
