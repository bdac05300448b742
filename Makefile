# `make quickstart` and `make test` do all the set-up on a fresh machine that has Python >= 3.11 and make.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: install quickstart test test-lowest test-newest lint clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.11"'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: install
	$(BIN)/latentcot quickstart

# One thread a worker: pytest's workers and torch's threads would fight over the cores.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# What is computed, on the lowest and on the newest versions that pyproject.toml allows, in environments of their own. On
# Linux the package index has PyTorch with CUDA, of several GB; PIP_EXTRA_INDEX_URL with PyTorch's
# index of CPU builds makes it small. Old versions use what newer ones beside them deprecate.
test-lowest: .venv-lowest/installed
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 -W ignore::DeprecationWarning tests/unit tests/equivalence

test-newest:
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --upgrade --upgrade-strategy eager --editable '.[test]'
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n 2 tests/unit tests/equivalence

.venv-lowest/installed: pyproject.toml .ci/lowest.py
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) .ci/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/constraints.txt --editable '.[test]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-lowest .venv-newest
