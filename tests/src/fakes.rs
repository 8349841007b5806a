//! Fake vendor libraries: a CUDA driver and a TensorRT that need no GPU, compiled with the
//! machine's C++ compiler.
//!
//! A process loads each library once, by the name of the real one, so a test runs itself again with
//! the folder in `LD_LIBRARY_PATH`.

use drivewam_core::manifest::Family;
use drivewam_device::cuda::cubins::{FILE_NAME, KernelFile, KernelManifest, SCHEMA, hex_sha256, sources_sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn compile(arguments: impl FnOnce(&mut Command), out: &Path) {
    let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()));
    command.args(["-std=c++17", "-O1", "-fPIC", "-w", "-shared"]);
    arguments(&mut command);
    let done = command.arg("-o").arg(out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Compiles a CUDA driver library into `folder`. It runs kernels on the CPU with the emulator.
pub fn driver(folder: &Path) {
    let sources = root().join("runtime/device/emulator");
    let names = ["libcuda.cpp", "emulator.cpp", "kernels.cpp"];
    let files = names.map(|name| sources.join(name));
    let arguments = |command: &mut Command| {
        command.args(["-ffp-contract=off", "-Wl,-soname,libcuda.so.1", "-I"]).arg(&sources).args(files);
    };
    compile(arguments, &folder.join("libcuda.so"));
}

/// Writes a folder of kernels for compute capability 9.0 that the fake driver accepts.
pub fn kernels(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let code = b"kernels of a test";
    std::fs::write(folder.join("sm_90.cubin"), code).unwrap();
    let file = KernelFile {
        file: "sm_90.cubin".into(),
        architecture: "sm_90".into(),
        bytes: code.len() as u64,
        sha256: hex_sha256(code),
        kernels: Vec::new(),
    };
    let manifest =
        KernelManifest { schema: SCHEMA, compiler: "a test".into(), cuda: [12, 6], sources_sha256: sources_sha256(), files: vec![file] };
    std::fs::write(folder.join(FILE_NAME), serde_saphyr::to_string(&manifest).unwrap()).unwrap();
}

/// Compiles a TensorRT runtime of `family` into `folder`, against the headers that `make setup`
/// fetched. Returns its path.
pub fn runtime(folder: &Path, family: Family) -> PathBuf {
    let engine = root().join("runtime/engine/tensorrt");
    let (headers, name) = match family {
        Family::Tensorrt => ("tensorrt", "libnvinfer.so.11"),
        Family::TensorrtRtx => ("tensorrt_rtx", "libtensorrt_rtx.so.1"),
    };
    let out = folder.join(name);
    let arguments = |command: &mut Command| {
        command.arg("-isystem").arg(root().join("target/tensorrt/headers").join(headers));
        command.arg("-I").arg(engine.join("cuda")).arg(engine.join("fake/fake.cpp"));
    };
    compile(arguments, &out);
    out
}
