# What a newcomer and CI run. `make` lists the targets; two of them do everything: `make demo` and `make test`.
#
#   make demo PYTHON=python3.12       another interpreter, 3.11 or newer
#   make demo NAME=mine               writes results/mine
#   make test JOBS=4                  four test processes, each with a Ray cluster of its own (1.7 GB)
#
# On Linux pip takes torch's CUDA build, which GPUs need and which is large. On a machine without one, set
# PIP_EXTRA_INDEX_URL to the CPU index that PyTorch's installation page names, and pip takes the small CPU build instead.

PYTHON ?= python3
NAME   ?= demo
CONFIG ?= experiments/configs/compare.yaml
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
PYTEST  = RAY_USAGE_STATS_ENABLED=0 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --doctest-modules tests maxent_ray
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
DOCS   := $(VENV)/.installed-docs

# Ray starts many processes that import the same libraries: without cached bytecode each would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all docs lint types imports audit check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## make .venv and install the pinned dependencies and this package

# Byte-compiling everything, one file after the other, doubles pip's time. So pip does not compile; afterwards all cores
# compile what Ray and torch load. What is left out compiles on its first import, as does a file that fails here.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: no interpreter '$(PYTHON)': name one, e.g. make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: $(PYTHON) is Python %d.%d.%d, and maxent_ray needs 3.11 or newer: name another one, e.g. make PYTHON=python3.12" % tuple(sys.version_info[:3]))'
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --upgrade -c constraints.txt pip
	@echo "Installing maxent_ray and its dependencies: about a minute on a fast connection ..."
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e .
	@$(BIN)/python -m compileall -qq -j 0 -x '/(transformers/models|sympy|_inductor|rllib|tests?)/' $(VENV)/lib || true
	@touch $@

# What only tests, checks and documentation need.
$(DEV): $(STAMP)
	@echo "Installing what the tests need ..."
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## the main job: compare the two objectives on Countdown, results in results/demo
	$(BIN)/maxent-ray compare --config $(CONFIG) --name $(NAME)

test: $(DEV) ## the tests without the slow ones, and every example in a docstring: 15 to 18 minutes
	$(PYTEST) -m "not slow"

test-all: $(DEV) ## the whole test suite: with kills of real processes, soaks and whole comparisons
	$(PYTEST)

docs: $(DOCS) ## the documentation site, in docs/_build; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs . docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html"

$(DOCS): $(DEV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@

lint: $(DEV) ## ruff
	$(BIN)/ruff check maxent_ray tests experiments docs .ci

types: $(DEV) ## strict type checking
	$(BIN)/mypy

imports: $(DEV) ## the one-way imports, and the purity of the core
	$(BIN)/lint-imports

audit: $(DEV) ## known vulnerabilities in the pinned versions, where their database can be asked
	$(BIN)/python .ci/audit.py

check: test lint types imports ## all four (the audit, which needs a network, is apart)

clean: ## remove .venv, caches and build products; results stay
	rm -rf $(VENV) build dist docs/_build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find maxent_ray tests experiments -type d -name __pycache__ -prune -exec rm -rf {} +
