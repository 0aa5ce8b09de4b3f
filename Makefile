# `make run` and `make test` are all a newcomer needs: each sets up .venv by itself.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test lint smoke bench install clean

run: install
	$(BIN)/harness run --suite cdsr --seed 0

test: install
	$(BIN)/python -m pytest -n auto

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

smoke: install
	$(BIN)/harness run --suite cdsr-smoke --output-dir .harness/smoke

bench: install
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

install: $(STAMP)

# constraints.txt pins every package, so that a result file's versions can be installed again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .harness
