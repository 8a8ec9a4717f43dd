.PHONY: lint type contract test test-slow check
lint:
	ruff check . && ruff format --check .
type:
	mypy
contract:
	PYTHONPATH=src lint-imports
test:
	pytest
test-slow:
	pytest -m slow
check: lint type contract test
