# make run   environment, install, and the main job: PoLAr-MAE fine-tuned on 100 labelled events, beside a trivial baseline
# make test  environment, install, and the tests
# make lint  style and types

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
ARGS ?= --model polarmae --labels 100
# where torch comes from, e.g. TORCH_FROM="--index-url https://download.pytorch.org/whl/cpu" for a small CPU build
TORCH_FROM ?=

.PHONY: run test lint clean

run: $(VENV)/installed
	$(BIN)/python -m benchmark run $(ARGS)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 tests

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check benchmark
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first, from the pin alone: whatever follows then leaves it as it is
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH_FROM) torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $@

$(VENV)/installed-lint: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[lint]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
