# What a person runs. `make test` sets up all it needs: a Python environment for the export, and nothing outside this folder.
PYTHON ?= python3
VENV := .venv

.PHONY: test rust python setup lint

test: lint rust python

# The library that tests of `engine.kind: ort` open; the vehicle names its own in the configuration.
ORT = $$(ls $(CURDIR)/$(VENV)/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)

rust: setup $(WAN)/manifest.yaml
	ORT_DYLIB_PATH=$(ORT) cargo test --release --workspace --no-fail-fast

lint:
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings

setup: $(VENV)/ready

$(VENV)/ready: export/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check torch==2.11.0 diffusers==0.42.1 onnx==1.23.2 onnxruntime==1.32.0 "numpy>=1.26,<3" "safetensors>=0.5,<1" "pyyaml>=6,<7" "pytest>=8,<10"
	touch $@

python: setup
	cd export && PYTHONPATH=. ../$(VENV)/bin/python -m pytest -q
