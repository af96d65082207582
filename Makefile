SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PRODUCT := coordinator interop governance alerts executions outbox releases tenancy embedded foundation pipelines coordinator_client wire
# A run starts hundreds of Python processes. Without bytecode, each compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE
# Enough for Django to load its settings. Nothing listens there: these checks need no server.
UNCONNECTED := SECRET_KEY=only-for-checks-that-connect-to-nothing-and-sign-nothing WORKER_SECRET=only-for-checks-that-connect-to-nothing \
	DATABASE_URL=postgresql://nobody@127.0.0.1:1/nothing REDIS_URL=redis://127.0.0.1:1/0

.PHONY: help setup demo test test-all mutants recovery bench costs docs screenshots check format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the product and the servers of the demo into .venv (other targets add their tools)
	@./bootstrap

demo: setup ## Start everything on this machine and run the demo; KEEP=1 keeps its data in .local/demo
	@$(BIN)/python -m embedded.demo $(if $(KEEP),--keep)

test: ## Prove every promise of the product, with the costs and ten mutants
	@./bootstrap test browser
	@.ci/install-chromium
	@$(BIN)/python -m tests

test-all: ## Run the other tests in parts; PART='browser deploy' chooses
	@./bootstrap test
	@$(BIN)/python -m tests $(or $(PART),all)

mutants: ## Try small faults, which the tests must notice; MUTANTS='locks-3 api' chooses (docs/contributing/mutants.md)
	@./bootstrap test stores
	@.ci/install-azurite
	@$(BIN)/python -m tests.mutants $(MUTANTS)

recovery: ## Kill processes at random under load and judge what became of it; SEED=7 EXECUTIONS=500
	@./bootstrap test
	@$(BIN)/python -m tests.parts.recovery.campaign $(if $(SEED),--seed $(SEED)) $(if $(EXECUTIONS),--executions $(EXECUTIONS))

bench: ## Measure the product against its peers, or AGAINST=COMMIT; PART='batch growth' chooses (see docs/contributing/performance.md)
	@./bootstrap test
	@$(BIN)/python -m benchmarks $(PART) $(if $(AGAINST),--against '$(AGAINST)') $(BENCH_ARGS)

costs: ## Count what each kind of work costs, and compare with benchmarks/costs.toml (docs/contributing/costs.md)
	@./bootstrap test
	@$(BIN)/python -m benchmarks.costs $(ARGS)

docs: ## Build the documents into site/, with search; open site/index.html
	@./bootstrap docs
	@# Material would print when its support ends.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

screenshots: ## Take pictures of every page of the admin, in four ways, into screenshots/, and renew those of the documents
	@./bootstrap test browser
	@.ci/install-chromium
	@TEST_THOROUGH=1 $(BIN)/python -m pytest -q tests/parts/browser/test_screenshots.py

check: ## Format, lint, types, layers, migrations, settings, lock file, dependencies, security
	@./bootstrap check
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
	$(BIN)/deptry wire coordinator_client pipelines --config distributions/durable-pipelines/pyproject.toml
	PATH="$$PWD/.boot/bin:$$PATH" UV_PYTHON_DOWNLOADS=never uv lock -q --check

format: ## Format the code and mend what ruff can mend
	@./bootstrap check
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove what the other targets made, .venv too
	@rm -rf .venv .boot .local dist site staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
