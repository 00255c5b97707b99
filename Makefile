# What a person types. Everything runs from .venv, which `make setup` brings up to date and
# every other target sees to first.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
RESIDENTS ?=
ARGS ?=
# Most tests wait for processes to die and come back, so two at a time take half as long. A file stays
# with one worker; each worker starts a Kafka and a PostgreSQL of its own.
PYTEST_ARGS ?= --numprocesses 2 --dist loadfile

ifneq ($(RESIDENTS),)
export RESIDENTS
endif

.PHONY: setup up down demo test check documents bench mutants
.DEFAULT_GOAL := setup

setup: $(STAMP)

# The stamp is written last: an install that was interrupted is simply done again. The project
# itself is built by the hatchling of the lock, so nothing is fetched that has no hash.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); } || \
	  { echo "The virtual environment could not be made (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

up: setup
	@$(VENV)/bin/cacah up $(ARGS)

down: setup
	@$(VENV)/bin/cacah down $(ARGS)

demo: setup
	@$(VENV)/bin/cacah demo $(ARGS)

test: setup
	@$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m cli.documents --check

documents: setup
	@$(VENV)/bin/python -m cli.documents $(ARGS)

bench: setup
	@$(VENV)/bin/python -m tests.bench $(ARGS)
	@$(VENV)/bin/python -m tests.bench.replaying

mutants: setup
	@nice -n 19 $(VENV)/bin/python -m tests.mutants $(ARGS)
