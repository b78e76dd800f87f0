# Two commands do everything, set-up included: `make quickstart` and `make test`. `make site` builds the documentation.
# The virtual environment is made with uv where there is one, else with pip, and again when pyproject.toml changed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# How many processes the tests are spread over; 0: this one.
JOBS ?= auto
READY := $(VENV)/.ready

.PHONY: quickstart test check site clean

quickstart: $(READY)
	$(BIN)/dfndr quickstart --out quickstart

test: $(READY)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(ARGS)

check: $(READY)
	./check

site: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(READY): pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		echo "Making $(VENV) with uv" && uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[all,dev]'; \
	else \
		echo "Making $(VENV) with pip (uv would be faster)" && $(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]'; \
	fi
	@touch $@

clean:
	rm -rf $(VENV) quickstart site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
