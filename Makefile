.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs
INSTALL_BENCH = $(BIN)/uv venv --quiet --allow-existing --python $(PYTHON) .venv-bench && \
	$(BIN)/uv pip install --quiet --python .venv-bench --constraint constraints.txt --editable '.[bench]'

.PHONY: help demo incident test test-lowest test-psycopg race soak bench bench-before bench-large lint docs picture check lock migration clean

help: ## Show what can be made.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

demo: $(STAMP) ## See what it does, on SQLite: propose, check, approve, run, and a stop in the middle of the work.
	$(BIN)/python examples/demo.py

incident: $(STAMP) ## Replay the tool calls of an agent in an incident, all of them accounted for.
	$(BIN)/python examples/incident.py

test: $(STAMP) ## Run every test, on SQLite and on a real PostgreSQL.
	$(BIN)/pytest -n 4 --dist worksteal tests

lint: $(STAMP) ## Check style, types and import layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports

test-lowest: $(STAMP) ## Run the contract tests on the lowest versions that pyproject.toml allows.
	$(BIN)/uv venv --quiet --allow-existing --python $(PYTHON) .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[dev]'
	.venv-lowest/bin/python -m pytest -q -n 4 -p no:cacheprovider tests/contract

test-psycopg: $(STAMP) ## Run the contract tests on PostgreSQL through psycopg instead of asyncpg.
	OPERATOR_CORE_TEST_DRIVER=psycopg $(BIN)/pytest -q -n 4 --dist worksteal -k postgresql tests/contract

race: $(STAMP) ## Run the long forms of all races, kills and forced schedules; prints one figure a line, with its seed.
	OPERATOR_CORE_LONG=1 $(BIN)/pytest -s -q tests/races tests/contract/test_kill_switch*.py

soak: $(STAMP) ## Run the long forms of all soaks: many workers, kills, freezes, server faults and stops, with their seeds.
	OPERATOR_CORE_LONG=1 $(BIN)/pytest -s -q tests/soak tests/deploy/test_replication.py

bench: $(STAMP) ## Measure every figure of docs/performance.md beside its bar; shorter: make bench BENCH_FLAGS=--quick.
	$(INSTALL_BENCH)
	.venv-bench/bin/python benchmarks/run.py $(BENCH_FLAGS)

bench-before: $(STAMP) ## Measure the usual calls beside the code before the newest revision; needs the history of git.
	$(INSTALL_BENCH)
	.venv-bench/bin/python benchmarks/before.py $(BENCH_FLAGS)

bench-large: $(STAMP) ## Measure whether calls stay flat at 10,000,000 rows; takes several GB and a quarter of an hour.
	$(INSTALL_BENCH)
	.venv-bench/bin/python benchmarks/scale.py --large

docs: $(DOCS_STAMP) ## Build the documentation into site/; a broken link, or a public name without an entry, fails.
	@rm -rf site
	$(BIN)/sphinx-build --quiet --fail-on-warning --fresh-env --doctree-dir .venv/doctrees . site

picture: $(DOCS_STAMP) ## Draw docs/demo.svg from the output of the demo.
	$(BIN)/python examples/picture.py

check: lint docs test ## All that must be green before a merge.

lock: ## Write the newest versions of all dependencies to constraints.txt.
	$(BIN)/uv pip compile --universal --all-extras --no-emit-index-url --no-header --no-annotate \
		--upgrade --output-file constraints.txt pyproject.toml

migration: $(STAMP) ## Start a new revision: make migration m="what it adds".
	$(BIN)/alembic revision -m "$(m)" --rev-id $$(printf '%04d' $$(( $$(ls alembic/versions/*.py | wc -l) + 1 )))

clean: ## Remove the virtual environment and all caches.
	rm -rf .venv .venv-lowest .venv-bench .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build site
