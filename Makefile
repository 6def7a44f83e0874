# `make parity` and `make test` do their own set-up: they need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: parity test check format bench faults corpus fuzz gpu clean

parity: $(READY)
	$(BIN)/torchbp parity --json parity.json --html parity.html

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks --out docs/results

# Ports and certifies all models of keras.applications and many others: some hours.
corpus: $(READY)
	$(BIN)/python parity_tests/corpus.py --out docs/results/corpus

# Gives the porter 100,000 spoilt files; the short version is among the tests.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/fuzz_port.py --out docs/results/fuzz.json

# Kills training runs at random moments; the short version is among the tests.
faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/kill.py --out docs/results/faults.json

# On a CUDA machine: the tests that need a device, the parity suite and the benchmarks there.
gpu: $(READY)
	$(BIN)/python -m pytest -m gpu tests parity_tests
	$(BIN)/torchbp parity --device cuda --json docs/results/parity-cuda.json
	$(BIN)/python -m benchmarks --device cuda --out docs/results

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("torchbp needs Python >= 3.11: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,port]'
	touch $@

clean:
	rm -rf $(VENV) build dist parity.json parity.html
