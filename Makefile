# `make demo` needs Python 3.11 or newer and nothing else: no service, no Docker. `make test` needs Chromium as well.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCHMARKS := trials_an_hour fleet_memory overhead control_plane utilisation pruning
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types unit integration acceptance bench bench-quick clean

help: ## Show what there is.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(VENV)/installed ## Make .venv and install the tested versions.

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, this is $$($(PYTHON) --version): make PYTHON=python3.12 …" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): two to five minutes the first time"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@# Recorded runs for tests/unit/test_scaling_recorded.py: tables alone, not what would train surrogates on them.
	@$(BIN)/pip install --quiet --constraint constraints.txt --no-deps scan-bench
	@touch $@

demo: setup ## Run Phase 1 of the quickstart study on real prices.
	@$(BIN)/hpo run quickstart

test: lint types unit integration acceptance ## Run everything that must pass.

lint: setup ## Style, formatting and the layers between the packages.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## Strict types in all three packages.
	$(BIN)/mypy

unit: setup ## Pure functions; about a minute.
	$(BIN)/pytest tests/unit -n 2 --dist worksteal

integration: setup ## A real Postgres.
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest tests/integration -n 2 --dist worksteal

acceptance: setup ## The real command, real training, real signals; minutes.
	# Many of them wait, for processes to start or to be missed, and many have deadlines: no more than two at a time.
	# Threads that wait for each other by spinning slow two trainings on two cores down many times.
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest tests/acceptance -n 2 --dist worksteal

bench: setup ## Measure this against what one would otherwise use, for hours, and write BENCHMARKS.md.
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --save || exit 1; done
	@$(BIN)/python benchmarks/page.py

bench-quick: setup ## The same in minutes, for a look; nothing is written.
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --quick || exit 1; done

clean: ## Remove what can be made again; studies in the user's data directory stay.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
