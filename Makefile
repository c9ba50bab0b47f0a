# Everything a person runs. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
# The quickest there is: builds without profile-guided optimisation, as version managers make them, take a third longer.
SUITABLE := import sys, timeit, venv, ensurepip; (3, 11) <= sys.version_info[:2] < (3, 14) and print( \
  min(timeit.repeat("for i in range(30000): d[str(i)] = [i]", "d = {}", number=1, repeat=5)), sys.executable)
PYTHON ?= $(shell for p in $$(type -aP python3.12 python3.11 python3.13 python3); do $$p -c '$(SUITABLE)' 2>/dev/null; done \
  | sort -g | head -n 1 | cut -d " " -f 2-)
export VAR PORT DETACH DATABASE_URL REDIS_URL

.PHONY: help setup demo stop test check format vectors bench manage servers clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## create the environment from the lock file

$(VENV)/.ready: pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "Metergate needs Python 3.11, 3.12 or 3.13 with venv; install one and try again."; exit 1; }
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@$(PY) -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) UV_PROJECT_ENVIRONMENT=$(VENV) $(VENV)/bin/uv sync --frozen --quiet --inexact --python $(PY)
	@touch $@

demo: setup  ## run a merchant with customers, usage and invoices (PORT=, VAR=, DETACH=1)
	@exec $(PY) -m config.stack demo

stop: setup  ## stop a detached demo (VAR=)
	@$(PY) -m config.stack stop

test: setup check  ## all checks and all tests
	$(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

check: setup  ## format, lint, types, import order, missing migrations
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) manage.py makemigrations --check --dry-run --skip-checks
	@if docker compose version >/dev/null 2>&1; then docker compose config -q && echo "docker-compose.yml is valid"; \
	else echo "docker compose is not installed: its own config check is skipped, a test reads the file instead"; fi

format: setup  ## format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

vectors: setup  ## run numeric vectors (FILE=path.json)
	@test -n "$(FILE)" || { echo "Name the file: make vectors FILE=path.json"; exit 2; }
	@$(PY) -m tests.vectors.run "$(FILE)"

bench: setup  ## measure ingest, period close, usage answers and the event log
	$(PY) -m bench

manage: setup  ## run a management command on the demo's data (ARGS="import_events …")
	@$(PY) -m config.stack run -- $(PY) manage.py $(ARGS)

servers: setup  ## run only the embedded PostgreSQL and Valkey and print their addresses
	@exec $(PY) -m config.stack servers

clean:  ## remove the environment and the caches, not the data in var/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
