# Every target sets itself up: it makes .venv from requirements.lock when that is missing or older.
# Needs git, make and Python 3.11, 3.12 or 3.13; nothing else has to be installed.

BIN := .venv/bin
STAMP := .venv/.installed
RUN ?= quick

FIND_PYTHON = for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done

.PHONY: help demo params-given run test lint lab report format

help:
	@echo "make demo                       phantom, training, sampling, evaluation, report (about a quarter of an hour on 2 cores)"
	@echo "make run PARAMS=params/x.yaml   the same for any parameters; DATA=folder CORES=n NAME=run"
	@echo "make report RUN=quick           write the report of a run anew"
	@echo "make lab                        open the notebooks in JupyterLab"
	@echo "make test                       lint, types, tests, and all notebooks at their smallest"
	@echo "make lint | make format         check, or repair, the style of the code"

$(STAMP): requirements.lock pyproject.toml
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "echocascade needs Python 3.11, 3.12 or 3.13; python3 is $$(python3 --version 2>&1)" >&2; exit 2; fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make environments: install its venv module (Debian: apt install python3-venv)" >&2; exit 2; fi; \
	if [ ! -x $(BIN)/python ]; then echo "making .venv with $$($$python --version)"; $$python -m venv .venv; fi
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/echocascade run params/quick.yaml $(if $(CORES),--cores $(CORES))

# a mistyped name should not cost an installation first
params-given:
	@if [ ! -f "$(PARAMS)" ]; then \
		echo "no parameters file '$(PARAMS)'; for example: make run PARAMS=params/quick.yaml" >&2; exit 2; fi

run: params-given $(STAMP)
	@$(BIN)/echocascade run "$(PARAMS)" $(if $(DATA),--data "$(DATA)") $(if $(CORES),--cores $(CORES)) $(if $(NAME),--name "$(NAME)")

report: $(STAMP)
	@$(BIN)/echocascade report "$(RUN)"

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

test: lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
