# Each target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CONFIG ?= serve_config.yaml
EXTRA  ?=
# NVIDIA's clients have an environment of their own: they need protobuf < 7, Ray may bring 7.
TRITON ?= .venv-triton

# PyTriton brings a Python backend that loads the system's own libpython: its environment needs that interpreter.
SYSTEM_PYTHON ?= /usr/bin/python3

.DEFAULT_GOAL := help
.PHONY: help serve test test-without-ray test-with-ray fuzz chaos batch-kills soak attack test-gpu gpu-records quantize-test image-test bench peers wrk zoo ptx lint format openapi reference docs smoke dist dist-check licences audit clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# One stamp file per extra: pip runs again only when pyproject.toml changed.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@touch $@

$(VENV)/.serve$(EXTRA): $(VENV)/.made pyproject.toml build_backend.py
	$(BIN)/pip install --quiet --editable '.$(if $(EXTRA),[$(EXTRA)])'
	@touch $@

$(VENV)/.test: $(VENV)/.serve pyproject.toml
	$(BIN)/pip install --quiet --editable '.[test]'
	$(BIN)/pip install --quiet --no-deps 'trackers>=2.6'  # its opencv-python would replace the headless one
	@touch $@

$(VENV)/.bench: $(VENV)/.serve pyproject.toml
	$(BIN)/pip install --quiet --editable '.[bench]'
	@touch $@

$(VENV)/.docs: $(VENV)/.serve pyproject.toml
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

$(VENV)/.lint: $(VENV)/.test pyproject.toml
	$(BIN)/pip install --quiet --editable '.[lint]'
	@touch $@

$(TRITON)/.made: tests/deployments/frontends/open_inference/triton_requirements.txt
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/pip install --quiet --requirement $<
	@touch $@

serve: $(VENV)/.serve$(EXTRA)  ## the service and its page on port 8000 (on a GPU: EXTRA=gpu CONFIG=configs/one_gpu.yaml)
	$(BIN)/azaion serve $(CONFIG)

# Both halves beside each other: those with Ray wait for processes most of the time. In turns: make test-without-ray test-with-ray.
test: $(VENV)/.test $(TRITON)/.made  ## install the test extra and run the tests (eleven minutes on two cores)
	$(MAKE) --jobs 2 --output-sync=target --keep-going WORKERS=1 test-without-ray test-with-ray

WORKERS ?= 2

# Two at a time. Of the Ray that another process started these tests see nothing: its note is in another folder.
test-without-ray: $(VENV)/.test
	@mkdir -p build/without-ray
	RAY_TMPDIR=$(abspath build/without-ray) $(BIN)/python -m pytest -m 'not gpu and not quantize and not ray' -n $(WORKERS) --dist worksteal tests

# One after the other: one Ray is enough for two cores, and finds another one on its host.
test-with-ray: $(VENV)/.test $(TRITON)/.made
	TRITON_PYTHON=$(abspath $(TRITON))/bin/python $(BIN)/python -m pytest -m 'ray and not gpu and not quantize' --ignore=tests/azaion_engine tests

FUZZ ?= --count 100000

fuzz: $(VENV)/.test  ## 100,000 mutated pictures (FUZZ="--seconds 60": fewer) and 5,000 requests, bounds held on each
	$(BIN)/python -m tests.hostile.fuzz $(FUZZ)
	$(BIN)/python -m tests.hostile.fuzz_requests

chaos: $(VENV)/.test  ## kill, pause, replace and stop under load, in both modes, and nodes that join and die (fifteen minutes)
	$(BIN)/python -m tests.chaos
	$(BIN)/python -m tests.chaos.cluster  # --gcs-losses 2 where redis-server is installed

batch-kills: $(VENV)/.test  ## kill `azaion batch` 50 times at random moments: every picture once (three minutes)
	AZAION_BATCH_KILLS=50 $(BIN)/python -m pytest --timeout 3600 tests/azaion_batch/test_on_ray.py -k killed

soak: $(VENV)/.test  ## twenty minutes of load with a fault every thirty seconds: memory, queue and answers
	$(BIN)/python -m tests.chaos.soak

attack: $(VENV)/.test  ## what good clients keep of their rate and p99 under a dozen attacks, in both modes (ten minutes)
	$(BIN)/python -m tests.under_attack

test-gpu:  ## the tests that need a GPU, with the TensorRT and PyCUDA of the Python at hand
	$(PYTHON) -m pytest -m gpu

OUT ?= build/gpu

gpu-records:  ## tests and measurements that need a GPU, into OUT=DIR (RECORDS_ARGS="--limit 600 --steps swap": some of them)
	$(PYTHON) -m benchmarks.gpu --out $(OUT) $(RECORDS_ARGS)

.venv-quantize/.made: pyproject.toml
	$(PYTHON) -m venv .venv-quantize
	.venv-quantize/bin/pip install --quiet --editable '.[quantize,test]'
	@touch $@

quantize-test: .venv-quantize/.made  ## the tests of `azaion quantize` that need NVIDIA ModelOpt (an environment of several GB)
	.venv-quantize/bin/python -m pytest -m quantize

IMAGE ?= cpu

image-test:  ## every step of deploy/Dockerfile in an empty Debian, up to `azaion detect` (IMAGE=gpu: PyCUDA too); root, debootstrap
	$(PYTHON) -m tests.deploy.chroot_image $(IMAGE) --work build/image $(IMAGE_ARGS)

.venv-peers/.made: pyproject.toml benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --editable . --requirement benchmarks/peers/requirements.txt
	@touch $@

.venv-pytriton/.made: pyproject.toml benchmarks/peers/requirements-pytriton.txt
	$(SYSTEM_PYTHON) -m venv .venv-pytriton || { echo "needs the system's Python with venv: apt install python3-venv"; exit 1; }
	.venv-pytriton/bin/pip install --quiet --editable . --requirement benchmarks/peers/requirements-pytriton.txt
	@touch $@

peers: .venv-peers/.made .venv-pytriton/.made  ## environments of the servers that bench compares with

wrk:
	@command -v wrk >/dev/null || { echo "the load generator is missing: apt install wrk, brew install wrk, or https://github.com/wg/wrk"; exit 1; }

bench: wrk peers $(VENV)/.bench  ## the service, its limits and its peers on this CPU (ten minutes), and what batching costs
	@mkdir -p build && rm -f build/bench.json
	$(BIN)/python -m benchmarks.peers.compare configs/cpu.yaml --json build/bench.json --connections 1,2,4
	$(BIN)/python -m benchmarks.records.report build/bench.json
	set -a; . configs/throughput.env; set +a; $(BIN)/python -m benchmarks.service.batching

.venv-zoo/.made: benchmarks/zoo/requirements.txt benchmarks/zoo/others/requirements.txt
	$(PYTHON) -m venv .venv-zoo
	.venv-zoo/bin/pip install --quiet --requirement $<
	.venv-zoo/bin/pip install --quiet --no-deps --no-build-isolation --requirement benchmarks/zoo/others/requirements.txt
	@touch $@

# Resumable: files that were made stay under build/zoo. ZOO_TABLE: where the record goes.
ZOO_TABLE ?= build/zoo

zoo: .venv-zoo/.made $(VENV)/.bench  ## today's exports of other projects made anew, and our boxes compared with theirs
	@mkdir -p build/zoo $(ZOO_TABLE)
	$(BIN)/python -m benchmarks.zoo.pictures build/zoo
	.venv-zoo/bin/python -m benchmarks.zoo.ultralytics_files build/zoo
	.venv-zoo/bin/python -m benchmarks.zoo.transformers_files build/zoo
	.venv-zoo/bin/python -m benchmarks.zoo.torchvision_files build/zoo
	.venv-zoo/bin/python -m benchmarks.zoo.others.yolox_exports build/zoo
	.venv-zoo/bin/python -m benchmarks.zoo.others.yolov5_exports build/zoo
	.venv-zoo/bin/python -m benchmarks.zoo.others.rfdetr_exports build/zoo
	$(BIN)/python -m benchmarks.library.zoo build/zoo --json $(ZOO_TABLE)/zoo.json > build/zoo/zoo.md || { cat build/zoo/zoo.md; exit 1; }
	@echo >> build/zoo/zoo.md
	$(BIN)/python -m benchmarks.library.zoo build/zoo --low --json $(ZOO_TABLE)/zoo_low.json >> build/zoo/zoo.md || { cat build/zoo/zoo.md; exit 1; }
	cat build/zoo/zoo.md

ptx: $(VENV)/.test  ## compile the GPU's kernels anew; needs no GPU
	$(BIN)/python -m azaion_engine.cuda.compile_ptx azaion_engine/pictures/gpu/letterbox.cu azaion_engine/pictures/gpu/entropy.cu azaion_engine/heads/gpu/select.cu

lint: $(VENV)/.lint  ## ruff, mypy, the arrows between the packages, the image's Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint --config deploy/hadolint.yaml deploy/Dockerfile
	$(BIN)/shellcheck deploy/image/*.sh

format: $(VENV)/.lint  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: $(VENV)/.serve  ## write docs/openapi.json anew from the routes
	@mkdir -p build
	$(BIN)/python -m deployments.frontends.asgi > build/openapi.json && mv build/openapi.json docs/openapi.json

reference: openapi  ## write the pages of docs/ that come from the code and from records anew
	$(BIN)/python -m docs.generator

docs: $(VENV)/.docs  ## the documentation, checked, into build/site: open build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

smoke: $(VENV)/.serve  ## start `make serve`, ask it the README's question, stop it
	bash .ci/smoke

.venv-release/.made: tests/release/requirements.txt
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet --requirement $<
	@touch $@

dist: .venv-release/.made  ## source distribution and wheel in dist/, checked by twine
	rm -rf dist *.egg-info  # whose list of files setuptools would take over
	.venv-release/bin/python -m build --outdir dist
	.venv-release/bin/twine check --strict dist/*
	@ls -l dist

# Interpreters that install the wheel with its dependencies from the index; none: the one of $(VENV), with those it has.
PYTHONS ?=

dist-check: $(VENV)/.lint  ## use the wheel of `make dist` in an empty folder (PYTHONS="python3.10 python3.11 …": on each)
	$(BIN)/python -m tests.release dist $(foreach python,$(PYTHONS),--python $(python))

licences: $(VENV)/.test  ## write THIRD_PARTY.md: the licences of what an installation brings, with each extra
	@mkdir -p build
	$(BIN)/python -m tests.release.licences THIRD_PARTY.md --json build/licences.json

# pip-audit asks PyPI for advisories; --strict ends with 1 where a package could not be looked up.
audit: .venv-release/.made $(VENV)/.test  ## known weaknesses of the dependencies, and build/sbom.json (CycloneDX)
	@mkdir -p build
	$(BIN)/python -m pip freeze --exclude-editable > build/audited.txt
	.venv-release/bin/pip-audit --requirement build/audited.txt --no-deps --disable-pip --strict \
		--format cyclonedx-json --output build/sbom.json

clean:  ## remove what these targets made
	rm -rf $(VENV) $(TRITON) .venv-quantize .venv-zoo .venv-peers .venv-pytriton .venv-release build dist *.egg-info deployments/frontends/open_inference/generated/*_pb2.py \
		deployments/frontends/open_inference/generated/LICENSE.txt
