# One entry point. `make help` lists it. Needs Python 3.11 or newer, git and make; everything else goes into .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON   ?= python3
# Extra words for pip, for instance another index that has a CPU-only torch (README.md says when).
PIP_ARGS ?=
# make notebooks NB=book/microscope/modular-mlp.ipynb runs that one only.
NB       ?=
# make run ARGS="--quick" or ARGS="--seeds 0-1"
ARGS     ?=

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
STEP  := @tools/step.sh
INDEX := _build/html/index.html
# Two threads on a busy machine can make a small eigendecomposition eight times slower: one thread a process.
THREADS := env OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST  := $(THREADS) $(BIN)/python -m pytest

.PHONY: help book exercises pdf html-zip picture audit test check notebooks run reproduce bench clean distclean coverage screenshots \
        lint spelling types unit notebook-check notebook-run book-strict ledger browser

help:  ## list these commands
	@echo "make COMMAND, where COMMAND is"
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- the environment

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: no '$(PYTHON)' here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: '$(PYTHON)' is $$($(PYTHON) -V 2>&1); 3.11 or newer is needed. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@command -v git >/dev/null || { echo "error: git is not installed; results record the commit they were made with" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: '$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	$(STEP) "install pinned packages into $(VENV) (minutes the first time)" \
	  bash -c '$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt hatchling && \
	           $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --no-build-isolation -e ".[dev]"'
	@touch $(STAMP)

# ---------------------------------------------------------------- for readers

book: $(STAMP)  ## build the book from its stored outputs, and print the address to open
	$(STEP) "build the book" $(BIN)/jupyter-book build . -W --keep-going -n -q
	@echo "open: file://$(CURDIR)/$(INDEX)"

pdf: book  ## the whole book as one PDF, printed by the Chromium of this machine
	$(STEP) "print the book" $(BIN)/python -m tools.pdf

html-zip: book  ## the built book as a zip, to be read offline
	$(STEP) "pack the book" $(BIN)/python -m tools.html_zip

exercises: $(STAMP)  ## write every chapter's exercises as a notebook without solutions, into _build/exercises
	$(STEP) "exercises" $(BIN)/python -m tools.exercises

run: $(STAMP)  ## run the main experiment at full size; ARGS="--quick" for a small one
	$(STEP) "experiment modular-mlp" $(THREADS) $(BIN)/entk run modular-mlp $(ARGS)

reproduce: $(STAMP)  ## every experiment from nothing, five seeds each; ARGS="--quick" for minutes, "--dry-run" for the estimate
	$(STEP) "reproduce" $(THREADS) $(BIN)/entk reproduce $(ARGS)

notebooks: $(STAMP)  ## run notebooks again and store their outputs; NB=book/x.ipynb for one
	$(STEP) "run notebooks" $(BIN)/python -m tools.notebooks run $(NB)

bench: $(STAMP)  ## time and memory, beside named peers
	$(STEP) "benchmarks" $(BIN)/python -m benchmarks $(ARGS)

# ---------------------------------------------------------------- for those who change it

test: lint spelling types unit notebook-check notebook-run book-strict ledger browser  ## everything that CI checks

check: $(STAMP)  ## the fast part of `make test`, under two minutes
	$(STEP) "ruff" bash -c '$(BIN)/ruff check . && $(BIN)/ruff format --check .'
	$(STEP) "notebooks and prose" bash -c '$(BIN)/python -m tools.notebooks check && $(BIN)/python -m tools.check_prose'
	$(STEP) "unit tests, fast ones" $(PYTEST) -q -n 2 -m "not slow and not browser" tests entk_tutorial --doctest-modules

lint: $(STAMP)
	$(STEP) "ruff: lint and format" bash -c '$(BIN)/ruff check . && $(BIN)/ruff format --check .'

spelling: $(STAMP)
	$(STEP) "codespell" bash -c '$(BIN)/python -m tools.notebooks text _build/spelling && $(BIN)/codespell && $(BIN)/codespell _build/spelling'

types: $(STAMP)
	$(STEP) "mypy" $(BIN)/mypy

unit: $(STAMP)
	$(STEP) "unit tests and doctests" $(PYTEST) -q -n 2 -m "not browser" tests entk_tutorial --doctest-modules --durations=5

notebook-check: $(STAMP)
	$(STEP) "stored notebooks, and numbers typed into prose" bash -c '$(BIN)/python -m tools.notebooks check && $(BIN)/python -m tools.check_prose'

notebook-run: $(STAMP)
	$(STEP) "notebooks: every cell again, outputs compared" $(PYTEST) -q -n 2 --dist loadfile --nbval --nbval-current-env \
	  --nbval-sanitize-with tests/book/nbval_sanitize.cfg --nbval-cell-timeout 600 book

book-strict: $(STAMP)
	$(STEP) "book: all pages, warnings are errors" $(BIN)/jupyter-book build . -W --keep-going -n --all -q

ledger: $(STAMP)
	$(STEP) "ledger: verdicts follow from stored results" $(THREADS) $(BIN)/entk report --check
	$(STEP) "ledger: one seed of each cheap experiment again" $(THREADS) $(BIN)/entk verify --spot

browser: book-strict
	$(STEP) "the built book in a browser" $(PYTEST) -q -m browser tests/book

picture: $(STAMP)  ## draw the picture of the README again, from the stored result
	$(STEP) "picture" $(THREADS) $(BIN)/python -m tools.picture

# --strict: a package that could not be looked up is a failure, not a clean bill of health.
audit:  ## known vulnerabilities of the pinned packages; needs a network that reaches the advisories
	@$(PYTHON) -m venv _build/audit && _build/audit/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) pip-audit
	$(STEP) "audit of constraints.txt" _build/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

coverage: $(STAMP)  ## unit tests with line and branch coverage; fails under 95 %
	$(STEP) "coverage" $(PYTEST) -q -m "not browser" --cov --cov-report=term-missing tests entk_tutorial --doctest-modules

screenshots: book  ## pictures of pages, light and dark, wide and narrow, into screenshots/
	$(STEP) "screenshots" $(BIN)/python -m tools.screenshots

clean:  ## remove what was built; keep .venv and results
	rm -rf _build build dist htmlcov .coverage .coverage.* screenshots .pytest_cache .mypy_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean: clean  ## clean, and remove .venv too
	rm -rf $(VENV)
