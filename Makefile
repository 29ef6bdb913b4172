# Every target sets itself up: it makes .venv from requirements.lock when that is missing or older.
# Needs git, make and Python 3.11, 3.12 or 3.13; nothing else has to be installed.

BIN := .venv/bin
STAMP := .venv/.installed
PEER_STAMP := .venv-peer/.installed
FUZZ_STAMP := .venv-fuzz/.installed
RUN ?= quick

FIND_PYTHON = for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done

.PHONY: help demo params-given run test test-slurm lint study lab report format fuzz fuzz-env soak peer bench bench-peer full-size

help:
	@echo "make demo                       phantom, training, sampling, evaluation, report (15 to 35 minutes on 2 cores)"
	@echo "make run PARAMS=params/x.yaml   the same for any parameters; DATA=folder CORES=n NAME=run PROFILE=slurm"
	@echo "make report RUN=quick           write the report of a run anew"
	@echo "make study RUN=quick            the reading room: a blinded study of a run's clips, on this machine"
	@echo "make lab                        open the notebooks in JupyterLab"
	@echo "make test                       lint, types, tests, and all notebooks at their smallest"
	@echo "make test-slurm                 a run through a real Slurm on this machine, disturbed on the way"
	@echo "make soak KILLS=20              kill the smallest run so often, and compare with an undisturbed one"
	@echo "make bench                      how fast this machine runs every part; bench-peer: beside imagen-pytorch"
	@echo "make full-size CASCADE=2scm     one clip through the paper's networks, untrained, with the paper's steps;"
	@echo "                                PRECISION=bf16 (half an hour to two hours on two cores)"
	@echo "make fuzz EXAMPLES=20000 SECONDS=120   damaged tables, parameters, DICOM and AVI files: so many of"
	@echo "                                each, then led by coverage, so long for each"
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
	@$(BIN)/echocascade run "$(PARAMS)" $(if $(DATA),--data "$(DATA)") $(if $(CORES),--cores $(CORES)) $(if $(NAME),--name "$(NAME)") $(if $(PROFILE),--profile "$(PROFILE)")

report: $(STAMP)
	@$(BIN)/echocascade report "$(RUN)"

study: $(STAMP)
	@$(BIN)/echocascade study create "$(RUN)" --if-needed
	@$(BIN)/echocascade study serve "$(RUN)" $(if $(PORT),--port $(PORT))

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

# FORKS starts forks of the process that tests it, which wait for ever in some orders of the test files
# before it: it gets a process of its own. The others run beside each other, a file in one process.
FORKS := tests/faults/test_training_faults.py
test: lint
	$(BIN)/python -m pytest $(FORKS)
	$(BIN)/python -m pytest --ignore $(FORKS) --numprocesses logical --maxprocesses 2 --dist loadfile --max-worker-restart 0

test-slurm: $(STAMP)
	@if ! command -v slurmctld >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
			--no-install-recommends slurmctld slurmd slurm-client munge \
		|| echo "Slurm's packages cannot be had here"; fi
	ECHOCASCADE_SLURM=1 $(BIN)/python -m pytest -rs tests/slurm

# environments of their own (peer, fuzz): they see .venv's packages and change none of them
.venv-%/.installed: requirements-%.lock $(STAMP)
	$(BIN)/python -m venv .venv-$*
	@$(BIN)/python -c 'import pathlib, sysconfig; here = sysconfig.get_path("purelib"); \
		there = next(pathlib.Path(".venv-$*").glob("lib/python*/site-packages")); \
		(there / "venv.pth").write_text(f"import site; site.addsitedir({here!r})\n")'
	.venv-$*/bin/python -m pip install --disable-pip-version-check --no-deps --requirement requirements-$*.lock
	@touch $@

peer: $(PEER_STAMP)

bench: $(STAMP)
	$(BIN)/echocascade bench

bench-peer: $(PEER_STAMP)
	$(BIN)/echocascade bench --peer imagen-pytorch

full-size: $(STAMP)
	ECHOCASCADE_FULL_SIZE=$(or $(CASCADE),2scm):$(PRECISION) $(BIN)/python -m pytest -rs -s tests/cascade/test_full_size.py -k papers_networks

soak: $(STAMP)
	ECHOCASCADE_SOAK=$(or $(KILLS),20) $(BIN)/python -m pytest -rs -s tests/soak

fuzz: $(STAMP)
	ECHOCASCADE_FUZZ=$(or $(EXAMPLES),20000) $(BIN)/python -m pytest tests/faults/test_fuzzing.py
	@if $(MAKE) --no-print-directory fuzz-env; then \
		.venv-fuzz/bin/python -W ignore tests/faults/guided.py --seconds $(or $(SECONDS),120); \
	else echo "atheris cannot be had here: fuzzing that is led by coverage is left out" >&2; fi

fuzz-env: $(FUZZ_STAMP)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
