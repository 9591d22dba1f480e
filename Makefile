# make demo: the whole method on the shipped weights, offline after the install
# make test: the test suite; make test-slow: kills, wheels, whole commands
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test test-slow test-trust lint format typecheck constraints clean
help:
	@echo "make demo | test | test-slow | test-trust | lint | format | typecheck | setup | constraints | clean"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

setup: $(STAMP)

# Threads that sleep while they wait: a little slower on a quiet machine, much faster on a busy one.
demo: $(STAMP)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m idinvert.cli.demo

# Tests start many interpreters: what one has imported is compiled for the next.
test test-slow test-trust: export PYTHONDONTWRITEBYTECODE =

test: $(STAMP) lint typecheck
	$(BIN)/python -m pytest -m "not slow" -n 2 --durations 10

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -n 2 --dist loadgroup --durations 10

# Strangers' files, kills, full disks and damage: hostile files for every door, faults at each write.
TRUST = tests/checkpoints/hostile tests/checkpoints/formats tests/config/test_stored_config.py \
	tests/cli/test_exit_handling.py $(wildcard tests/integration/*/test_*fault*.py tests/integration/*/test_*kill.py)
test-trust: $(STAMP)
	$(BIN)/python -m pytest $(TRUST) -n 2 --durations 10

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints:
	@echo "# What CI installs. Made by: make constraints" > constraints.new
	$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --no-header --no-annotate --python $(BIN)/python >> constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) outputs .pytest_cache .ruff_cache .mypy_cache
