# `make reproduce` and `make test` are all a newcomer needs; each makes .venv if it is not there.
PYTHON ?= python3.11
PLAN ?= demo
DATA ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PLAIN := build/plain

.DEFAULT_GOAL := help
.PHONY: help setup format check test test-slow reproduce hub-demo clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12
	@echo 'WORKERS=N tests in N processes of up to 5 GB each, 0 in this one.'
	@echo 'PLAN=demo, or another of recipes/plans, for reproduce; DATA=FOLDER real images for it.'

setup: $(DEV)  ## Make .venv with everything that development needs

$(RUNTIME): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(DEV): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

format: $(DEV)  ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(DEV)  ## Lint, types, import contracts, sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/sizes.py

test: $(DEV)  ## All tests but the long ones: minutes, and no Slurm, browser or network
	$(BIN)/python -m pytest -m 'not slow' --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

test-slow: $(DEV)  ## The long tests: complete plans, kills, Slurm, a browser
	$(BIN)/python -m pytest -m slow --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

reproduce: $(RUNTIME)  ## Run all arms of PLAN and write its report
	$(BIN)/cxrssl reproduce $(PLAN) $(if $(DATA),--set data.source=$(DATA))

hub-demo: reproduce $(PLAIN)/.made  ## Push PLAN's networks to a Hub here, pull them without cxrssl
	$(BIN)/python tests/hub_demo.py runs/$(PLAN) $(PLAIN)/bin/python

$(PLAIN)/.made: constraints.txt
	$(PYTHON) -m venv --clear $(PLAIN)
	$(PLAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt timm torch torchvision transformers
	touch $@

clean:  ## Delete .venv, runs and build products
	rm -rf $(VENV) runs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
