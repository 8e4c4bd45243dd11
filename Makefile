# Toubao. `make` alone says what there is.
.DEFAULT_GOAL := help
.PHONY: help demo up test fuzz storm faults bench bench-handwriting setup lint types format contracts web lock clean
SHELL := /bin/bash
BIN := .venv/bin
# How many processes share the tests.
JOBS ?= 2
OURS := contracts servicekit products services gateway deploy examples tests

help: ## what can be made (this)
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 20
	@echo
	@echo "  make demo ONCE=1               one customer, then everything stops; exits with the journey's status"
	@echo "  make demo TOUBAO_STORE=mongodb the same over the MongoDB wire protocol (default: sqlite)"
	@echo "  NATS_URL=nats://... make demo  with a bus of yours instead of one of its own"
	@echo "  TOUBAO_PORT_BASE=23000 make demo"
	@echo "  make up PROMETHEUS=1           with Prometheus, its rules and a page of the main figures"
	@echo "  make bench ONLY=bus            one part: bus, store, journeys or signatures"
	@echo "  make storm STORE=mongodb       JOURNEYS, KILLS_EVERY (seconds) and SEED likewise"
	@echo "  make bench JOURNEYS=5000       many: whether cost and memory stay as they were"

demo: ## run everything and pass one customer from proposal to policies; stays up to try
	@deploy/setup/setup.sh demo $(if $(PROMETHEUS),prometheus)
	@$(MAKE) --no-print-directory var/fonts/fonts.json
	@exec $(BIN)/python -m deploy.local.demo

up: ## run everything, nobody passes; Ctrl-C stops it
	@deploy/setup/setup.sh demo $(if $(PROMETHEUS),prometheus)
	@$(MAKE) --no-print-directory var/fonts/fonts.json
	@exec $(BIN)/python -m deploy.local up

test: ## set up what the tests need and run them all
	@deploy/setup/setup.sh test
	@exec $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST)

fuzz: ## every operation of the API with requests of every shape, EXAMPLES=200 each; prints how they ended
	@deploy/setup/setup.sh test
	@EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest -s tests/hostile/test_openapi.py $(PYTEST)

bench: ## measure journeys, bus and store, some minutes; JSON goes to out/bench
	@deploy/setup/setup.sh test
	@$(MAKE) --no-print-directory var/fonts/fonts.json
	@exec $(BIN)/python -m tests.bench $(ONLY) $(JOURNEYS:%=--journeys %) $(AT_ONCE:%=--at-once %) $(TOUBAO_STORE:%=--store %)

bench-handwriting: ## how often the check of the written name is right, on simulated hands; some minutes
	@deploy/setup/setup.sh test
	@tests/bench/handwriting/fetch.sh
	@exec $(BIN)/python -m tests.bench.handwriting $(NAMES:%=--names %) $(CURVE:%=--curve %)

storm: ## 500 customers while every few seconds something is killed with -9; leaves its result in out/
	@deploy/setup/setup.sh test
	@$(MAKE) --no-print-directory var/fonts/fonts.json
	@exec $(BIN)/python -m tests.faults.storm $(JOURNEYS:%=--journeys %) $(STORE:%=--store %) \
		$(KILLS_EVERY:%=--kills-every %) $(SEED:%=--seed %)

faults: ## every process killed at every step, every fault over both stores: an hour or so
	@deploy/setup/setup.sh test
	@$(MAKE) --no-print-directory var/fonts/fonts.json
	@exec unshare -Urm $(BIN)/python -m pytest tests/faults/exhaustive $(PYTEST)

setup: ## make this machine ready for development
	@deploy/setup/setup.sh dev

lint: ## style, mistakes, and who may import whom
	@deploy/setup/setup.sh test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: ## check types
	@deploy/setup/setup.sh test
	$(BIN)/basedpyright
	gateway/web/run.sh types

format: ## put the code into shape
	@deploy/setup/setup.sh test
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

contracts: ## write docs/contracts anew from contracts/
	@deploy/setup/setup.sh demo
	$(BIN)/python -m contracts.generate

web: ## build the pages anew from gateway/web into gateway/built
	@deploy/setup/setup.sh test
	$(BIN)/python -m gateway.description >gateway/web/openapi.json
	gateway/web/run.sh api
	gateway/web/run.sh types
	gateway/web/run.sh build

lock: ## resolve requirements/*.in into hash-pinned requirements/*.txt
	@deploy/setup/lock.sh

var/fonts/fonts.json: # once a machine: cutting fonts takes longer than starting everything
	@echo "setup: preparing fonts"
	@$(BIN)/python -m servicekit.documents.fonts --into var/fonts

clean: ## remove what runs and checks have left (not the environment)
	rm -rf var out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
