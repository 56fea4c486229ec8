# Two commands for a fresh machine with Python 3.11 to 3.13 (with venv) and make: `make demo`, `make test`.
PYTHON ?= python3
BIN    := .venv/bin
STAMP  := .venv/.installed

.PHONY: demo test check unit gate docs lock clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	@$(BIN)/edgekit compress zoo:digits-cnn --recipe int8 --target cpu-litert --data digits --out build/demo --force

test: check unit

# The cheap checks first: style, types, layers, generated documents.
check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/make_docs.py --check

# What is timed runs alone, and so does what fakes a whole machine; the rest on two cores.
ALONE := tests/contract/test_contract_startup.py tests/unit/devices
unit: $(STAMP)
	$(BIN)/pytest $(ALONE)
	$(BIN)/pytest -n 2 --dist worksteal $(addprefix --ignore=,$(ALONE))

# The project's own models against their limits and baselines.
gate: $(STAMP)
	$(BIN)/edgekit check --project .ci --quiet

docs: $(STAMP)
	$(BIN)/python tools/make_docs.py

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "edgekit needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing what requirements.lock pins into .venv (about 700 MB, a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

# Run after a change of the dependencies in pyproject.toml; needs `pip install uv`.
lock:
	uv pip compile pyproject.toml --extra all --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --upgrade --quiet -o requirements.lock

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
