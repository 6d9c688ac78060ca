# Everything sets itself up: `make run` and `make test` need Python 3.11 or newer, make and git, nothing else.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count())' 2>/dev/null || echo 2)
STUDY ?= quick
override STUDY := $(value STUDY)# as it was typed: nothing in it is run, by make or by a shell
export STUDY
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup named known run test test-slow slurm-test fuzz lint golden format schema dry-run report bench adopt lock clean
.DEFAULT_GOAL := help

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

setup: $(VENV)/installed ## the environment in .venv, from requirements.lock with hashes

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "layerwise: $$($(PYTHON) --version) is too old; install Python 3.11 or newer, or say make PYTHON=..." >&2; exit 1; }
	@echo "== environment: $(VENV) (about 6 GB on Linux, where torch brings CUDA; a few minutes, once)"
	$(PYTHON) -m venv $(VENV)
	@# uv, at the hash that the lock has, installs the rest in a few minutes where pip takes ten
	@awk '/^uv==/ {on = 1; print; next} /^[^ ]/ {on = 0} on' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

named:
	@[[ "$$STUDY" =~ ^[A-Za-z0-9_-]+$$ ]] \
	  || { printf "layerwise: STUDY=%q: name one study, such as STUDY=quick for studies/quick.yaml\n" "$$STUDY" >&2; exit 1; }

known: named
	@[[ -f "studies/$$STUDY.yaml" ]] \
	  || { echo "layerwise: STUDY=$$STUDY: no file studies/$$STUDY.yaml; there are: $$(cd studies && echo *.yaml)" >&2; exit 1; }

run: known setup ## run a study: make run [STUDY=quick] [CORES=2]
	@echo "== study $$STUDY on $(CORES) cores; what is already made is left alone"
	@start=$$SECONDS; snakemake --cores $(CORES) --quiet reason host -- "$$STUDY" \
	  && echo "== done in $$((SECONDS - start)) s: results/$$STUDY/report.html, verdicts.csv, fits.csv, tables/, figures/"

test: setup ## the default tests, under 15 minutes on 2 cores
	@echo "== tests (make test-slow has the long ones)"
	pytest -n $(CORES) -m "not slow and not gpu"

test-slow: setup ## longer tests of the workflow: kills, failures, DVC
	pytest -n $(CORES) -m slow

slurm-test: setup ## a study on a real SLURM that is started here: needs slurm-wlm, munge and root, else it says so
	pytest tests/slurm

lint: setup ## ruff, snakefmt, snakemake --lint, mypy, and whether golden fits vouch for the code
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	snakemake --lint
	mypy
	python -m layerwise golden --check

fuzz: setup ## studies, words of verbs, records and estimators at random, many times what the default tests try
	LAYERWISE_FUZZ=$${LAYERWISE_FUZZ:-1500} pytest -n $(CORES) tests/fuzz

golden: setup ## fit the golden set, and vouch for code that gives the same weights, or raise its revision
	python -m layerwise golden

format: setup ## write the code as lint wants it
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow/rules

schema: setup ## the JSON schema of study files, from the options of all plugins: editors check studies by it
	python -m layerwise.study.json_schema

dry-run: setup ## what every study would do; a draft, which git does not know, is named where it is not right
	@bad=0; for study in studies/*.yaml; do name=$$(basename "$$study" .yaml); echo "== $$name"; \
	  if snakemake --cores 1 --dry-run --quiet all -- "$$name" > .dry-run.log 2>&1; \
	  then awk '/^Job stats/ {on = 1} on && /^$$/ {exit} on' .dry-run.log; \
	  else git ls-files --error-unmatch "$$study" > /dev/null 2>&1 && bad=1 || echo "a draft, skipped:"; \
	  grep -m 1 '^layerwise: ' .dry-run.log || tail -n 1 .dry-run.log; fi; done; rm -f .dry-run.log; exit $$bad

report: known setup ## Snakemake's own report of a study, in report.zip
	snakemake --report report.zip -- "$$STUDY"

bench: known setup ## speed as ratios to named peers, and a study timed from nothing
	python bench/methods.py
	python bench/ridge.py
	python bench/lenses.py --data-root "$${LAYERWISE_DATA_ROOT:-data}"
	python bench/platonic.py --data-root "$${LAYERWISE_DATA_ROOT:-data}"
	python bench/dgl.py --data-root "$${LAYERWISE_DATA_ROOT:-data}"
	python bench/partitions.py
	python bench/study.py "$$STUDY" --cores $(CORES)

adopt: known setup ## dvc pull, then let Snakemake take the files as its own
	bash workflow/adopt.sh "$$STUDY"

lock: setup ## requirements.in to requirements.lock, with hashes and without naming a host
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 requirements.in -o requirements.lock

clean: named ## remove the results of a study: make clean STUDY=quick
	rm -rf "results/$$STUDY" "logs/$$STUDY" "benchmarks/$$STUDY"
