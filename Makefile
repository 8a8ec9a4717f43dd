# One word for everything; `make install` makes the environment that the rest use.
VENV ?= .venv
BIN := $(if $(wildcard $(VENV)/bin),$(VENV)/bin/)

.PHONY: api-coverage install lint format type contract test test-slow test-campaign chaos test-clients test-az test-golden cntk-coverage check quickstart
install:
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -c constraints.txt -e ./packages/cntk -e '.[dev]'
lint:
	$(BIN)ruff check .
	$(BIN)ruff format --check .
format:
	$(BIN)ruff check --fix .
	$(BIN)ruff format .
type:
	$(BIN)mypy
contract:
	PYTHONPATH=src $(BIN)lint-imports
test:
	$(BIN)pytest -n auto
test-slow:
	# Of this, 500 kills of the service take about 15 minutes.
	$(BIN)pytest -m slow
test-campaign:
	# 20,000 made-up requests for each api-version, in about ten minutes.
	$(BIN)pytest -m slow -rP tests/http/arm/test_campaign.py
chaos:
	# 2,000 kills of service, agents and jobs over 5,000 jobs or more (100 kills take about a minute). Less: make chaos CHAOS='--jobs 200 --kills 100 --seed 1'
	PYTHONPATH=src:tests $(BIN)python -m harness.chaos.campaign $(CHAOS)
test-clients:
	$(BIN)pytest -m clients tests/clients
test-az:
	# A part of test-clients: the Azure command line, which is half a gigabyte.
	$(BIN)pytest -m clients tests/clients/test_az.py tests/clients/test_az_document.py tests/clients/test_az_batchai.py tests/clients/test_az_resources.py tests/clients/test_az_2018.py
test-golden:
	# Another recording in the layout of ../shared/data/cntk/golden: make test-golden GOLDEN=directory
	GOLDEN=$(GOLDEN) $(BIN)pytest -q packages/cntk/tests/test_golden.py
cntk-coverage:
	PYTHONPATH=packages/cntk/tests:packages/cntk/src $(BIN)python -m golden_replay.coverage ../shared
api-coverage:
	UPDATE_API_COVERAGE=1 $(BIN)pytest -q tests/http/arm/test_operations.py
check: lint type contract test
quickstart:
	$(BIN)batchai quickstart
