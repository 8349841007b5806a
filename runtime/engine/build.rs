//! Compiles the TensorRT shim under the feature `tensorrt`, once for each set of the vendor's
//! headers.

fn main() {
    #[cfg(feature = "tensorrt")]
    tensorrt::build();
}

#[cfg(feature = "tensorrt")]
mod tensorrt {
    use std::env;
    use std::fmt::Write;
    use std::path::{Path, PathBuf};

    /// Directories with `NvInfer.h`, separated by colons.
    const VARIABLE: &str = "DRIVEWAM_TENSORRT_INCLUDE";
    /// Where installed SDKs have their headers.
    const USUAL: [&str; 7] = [
        "/usr/include/x86_64-linux-gnu",
        "/usr/include/aarch64-linux-gnu",
        "/usr/local/tensorrt/include",
        "/usr/local/tensorrt_rtx/include",
        "/opt/tensorrt/include",
        "/usr/src/tensorrt/include",
        "/usr/local/TensorRT/include",
    ];
    /// Where `make setup` puts the pinned headers, for builds without an SDK.
    const PINNED: &str = "../../target/tensorrt/headers";

    pub(super) fn build() {
        println!("cargo::rerun-if-env-changed={VARIABLE}");
        println!("cargo::rerun-if-changed=tensorrt");
        let found = headers();
        if found.is_empty() {
            println!(
                "cargo::error=no headers of TensorRT (NvInfer.h): install the SDK, or name folders of headers in {VARIABLE}, or run `make setup`, which fetches pinned ones"
            );
            return;
        }
        let mut rust = String::from("// One table for each set of headers.\nunsafe extern \"C\" {\n");
        for (i, folder) in found.iter().enumerate() {
            println!("cargo::rerun-if-changed={}", folder.join("NvInferVersion.h").display());
            let table = format!("drivewam_shim_{i}");
            cc::Build::new()
                .cpp(true)
                .std("c++17")
                .opt_level(2)
                .flag("-fno-exceptions")
                // One program contains several versions of the vendor's classes, so each set gets
                // its own names.
                .define("SHIM", table.as_str())
                .define("nvinfer1", format!("nvinfer1_{i}").as_str())
                .define("nvonnxparser", format!("nvonnxparser_{i}").as_str())
                .flag(format!("-isystem{}", folder.display()))
                // The headers use only two types of the CUDA runtime.
                .include("tensorrt/cuda")
                .warnings(true)
                .flag("-Wno-deprecated-declarations")
                .files(["tensorrt/runtime.cpp", "tensorrt/builder.cpp"])
                .compile(&table);
            let _ = writeln!(rust, "    static {table}: Api;");
        }
        let tables: Vec<String> = (0..found.len()).map(|i| format!("&raw const drivewam_shim_{i}")).collect();
        let _ = write!(
            rust,
            "}}\n\nstatic TABLES: [Table; {}] = [{}];\n",
            found.len(),
            tables.iter().map(|t| format!("Table({t})")).collect::<Vec<_>>().join(", ")
        );
        let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("shims.rs");
        if let Err(e) = std::fs::write(&out, rust) {
            println!("cargo::error={} cannot be written: {e}", out.display());
        }
    }

    /// The headers that the environment names, or else the installed ones, or else the pinned ones.
    fn headers() -> Vec<PathBuf> {
        let is_set = |folder: &PathBuf| folder.join("NvInfer.h").is_file();
        if let Some(named) = env::var_os(VARIABLE) {
            let named: Vec<PathBuf> = env::split_paths(&named).collect();
            if let Some(bad) = named.iter().find(|f| !is_set(f)) {
                println!("cargo::error={VARIABLE}: no NvInfer.h in {}", bad.display());
            }
            return named;
        }
        let installed: Vec<PathBuf> = USUAL.iter().map(PathBuf::from).filter(is_set).collect();
        if !installed.is_empty() {
            return installed;
        }
        let mut pinned: Vec<PathBuf> =
            std::fs::read_dir(Path::new(PINNED)).into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_set).collect();
        pinned.sort();
        pinned
    }
}
