# One command each; everything installs into .venv, pinned by hash.
PYTHON ?= python3
BIN := .venv/bin
LOCK := $(if $(shell nvidia-smi -L 2>/dev/null),requirements-cuda.lock,requirements.lock)
# uv takes a tenth of pip's time; where it finds no index, since only pip was told of one, pip does it.
install = $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement $(1) || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(1)
# Where it is set, as in many images, each process compiles each module anew: seconds of each test of real processes.
unexport PYTHONDONTWRITEBYTECODE
SOURCES := digitjax experiments serve tests

.DEFAULT_GOAL := help
.PHONY: help setup dev train evaluate serve test torture bench bench-setup bench-serve bench-gpu docker check slow fonts docs experiments lint lock pretrained scoreboard clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.ready  ## Make .venv with what training and serving need, pinned (JAX's CUDA build where a CUDA GPU is)

.venv/.ready: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; ok = sys.version_info >= (3, 11); sys.exit(None if ok else f"digitjax needs Python 3.11 or later; $(PYTHON) is {sys.version.split()[0]}: name another with make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	awk '/^(setuptools|uv)==/ {found = 1} found; !/\\$$/ {found = 0}' requirements-dev.lock > .venv/tools.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/tools.txt
	$(call install,$(LOCK))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

dev: .venv/.dev  ## And with what tests, experiments and exports need

.venv/.dev: .venv/.ready requirements-dev.lock
	$(call install,requirements-dev.lock)
	touch $@

train: setup  ## Train the default recipe into outputs/; ARGS='--recipe quick' and the like
	$(BIN)/digitjax train $(ARGS)

evaluate: setup  ## Score the model in outputs/
	$(BIN)/digitjax evaluate $(ARGS)

serve: setup  ## Serve the pretrained model on port 8000; settings: python -m serve --help
	$(BIN)/python -m serve

test: dev  ## The laws, in a few minutes
	$(BIN)/pytest -n 2 -m 'not slow' $(ARGS)

lint: dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/basedpyright
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -W error -m experiments.docs

slow: dev  ## The slow tests: real processes, full runs, the notebook; each file's by one worker
	$(BIN)/pytest -n 2 --dist loadfile -m slow $(ARGS)

torture: dev  ## Try hostile clients, damaged files, kills and full disks, and print what held
	$(BIN)/python -m experiments.torture

check: lint test slow  ## What CI runs: lint, types, the laws, and the slow tests

fonts: experiments/fonts/node_modules/.ready  ## Fetch the handwriting fonts that the recipe reader learns from, by npm

experiments/fonts/node_modules/.ready: experiments/fonts/package-lock.json
	@command -v npm >/dev/null || { echo "the fonts come by npm, which is not here: install Node.js"; exit 1; }
	cd experiments/fonts && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

pretrained: dev fonts  ## Make digitjax/weights/ anew: the reader of digits and that of lines (three hours)
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python -m experiments.pretrained

scoreboard: dev fonts  ## Make every figure of the README anew
	$(BIN)/python -m experiments.scoreboard $(ARGS)
	$(BIN)/python -m experiments.reading --split test --gallery experiments/results/reading_errors.png
	$(BIN)/python -m experiments.exports

experiments: dev  ## Answer the questions of experiments/ anew, or go on where that stopped (3 hours on two cores)
	set -e; for what in "classic --seeds 3" "small --seeds 3" ablation tune crossval ensemble best label_errors transfer; do $(BIN)/python -m experiments.$$what; done

bench-setup:  ## Install the peers that bench measures against, into .venv-peers
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement experiments/bench/peers.txt

bench: dev  ## Time digitjax beside PyTorch, Keras, ONNX Runtime and tinygrad (more than an hour)
	$(BIN)/python -m experiments.bench $(ARGS)

bench-serve: dev  ## Time the service beside FastAPI, LitServe and its own no-op route (20 minutes)
	$(BIN)/python -m experiments.bench.serving $(ARGS)

bench-gpu:  ## Time digitjax on a GPU, by .venv where it is, else by PYTHON; ARGS=--quick for a small run anywhere
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m experiments.bench.gpu $(ARGS)

docs: dev  ## Make the reference of public functions, build/docs/index.html
	$(BIN)/python -W error -m experiments.docs

compile = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: dev  ## Renew the pins: what all install, on a CUDA machine too, and what developers install beside it
	$(compile) --extra dev --upgrade --output-file requirements-dev.lock
	$(compile) --constraint requirements-dev.lock --output-file requirements.lock
	$(compile) --constraint requirements-dev.lock --extra cuda --output-file requirements-cuda.lock

docker:  ## Build the image of the service; a CUDA machine: make docker ARGS='--build-arg LOCK=requirements-cuda.lock'
	docker build --tag digitjax $(ARGS) .

clean:  ## Remove what setup and the tests made; outputs/ stays
	rm -rf .venv .venv-peers .pytest_cache .ruff_cache .hypothesis build *.egg-info
