# `make demo` and `make test` do all the set-up in .venv; they need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VENV_PYPI := .venv-pypi
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo quick test faults portable peers pypi lint bench table clean

demo: $(VENV)/demo
	$(BIN)/vocos demo --output demo

# The tests to run while working: under 90 s on two cores (120 s of processor time).
QUICK ?= tests/test_structure.py tests/test_registry.py tests/test_plugin.py tests/test_config.py tests/test_docs.py tests/test_golden.py \
	tests/nn tests/files tests/cli/test_cli.py tests/weights/test_formats.py tests/codecs/test_encodec.py \
	tests/codecs/test_griffinlim.py tests/codecs/test_unpadded.py tests/pypi/test_pretrained.py tests/voco/test_batches.py \
	tests/voco/test_checks.py tests/voco/test_codes.py tests/voco/test_rows.py tests/voco/test_lazy.py
quick: $(VENV)/test
	$(BIN)/python -m pytest -n 2 -q $(QUICK)

test: $(VENV)/test
	$(BIN)/python -m pytest -n 2 -q

# Kills a run of `vocos dataset` 200 times; some minutes.
faults: $(VENV)/test
	VOCOS_TEST_KILLS=200 $(BIN)/python -m pytest -q tests/data/test_faults.py

# What is computed, as on a processor without wide vectors, and with more than one thread.
portable: $(VENV)/test
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 TEST_THREADS=2 $(BIN)/python -m pytest -n 2 -q \
		tests/nn tests/test_golden.py tests/kernels --ignore tests/kernels/test_triton.py

# Against other packages. Without encodec's own needs: its models want no torchaudio, which is seldom built for this torch.
peers: $(VENV)/test
	$(PIP) --no-deps encodec==0.1.1 snac==1.2.1
	$(BIN)/python -m pytest -n 2 -q -m peers

# Against PyPI's package of this name, which runs in an environment of its own.
pypi: $(VENV)/test $(VENV_PYPI)/bench
	VOCOS_PYPI_PYTHON=$(CURDIR)/$(VENV_PYPI)/bin/python $(BIN)/python -m pytest -q -m pypi

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Minutes to an hour; make bench BENCH="--only dac --runs 3" for less, BENCH="--compile --profile" for more.
BENCH ?= --memory --curves
bench: $(VENV)/bench $(VENV_PYPI)/bench
	$(BIN)/vocos bench --pypi-python $(VENV_PYPI)/bin/python --output benchmarks/results $(BENCH)

# What `vocos list` says without importing torch, and the tables of README and docs.
table: $(VENV)/test
	$(BIN)/python tools/make_table.py
	$(BIN)/python tools/make_pages.py

clean:
	rm -rf $(VENV) $(VENV_PYPI) build dist demo vocos.egg-info

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vocos needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/bench: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[bench]'
	@touch $@

# PyPI's vocos has the name of this package.
$(VENV_PYPI)/bench: constraints.txt | $(BIN)/python
	$(PYTHON) -m venv $(VENV_PYPI)
	$(VENV_PYPI)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch vocos==0.1.0
	@touch $@

$(VENV)/test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[test]'
	@touch $@
