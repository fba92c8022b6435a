# Each target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CONFIG ?= serve_config.yaml
EXTRA  ?=

.DEFAULT_GOAL := help
.PHONY: help serve test test-gpu bench lint format smoke clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# One stamp file per extra: pip runs again only when pyproject.toml changed.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@touch $@

$(VENV)/.serve$(EXTRA): $(VENV)/.made pyproject.toml
	$(BIN)/pip install --quiet --editable '.$(if $(EXTRA),[$(EXTRA)])'
	@touch $@

$(VENV)/.test: $(VENV)/.serve pyproject.toml
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

$(VENV)/.bench: $(VENV)/.serve pyproject.toml
	$(BIN)/pip install --quiet --editable '.[bench]'
	@touch $@

$(VENV)/.lint: $(VENV)/.test pyproject.toml
	$(BIN)/pip install --quiet --editable '.[lint]'
	@touch $@

serve: $(VENV)/.serve$(EXTRA)  ## the service on port 8000 (on a GPU: EXTRA=gpu CONFIG=configs/one_gpu.yaml)
	RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.request_id:middlewares $(BIN)/serve run $(CONFIG)

test: $(VENV)/.test  ## install the test extra and run the tests
	$(BIN)/python -m pytest -m 'not gpu'

test-gpu:  ## the tests that need a GPU, with the TensorRT and PyCUDA of the Python at hand
	$(PYTHON) -m pytest -m gpu

bench: $(VENV)/.bench  ## what the service costs on this CPU, and what batching costs
	$(BIN)/python -m benchmarks.cpu
	RAY_SERVE_THROUGHPUT_OPTIMIZED=1 $(BIN)/python -m benchmarks.batching

lint: $(VENV)/.lint  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

smoke: $(VENV)/.serve  ## start `make serve`, ask it the README's question, stop it
	bash .ci/smoke

clean:  ## remove what these targets made
	rm -rf $(VENV) build *.egg-info
