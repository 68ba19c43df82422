# make run   environment, install, and the main job: PoLAr-MAE fine-tuned on 100 labelled events, beside a trivial baseline
# make leaderboard  environment, install, and a complete small leaderboard: six models, three label budgets, two draws
# make test  environment, install, and the tests
# make fuzz  damages files of every format that is read back, N of them: make fuzz N=10000
# make quick  the tests that take a minute, for the inner loop
# make test-gpu  the kernels on a CUDA device, with the Python that holds a CUDA build of torch: make test-gpu GPU_PYTHON=python3
# make faults  commands killed at seeded moments, full disks, deleted caches: make faults N=200 SEED=1 OUT=results.json
# make scale  what threads, processes and files change, and memory by the number of events (an hour)
# make lint  style and types
# make docs  the documentation as a site, in build/site

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
ARGS ?= --model polarmae --labels 100
N ?= 1000
# where torch comes from, e.g. TORCH_FROM="--index-url https://download.pytorch.org/whl/cpu" for a small CPU build
TORCH_FROM ?=

GPU_PYTHON ?= $(BIN)/python
QUICK := $(addprefix tests/,contracts data metrics ops/test_neighbours.py ops/test_segments.py packaging/test_rooms.py plots records/test_store.py \
  records/test_published.py reports/test_averages.py reports/test_compare.py reports/test_leaderboard.py runs/test_resolve.py runs/test_fingerprint.py \
  sparse test_registry.py test_settings.py)

.PHONY: run leaderboard test fuzz quick test-gpu faults scale lint docs clean

run: $(VENV)/installed
	$(BIN)/python -m benchmark run $(ARGS)

leaderboard: $(VENV)/installed-graphs
	$(BIN)/python -m benchmark sweep leaderboards/sweeps/small.toml

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist worksteal tests

fuzz: ARGS =
fuzz: $(VENV)/installed-test
	PYTHONPATH=.:tests $(BIN)/python -m fuzz -n $(N) $(ARGS)

# the inner loop: what needs no training, no simulation and no GPU's interpreter
quick: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow" $(QUICK)

test-gpu:
	$(GPU_PYTHON) -c "import sys, torch; torch.cuda.is_available() or sys.exit('make test-gpu: torch sees no CUDA device. A GPU and a CUDA build of torch were expected. Give its Python: make test-gpu GPU_PYTHON=python3')"
	$(GPU_PYTHON) -m pytest tests/cuda

SEED ?= 1
OUT ?= tests/faults/results.json
faults: N = 200
faults: $(VENV)/installed-test
	PYTHONPATH=.:tests $(BIN)/python -m faults -n $(N) --seed $(SEED) --out $(OUT)

scale: $(VENV)/installed-test
	PYTHONPATH=.:tests $(BIN)/python -m scale.determinism --out tests/scale/determinism.json
	PYTHONPATH=.:tests $(BIN)/python -m scale.memory --out tests/scale/memory.json
	PYTHONPATH=.:tests $(BIN)/python -m scale.records --out tests/scale/records.json
	PYTHONPATH=.:tests $(BIN)/python -m scale.tables --write

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first, from the pin alone: whatever follows then leaves it as it is
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH_FROM) torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/installed-graphs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[graphs]"
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $@

$(VENV)/installed-lint: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[lint]"
	touch $@

# without the suite and its torch: the pages are made from the sources alone
$(VENV)/installed-docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet $$($(BIN)/python docs/_site/requirements.py)
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
