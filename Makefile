# Two commands are all a newcomer needs: `make demo` and `make test`. Both install what is missing into .venv/.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help install demo test browser check docs lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## everything into .venv/, from the hashed lock

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; name it with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP)  ## the whole product on this machine, with no account
	@$(BIN)/pointsman demo

# `auto` is three workers for two cores: tests/conftest.py says why.
test: $(STAMP) browser  ## all tests
	$(BIN)/python -m pytest -n auto --dist worksteal

# The console is tested in a real browser, which pip cannot install. In CI it is installed where that can be done; anywhere
# else those tests are skipped without one, and say so.
browser:
	@if [ "$$CI" = true ] && ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; } >/dev/null || \
			echo "no Chromium can be installed here" >&2; \
	fi

check: $(STAMP)  ## lint, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/channel-smtp/src
	$(BIN)/lint-imports

docs: $(STAMP)  ## the documentation as a site, in build/docs/
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs
	@echo build/docs/index.html

lock:  ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --group dev --group bench \
		--no-header pyproject.toml -o requirements.lock

clean:  ## remove what was installed and cached
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
