# `make demo` and `make test` work on a machine with only python3, its venv and make.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Development mode and no tolerated warning: a forgotten await or an unclosed
# socket fails the run.
PY     := $(BIN)/python -X dev -W error
# Which tests failed last; of each run its own where several run side by side.
CACHE  ?= $(VENV)/pytest
PYTEST := $(PY) -m pytest -o cache_dir=$(CACHE)

.PHONY: help setup demo test rest failed check lint fmt types cover covered interop extras interop-pages browser bench docs clean \
  compiled test-compiled

help:  ## say what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

# The library with its core dependencies, what makes the demo's certificates, and real
# messages where a distribution leaves out those of CPython's own tests.
$(VENV)/.demo: pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . \
	  "$$(grep '^trustme==' requirements-dev.txt)" \
	  $$($(BIN)/python -c 'import test.test_email' 2>/dev/null || \
	    grep '^flufl.bounce==' requirements-dev.txt)
	@touch $@

# The library with its extras, and the tools of the checks.
$(VENV)/.dev: pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $(VENV)/.demo $@

setup: $(VENV)/.dev  ## make the virtual environment

demo: $(VENV)/.demo  ## send messages of all kinds to a server here, and compare what arrives
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev  ## doctests and tests, without the heavy ones
	$(PYTEST)

failed: $(VENV)/.dev  ## the tests that failed last, alone
	$(PYTEST) --last-failed --last-failed-no-failures none -m ""

# The compiled wheel, in a virtual environment of its own: the sources stay pure.
$(VENV)/.compiled: pyproject.toml requirements-dev.txt tools/compile_hook.py \
  $(wildcard src/smtpx/*.py src/smtpx/*/*.py)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip uninstall --quiet --yes smtpx
	HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 $(BIN)/python -m pip install --quiet \
	  --disable-pip-version-check --no-deps --force-reinstall .
	@touch $@

compiled:  ## install the compiled build into .venv-compiled
	@$(MAKE) --no-print-directory VENV=.venv-compiled .venv-compiled/.compiled
	.venv-compiled/bin/smtpx --version

test-compiled: compiled  ## tests of the server and of the core against it
	.venv-compiled/bin/python -X dev -W error -m pytest \
	  -o cache_dir=.venv-compiled/pytest \
	  tests/core tests/framing tests/server tests/transcripts tests/wire

check: lint types cover docs  ## everything a change must pass

lint: $(VENV)/.dev  ## style of code and of layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fmt: $(VENV)/.dev  ## put code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev  ## mypy --strict on library and tests
	$(BIN)/mypy

# Grammar, mechanisms and state machines are covered whole, line and branch, by tests of
# their own: what only a test of a server or a client passes through is not tested.
SANS_IO   := errors.py wire sasl core
CORE_TESTS := tests/core tests/wire tests/sasl tests/framing tests/transcripts \
  tests/test_errors.py
COVERING   := $(SANS_IO:%=src/smtpx/%) $(CORE_TESTS)

rest: $(VENV)/.dev  ## what `make test` runs and `make cover` does not
	$(PYTEST) $(COVERING:%=--ignore=%)

cover: $(VENV)/.dev  ## tests of grammar and machines, which must cover 100 % of them
	$(PYTEST) --cov --cov-report= $(COVERING)
	@$(MAKE) --no-print-directory covered

covered: $(VENV)/.dev  ## what they covered when they last ran
	$(BIN)/coverage report --fail-under=100 \
	  --include='src/smtpx/errors.py,src/smtpx/wire/*,src/smtpx/sasl/*,src/smtpx/core/*'

interop: $(VENV)/.dev  ## tests against other mail software, which must be installed
	$(PYTEST) -m interop tests/interop

interop-pages: $(VENV)/.dev  ## a run against other mail software, and the pages of it
	SMTPX_INTEROP_RECORD=1 $(PYTEST) -m interop tests/interop/test_probe.py \
	  tests/interop/test_sending.py tests/interop/test_receiving.py \
	  tests/interop/test_senders.py
	$(PY) tools/probe_results.py
	$(PY) tools/interop_table.py

extras: $(VENV)/.dev  ## each extra alone, in a virtual environment of its own
	$(PYTEST) -m extras tests/extras

browser: $(VENV)/.dev  ## look at the inbox's page with Chromium, which must be installed
	$(PYTEST) -m browser tests/inbox/browser

.PHONY: guard faults mutations
guard: $(VENV)/.dev  ## count instructions a message, against peers and against before
	$(BIN)/python -m benchmarks instructions

faults: $(VENV)/.dev  ## have sending in bulk fail at each octet of each kind of run
	$(PY) -m tests.faults

mutations: $(VENV)/.dev  ## take each defence away, and see that a test notices
	$(BIN)/python tools/mutations.py

.PHONY: peers bench-pages bench-client bench-latency bench-scale
peers: $(VENV)/.dev  ## install what the benchmarks compare with
	benchmarks/install-peers $(BIN)/python

# SHAPES=all measures TLS, LMTP, BDAT and workers too.
SHAPES ?= main
bench: peers  ## measure servers, side by side; SHAPES=all for all kinds of load
	$(BIN)/python -m benchmarks server --shapes $(SHAPES)

bench-client: peers  ## measure clients, side by side; SHAPES=all
	$(BIN)/python -m benchmarks client --shapes $(SHAPES)

bench-latency: $(VENV)/.dev  ## measure clients over a slow line
	$(BIN)/python -m benchmarks latency

# Each with the peers installed into it (benchmarks/install-peers), the newest first.
PYTHONS ?= $(BIN)/python
bench-pages: peers  ## take the tables of docs/explanation/performance.md again
	$(BIN)/python -m benchmarks pages $(PYTHONS)

bench-scale: $(VENV)/.dev  ## measure how the cost of the server grows
	$(BIN)/python -m benchmarks scale

docs: $(VENV)/.dev  ## write the generated pages again, and build the site in build/site
	$(PY) tools/rfc.py
	$(PY) tools/states.py
	$(PY) -m tools.attacks
	$(PY) -m tools.facts
	$(PY) tools/counterparts.py
	$(PY) tools/probe_results.py
	$(PY) tools/interop_table.py
	$(PY) tools/command_line.py
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs build/site
	$(PY) tools/site.py build/site

clean:  ## remove what is made
	rm -rf $(VENV) .venv-compiled build dist .coverage htmlcov .mypy_cache .pytest_cache .ruff_cache

# Seconds for each of the 48 targets; `make fuzz SECONDS=600` is a night's work.
SECONDS ?= 60
TARGETS ?=

.PHONY: fuzz fuzz-smoke
fuzz: $(VENV)/.dev  ## fuzz every target in turn: SECONDS=60 for each, TARGETS=all
	$(BIN)/python -m fuzz --seconds $(SECONDS) $(TARGETS)

fuzz-smoke: $(VENV)/.dev  ## fuzz all targets in one process, for a minute
	$(BIN)/python -m fuzz --seconds 60 together
