# Two commands for a stranger: `make demo` and `make test`. Needed: Python 3.11 or later with venv, make, Node with npm.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests, each with servers of its own. Most of a test's time is waiting, so more than cores.
SIDE_BY_SIDE ?= -n 4

TOOLS := .devstack/tools/usr/bin

.PHONY: help demo up quick tools test stress guards mutants alerts bench compose-test sbom lint types lock clean

help: ## What there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

demo: $(VENV)/installed node_modules/.installed ## Watch the whole product work, on chains of its own; takes a minute
	@$(BIN)/python -m devstack demo

up: $(VENV)/installed node_modules/.installed ## The same stack, left running until Ctrl-C
	@$(BIN)/python -m devstack up

quick: lint types ## Lint, types, and the unit tests: about a minute (the first time types take longer)
	$(BIN)/python -m pytest -q -n 2 --hypothesis-profile=quick tests/unit

test: lint types tools ## Lint, types, and all tests: about half an hour on two cores
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

stress: $(VENV)/installed node_modules/.installed ## All tests beside four busy loops, three times in a row: an hour
	$(BIN)/python tests/stress.py -- $(SIDE_BY_SIDE) --crowd 5000

guards: $(VENV)/installed node_modules/.installed ## Switch guards off one at a time: a test must fail for each; takes minutes
	@$(BIN)/python tests/guards.py

mutants: $(VENV)/installed ## Change the code in one place at a time, and list what no test notices; takes an hour
	$(BIN)/mutmut run
	$(BIN)/mutmut results

alerts: $(VENV)/installed node_modules/.installed tools ## Disasters before a real Prometheus: the right alert calls, and ends; a quarter of an hour
	@PYTHONPATH=. $(BIN)/python tests/alerts_end_to_end.py

bench: $(VENV)/installed ## Measure everything beside its floor; takes half an hour
	@$(BIN)/python -m benchmarks

compose-test: $(VENV)/installed node_modules/.installed ## Run the image and docker-compose.yml for real, update, kill; takes a quarter of an hour
	@PYTHONPATH=. $(BIN)/python tests/compose_for_real.py

# Tests of the alerts need promtool. Where it cannot be had they are skipped, and nothing else is amiss.
tools: ## Promtool, Prometheus and Alertmanager of Debian, unpacked into .devstack/tools
	@command -v promtool >/dev/null || test -x $(TOOLS)/promtool || { \
		echo "Fetching Prometheus' tools into .devstack/tools (about 30 MB, once) …"; \
		timeout 120 sh deploy/prometheus/tools.sh >/dev/null || echo "They are not to be had here: the tests that run the alerts are skipped."; }

sbom: ## What the image is made of, as CycloneDX in sbom.json
	$(PYTHON) -m venv .devstack/sbom
	.devstack/sbom/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
	.devstack/sbom/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type application --output-reproducible -o sbom.json

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed node_modules/.installed
	$(BIN)/mypy

lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --no-header --generate-hashes --upgrade -q -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --no-header --generate-hashes --upgrade -q -o requirements-dev.lock

clean: ## Remove what was installed and every trace of the devstack
	rm -rf $(VENV) node_modules .devstack mutants

$(VENV)/installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@echo "Installing the Python packages of requirements-dev.lock into $(VENV) (about 430 MB, once) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Not `npm ci`: it wants every platform of an optional package in the lock, and a registry may have only some.
node_modules/.installed: package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed for the local chains: install Node.js 20 or later"; exit 1; }
	@echo "Installing a local EVM node and the Solidity compiler into node_modules (about 50 MB, once) …"
	@npm install --no-save --silent --ignore-scripts
	@touch $@
