# Everything runs in the virtual environment .venv, which the first command makes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One process per core, each with one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

.PHONY: install check test test-all demo playground clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing PyTorch and the other packages into $(VENV): several gigabytes, 5 to 15 minutes of silence."
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,test,check]'
	@touch $@
	@echo "Done. 'source $(VENV)/bin/activate' makes lab-ddpm known to this shell."

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# What guards behaviour, in some minutes.
test: install
	$(PYTEST) -m "not slow"

# The slow tests too, and those of the benchmarks.
test-all: install
	$(PYTEST) tests benchmarks/tests

# A small replica, a few minutes of training, both lists, the scores and one page about it all; everything in demo/.
demo: install
	$(BIN)/python scripts/train.py --config configs/demo.yaml
	$(BIN)/python scripts/generate.py --checkpoint demo/run/best --split test --progress --out demo/run/generated/test
	$(BIN)/python scripts/generate.py --checkpoint demo/run/best --split new_test --out demo/run/generated/new_test
	$(BIN)/python scripts/evaluate.py --checkpoint demo/run/best --num-seeds 2 --out demo/run/evaluation
	$(BIN)/python scripts/report.py demo/run --page-only

# A page in the browser, on which objects are put down and dragged.
playground: install
	$(BIN)/python scripts/playground.py --open

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis
