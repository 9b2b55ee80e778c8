# Every target works from a fresh clone: it first makes .venv, and installs into it again when pyproject.toml or
# constraints.txt have changed.

PYTHON  ?= python3
WORKERS ?= auto
BENCH   ?=
VENV    := .venv
PY      := $(VENV)/bin/python
PIP     := $(PY) -m pip --quiet --disable-pip-version-check
PINNED  := pyproject.toml constraints.txt

# Tests run in the random order that this seed gives.
ifndef SEED
SEED := $(shell date +%s)
endif
PYTEST = $(PY) -m pytest -q -n $(WORKERS) --randomly-seed=$(SEED)
FAILED = { status=$$?; echo 'To repeat this order: make $@ SEED=$(SEED)' >&2; exit $$status; }

# Tests of the console look here for a browser.
PLIMSOLL_CHROMIUM ?= $(firstword $(shell command -v chromium chromium-browser google-chrome 2>/dev/null))
export PLIMSOLL_CHROMIUM

# The packages whose tests must reach COVERAGE_MIN % coverage, branches included.
COVERED      := core contract journal policies runtime oversight gate
COVERAGE_MIN := 90
empty :=
comma := ,
COVERED_FILES := $(subst $(empty) $(empty),$(comma),$(COVERED:%=src/plimsoll/%/*))

# What `make mutation` must reach, in %, how many mutants it tries at a time, and which (a pattern such as "*.chain.*").
MUTATION_MIN := 85
MUTANTS      ?= 1
MUTATE       ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo learn-demo test test-all mutation check format bench constraints clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.dev ## Make .venv with everything that tests and checks need

demo: $(VENV)/.demo ## Run the assistant's demo
	@$(PY) -m examples.assistant.demo

learn-demo: $(VENV)/.demo $(VENV)/.learning ## Run the assistant's own model: learned, tried, promoted, and alone at last
	@$(PY) -m examples.assistant.learn_demo

test: $(VENV)/.dev ## Run the tests
	@$(PYTEST) || $(FAILED)

test-all: $(VENV)/.dev $(VENV)/.browser $(VENV)/.learning ## Run every test, also those on real data, real servers and a browser, and hold the coverage to 90 %
	@[ -n "$$PLIMSOLL_REALDATA" ] || echo 'PLIMSOLL_REALDATA is not set: tests on real data are left out.'
	@[ -n "$$PLIMSOLL_CHROMIUM" ] || echo 'No chromium was found: tests in a browser will be skipped.'
	@command -v promtool >/dev/null || echo 'No Prometheus was found: tests of the alert rules will be skipped.'
	@rm -f .coverage .coverage.*
	@$(PYTEST) --cov --cov-report= -m "$${PLIMSOLL_REALDATA:+realdata or }not realdata" || $(FAILED)
	@if report=$$($(PY) -m coverage report --include='$(COVERED_FILES)' \
	        --fail-under=$(COVERAGE_MIN) --skip-covered --show-missing); then \
	    printf '%s\n' "$$report" | awk '/^TOTAL/{print "Branch coverage of $(COVERED): " $$NF}'; \
	else \
	    printf '%s\n' "$$report" "Branch coverage of $(COVERED) is below $(COVERAGE_MIN)%." >&2; exit 1; \
	fi

mutation: $(VENV)/.dev $(VENV)/.mutation ## Break journal, policies and effects in small ways, and see what no test notices
	@set -f; nice -n 10 $(PY) -m tools.mutation --workers $(MUTANTS) --at-least $(MUTATION_MIN) $(MUTATE)

check: $(VENV)/.dev ## Check style, types and layers
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --quiet --check . || { echo 'Not formatted: run `make format`.' >&2; exit 1; }
	@$(PY) -m mypy --no-error-summary src/plimsoll $(wildcard examples)
	@out=$$($(VENV)/bin/lint-imports --no-logo 2>&1) || { printf '%s\n' "$$out" >&2; exit 1; }
	@echo 'Style, types and layers: ok'

format: $(VENV)/.dev ## Format the code and sort its imports
	@$(PY) -m ruff check --quiet --select I --fix .
	@$(PY) -m ruff format --quiet .

bench: $(VENV)/.dev ## List the benchmarks, or run those named by BENCH="..."
	@$(PY) -m benchmarks $(BENCH)

constraints: ## Remake constraints.txt from the newest versions that pyproject.toml allows
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(PYTHON) -m venv "$$scratch/venv"; \
	"$$scratch/venv/bin/python" -m pip --quiet --disable-pip-version-check install '.[dev,pydantic-ai,mcp,langgraph,openai-agents,encryption,alerts,postgres,telemetry,gateway,learning,registry,inference-service,browser,servers,mutation]'; \
	"$$scratch/venv/bin/python" -m pip freeze --exclude plimsoll-ai > "$$scratch/freeze"; \
	sed -n '/^#/p' constraints.txt > "$$scratch/constraints"; \
	grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' "$$scratch/freeze" >> "$$scratch/constraints"; \
	cp "$$scratch/constraints" constraints.txt

clean: ## Remove .venv and everything else that is built here
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* \
	    .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo 'Plimsoll needs Python 3.11 or newer: set PYTHON=/path/to/python3.' >&2; exit 1; }
	@echo 'Making $(VENV)'
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: EXTRAS := demo
$(VENV)/.dev: EXTRAS := dev,pydantic-ai,mcp,langgraph,openai-agents,encryption,alerts,postgres,telemetry,gateway
$(VENV)/.browser: EXTRAS := browser,servers
$(VENV)/.learning: EXTRAS := learning,registry,inference-service
$(VENV)/.mutation: EXTRAS := mutation

$(VENV)/.demo $(VENV)/.dev $(VENV)/.browser $(VENV)/.learning $(VENV)/.mutation: $(PINNED) | $(VENV)/.made
	@echo 'Installing plimsoll-ai[$(EXTRAS)]'
	@$(PIP) install -c constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@
