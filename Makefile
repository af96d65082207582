SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PRODUCT := coordinator interop alerts executions releases tenancy embedded foundation pipelines wire
# A run starts hundreds of Python processes. Without bytecode, each compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE
# Processes that share the servers that the run starts: one more than two cores, because many tests mostly wait.
PYTEST_ARGS ?= -n 3
# Enough for Django to load its settings. Nothing listens there: these checks need no server.
UNCONNECTED := SECRET_KEY=only-for-checks-that-connect-to-nothing-and-sign-nothing WORKER_SECRET=only-for-checks-that-connect-to-nothing \
	DATABASE_URL=postgresql://nobody@127.0.0.1:1/nothing REDIS_URL=redis://127.0.0.1:1/0

.PHONY: help setup demo test mutants recovery bench costs screenshots check format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install everything into .venv (the other targets do it too)
	@./bootstrap

demo: setup ## Start everything on this machine and run the demo
	@$(BIN)/python -m embedded.demo

test: setup ## Run every test against real servers, and ten mutants; PYTEST_ARGS='-k pin' chooses
	@.ci/install-chromium
	@.ci/install-archive-readers
	@.ci/install-nginx
	@.ci/install-pgbouncer
	@.ci/install-promtool
	@.ci/install-deploy-tools
	@.ci/install-registry
	@.ci/install-typescript
	@.ci/install-azurite
	@$(BIN)/python -m pytest $(PYTEST_ARGS)
	@# A run of chosen tests proves nothing about the tests of these.
	$(if $(filter file,$(origin PYTEST_ARGS)),@$(BIN)/python -m tests.mutants --today)

mutants: setup ## Try small faults, which the tests must notice; MUTANTS='locks-3 api' chooses (docs/mutants.md)
	@$(BIN)/python -m tests.mutants $(MUTANTS)

recovery: setup ## Kill processes at random under load and judge what became of it; SEED=7 EXECUTIONS=500
	@$(BIN)/python -m tests.recovery.campaign $(if $(SEED),--seed $(SEED)) $(if $(EXECUTIONS),--executions $(EXECUTIONS))

bench: setup ## Measure the product against its peers; PART='batch growth' chooses (see docs/performance.md)
	@$(BIN)/python -m benchmarks $(PART) $(BENCH_ARGS)

costs: setup ## Count what each kind of work costs, and compare with benchmarks/costs.toml (docs/costs.md)
	@$(BIN)/python -m benchmarks.costs $(ARGS)

screenshots: setup ## Take pictures of every page of the admin, into screenshots/
	@.ci/install-chromium
	@$(BIN)/python -m pytest -q tests/browser/screenshots.py

check: setup ## Format, lint, types, layers, migrations, settings, lock file, dependencies, security
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m tests.public_names
	$(UNCONNECTED) $(BIN)/mypy
	$(BIN)/lint-imports
	@# The warning says that no database could be asked which migrations it has, and none is meant to be.
	$(UNCONNECTED) $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(BIN)/bandit -q -ll -r $(PRODUCT)
	.ci/audit
	HSTS_SUBDOMAINS=true HSTS_PRELOAD=true $(UNCONNECTED) $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(BIN)/deptry .
	$(BIN)/deptry wire pipelines --config distributions/durable-pipelines/pyproject.toml
	PATH="$$PWD/.boot/bin:$$PATH" UV_PYTHON_DOWNLOADS=never uv lock -q --check

format: setup ## Format the code and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove what the other targets made, .venv too
	@rm -rf .venv .boot .local dist staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
