# make demo: set up, then fine-tune, evaluate, detect and export on drawn shapes.
# make test: set up, then the linters and all tests but the slow ones, which make test-slow runs.
# make bench: times beside torchvision's, as ratios in bench/ratios.json; TORCH_PYTHON is the interpreter of an environment
# with torch and torchvision. tools/benchmarks/slower.py compares two such files, and tools/maintenance/speed.py add files
# one and writes the table and the picture of docs/export.md from it.
# make docs: the documentation as a site, in site/.
# make book: runs every page of docs/course, slow ones included, and draws their figures.
# make notebooks: the course and some how-to pages as notebooks, in notebooks/.
# Another Python beside the first:    make test PYTHON=python3.13 VENV=.venv3.13
PYTHON ?= python3
VENV ?= .venv
TORCH_PYTHON ?= torch/bin/python
BENCH ?= bench
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0

.PHONY: demo test test-slow lint docs book notebooks bench clean

demo: $(VENV)/ready
	$(BIN)/python tools/demo.py

test: $(VENV)/ready lint
	$(PYTEST) -m 'not slow'

test-slow: $(VENV)/ready
	$(PYTEST) -m slow

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error --pythonpath $(BIN)/python

docs: $(VENV)/ready-docs
	$(BIN)/python tools/maintenance/site.py

bench: $(VENV)/ready
	$(BIN)/python tools/benchmarks/bench_torchvision.py --torch-python $(TORCH_PYTHON) --runtime openvino openvino_bf16 --exports $(BENCH)/exports --prepare
	$(BIN)/python tools/benchmarks/bench_torchvision.py --torch-python $(TORCH_PYTHON) --runtime openvino openvino_bf16 --exports $(BENCH)/exports --out $(BENCH)

book: $(VENV)/ready
	$(BIN)/python tools/maintenance/book.py

notebooks: $(VENV)/ready
	$(BIN)/python tools/maintenance/notebooks.py

# Rebuilt only when what it installs changes.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "visionkit needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# What `make docs` needs is installed in a moment; the rest of dev is not.
$(VENV)/ready-docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv .venv3.* demo bench notebooks build site dist *.egg-info
