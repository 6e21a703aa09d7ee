# Each target does its own set-up on a fresh clone; `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t16

up: .venv/.worker ## install everything and start the whole system
	$(BIN)/klein up

test: .venv/.dev ## run every test that needs no GPU, with coverage (T=path: one folder, file or test)
	$(BIN)/pytest $(or $(T),--numprocesses 2 --dist loadfile --cov --cov-report=term:skip-covered)

test-unit: .venv/.dev ## run the fast tests, which load no engine and start no process
	$(BIN)/pytest tests/unit

# Debian's; without them the tests that use them are skipped and say so
TOOLS := chromium:chromium promtool:prometheus
tools: ## install Debian packages that some tests use (as root): a browser, promtool
	@missing=; for tool in $(TOOLS); do command -v $${tool%:*} >/dev/null || missing="$$missing $${tool#*:}"; done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; \
	else echo "not installed:$$missing (needs root and apt-get)"; fi

check: .venv/.dev ## lint, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv/.dev ## check the pinned dependencies for known vulnerabilities
	@$(BIN)/python -m tests.support.audit

fmt: .venv/.dev ## format, and apply ruff's fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench-serving: .venv/.dev ## measure the overhead of serving, into docs/serving.md
	$(BIN)/python -m benchmarks.serving

bench-engine: .venv/.dev ## compare the engine with plain diffusers, into docs/performance.md
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.backlog
	$(BIN)/python -m benchmarks.several

bench-scaling: .venv/.dev ## measure the throughput of 1 to 8 workers, into docs/performance.md
	$(BIN)/python -m benchmarks.scaling

bench-page: .venv/.dev ## measure the page in a browser and take its screenshots, into docs/page.md
	$(BIN)/python -m benchmarks.page

chaos: .venv/.dev ## kill and pause processes at random under load, and check every promise (MINUTES=30 SEED=1 WORKERS=2)
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1) --workers $(or $(WORKERS),2)

fuzz: .venv/.dev ## feed generated input to every parser, with new seeds (MINUTES=10)
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

soak: .venv/.dev ## run mixed predictions and measure the memory, into docs/performance.md (REQUESTS=1000)
	$(BIN)/python -m tests.support.soak --requests $(or $(REQUESTS),1000)

weights: .venv/.dev ## train the built-in model (2½ hours on two CPU cores)
	$(BIN)/python -P -m worker.weights.recipe --out worker/weights/builtin --resume

lock: .venv/.dev ## update requirements.lock from pyproject.toml
	$(BIN)/pip-compile --all-extras --strip-extras --quiet --upgrade --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --output-file requirements.lock pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' requirements.lock

.venv/.%: requirements.lock pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "installing klein and what it needs: a minute or two …"
	$(BIN)/pip install --disable-pip-version-check --constraint requirements.lock --editable '.[$(EXTRAS)]'
	@touch $@
.venv/.worker: EXTRAS = worker
.venv/.dev: EXTRAS = telemetry,worker,dev

.PHONY: help up test test-unit audit tools check fmt bench-serving bench-engine bench-scaling bench-page chaos fuzz soak weights lock
