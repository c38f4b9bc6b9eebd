# The two commands of the README are `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
EXTENSION_SOURCES := $(shell find labextension/src labextension/style labextension/schema -type f 2>/dev/null) \
	labextension/package.json labextension/package-lock.json labextension/tsconfig.json
# Node may come from the PyPI wheel in the virtual environment; everything below finds either.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv demo lab test needs lint format types imports pytest bench soak clean

help: ## Show this list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

venv: $(STAMP) ## Make .venv with the package and its test needs.

$(STAMP): pyproject.toml labextension/package.json labextension/package-lock.json
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -c "import sys; sys.path.insert(0, 'labextension'); import node; sys.exit(not node.system_node_is_usable())" \
		|| $(BIN)/python -m pip install --quiet "$$($(BIN)/python labextension/node.py)"
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $(STAMP)

# A change of the TypeScript is built again; an editable install links to the result.
$(VENV)/.extension: $(STAMP) $(EXTENSION_SOURCES)
	cd labextension && { test -d node_modules || npm ci; } && npm run --silent build:prod
	$(BIN)/jupyter-builder develop --overwrite . >/dev/null
	touch $@

demo: $(VENV)/.extension ## Run the quickstart notebook headless, through a real Jupyter server and kernel.
	$(BIN)/python notebooks/run_headless.py notebooks/01_quickstart.ipynb --output notebooks/out

lab: $(VENV)/.extension ## Open JupyterLab with the notebooks.
	$(BIN)/jupyter lab --notebook-dir notebooks --ServerApp.ip=127.0.0.1 $(shell test "$$(id -u)" = 0 && echo --allow-root)

test: $(VENV)/.extension needs lint types imports pytest ## Everything that must be green.

needs: ## What the tests need beyond pip: installed as root with apt, else listed.
	@$(PYTHON) tests/needs.py

lint: $(VENV)/.extension
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd labextension && npm run --silent lint && npm test --silent

format: $(VENV)/.extension ## Format all sources.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd labextension && npm run --silent lint:fix

types: $(VENV)/.extension
	$(BIN)/mypy

imports: $(VENV)/.extension
	$(BIN)/lint-imports --no-cache

pytest: $(VENV)/.extension
	$(BIN)/python -m pytest --durations=15

soak: $(VENV)/.extension ## The random tests with random seeds and many more examples; every kill point 20 times; 500 cuts.
	RMX_SOAK=1 $(BIN)/python -m pytest tests/ground tests/second/control $(wildcard tests/faces/test_schemathesis.py) \
		tests/first/transports/test_cuts.py tests/first/transports/test_pool_model.py

bench: $(VENV)/.extension ## Measure; see tests/bench.
	$(BIN)/python tests/bench/start.py
	$(BIN)/python tests/bench/dead_peer.py
	$(BIN)/python tests/bench/control.py
	$(BIN)/python tests/bench/ssh.py
	$(BIN)/python tests/bench/terminal.py

clean: ## Remove everything that was made here.
	rm -rf $(VENV) labextension/node_modules labextension/lib jupyter_rmx/labextension notebooks/out
