//! `build_kernels`: compiles the CUDA kernels to one file per architecture and writes their
//! manifest.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod usage;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use drivewam_console::{note, print_line};
use drivewam_device::cuda::cubins::{FILE_NAME, KernelFile, KernelManifest, SCHEMA, hex_sha256, sources_sha256};
use drivewam_device::cuda::nvrtc::Nvrtc;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Orin, Ada, Hopper, Thor, Blackwell on x86, and PTX of the newest, which a driver compiles in
/// Warm for later GPUs.
const ARCHITECTURES: [&str; 6] = ["sm_87", "sm_89", "sm_90", "sm_110", "sm_120", "compute_120"];

/// Where `make setup` installs the compiler, relative to the repository.
const VENV: &str = ".venv/lib";

/// Compiles the CUDA kernels for several architectures. Needs no GPU. Fails if a kernel spills
/// registers to memory.
///
/// The compiler is NVRTC of CUDA 12.8 or later, from the toolkit or the wheel nvidia-cuda-nvrtc.
#[derive(Debug, Parser)]
#[command(name = "build_kernels", version = concat!(env!("CARGO_PKG_VERSION"), " (DriveWAM Edge)"))]
struct Args {
    /// Folder to write: one file per architecture, and kernels.yaml.
    #[arg(long, default_value = "engines/kernels")]
    out: PathBuf,
    /// Path of libnvrtc.so. Default: DRIVEWAM_NVRTC, else a search in .venv and in the usual places
    /// of the toolkit.
    #[arg(long)]
    nvrtc: Option<PathBuf>,
    /// Architecture (sm_87, or compute_120 for PTX); may be repeated. Default: those of the
    /// supported targets that the compiler knows.
    #[arg(long = "architecture", value_name = "SM")]
    architectures: Vec<String>,
    /// Limit of registers per thread for kernels without a limit in the source, to see what they
    /// would spill.
    #[arg(long, value_name = "N")]
    max_registers: Option<u32>,
    /// Print the manifest as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args: Args = match drivewam_console::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    drivewam_console::exit_code("build_kernels", run(&args).map(|()| ExitCode::SUCCESS))
}

fn run(args: &Args) -> Result<()> {
    if args.out.exists() && !args.out.is_dir() {
        bail!("--out: got the file {}, wanted a folder", args.out.display());
    }
    let path = match &args.nvrtc {
        Some(path) => path.clone(),
        None => find().with_context(|| {
            format!("no libnvrtc found, neither in {:?} nor where CUDA's toolkit lies: run `make setup`, which installs it there, or give --nvrtc", Path::new(VENV))
        })?,
    };
    let nvrtc = Nvrtc::open(&path)?;
    let (major, minor) = nvrtc.version()?;
    let known = nvrtc.architectures()?;
    let number = |name: &str| name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<i32>().ok();
    let is_known = |name: &str| number(name).is_some_and(|n| known.contains(&n));
    let chosen: Vec<String> = if args.architectures.is_empty() {
        ARCHITECTURES.iter().filter(|name| is_known(name)).map(|name| (*name).to_owned()).collect()
    } else {
        args.architectures.clone()
    };
    if let Some(unknown) = chosen.iter().find(|name| !is_known(name)) {
        bail!("--architecture: got {unknown}, wanted one that this compiler (NVRTC {major}.{minor}) knows: {known:?}");
    }
    let left_out: Vec<&str> = ARCHITECTURES.iter().copied().filter(|name| args.architectures.is_empty() && !is_known(name)).collect();
    if !left_out.is_empty() {
        note!("build_kernels: NVRTC {major}.{minor} does not know {}: skipped", left_out.join(", "));
    }
    let built = build(&nvrtc, &chosen, args.max_registers)?;
    let manifest = KernelManifest {
        schema: SCHEMA,
        compiler: format!("NVRTC {major}.{minor}"),
        cuda: [major, minor],
        sources_sha256: sources_sha256(),
        files: built.iter().map(|(entry, _)| entry.clone()).collect(),
    };
    if args.json {
        print_line!("{}", serde_json::to_string_pretty(&manifest)?);
    } else {
        drivewam_console::text(&usage::table(&manifest));
    }
    if let Some((architecture, kernel)) =
        manifest.files.iter().find_map(|f| f.kernels.iter().find(|k| k.spill_bytes > 0).map(|k| (&f.architecture, k)))
    {
        bail!("{} spills {} bytes on {architecture}: nothing was written", kernel.kernel, kernel.spill_bytes);
    }
    write_folder(&args.out, &manifest, &built).with_context(|| format!("{}", args.out.display()))?;
    if !args.json {
        print_line!("written to {:?}", args.out);
    }
    Ok(())
}

/// A file of the folder: its manifest entry and its content.
type Built = (KernelFile, Vec<u8>);

/// Compiles for every architecture, on one thread per core.
fn build(nvrtc: &Nvrtc, architectures: &[String], max_registers: Option<u32>) -> Result<Vec<Built>> {
    let one = |architecture: &String| -> Result<Built> {
        let compiled = nvrtc.compile(architecture, max_registers)?;
        let is_machine = architecture.starts_with("sm_");
        let kernels = if is_machine { usage::parse(&compiled.log)? } else { Vec::new() };
        let file = format!("{architecture}.{}", if is_machine { "cubin" } else { "ptx" });
        let (bytes, sha256) = (compiled.code.len() as u64, hex_sha256(&compiled.code));
        Ok((KernelFile { file, architecture: architecture.clone(), bytes, sha256, kernels }, compiled.code))
    };
    let (next, shows) = (AtomicUsize::new(0), std::io::stderr().is_terminal());
    let work = || -> Result<Vec<(usize, Built)>> {
        let mut done = Vec::new();
        while let Some((i, architecture)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, architectures.get(i)?))) {
            if shows {
                let _ = write!(std::io::stderr(), "\r\x1b[K{}/{} {architecture}", i + 1, architectures.len());
            }
            done.push((i, one(architecture)?));
        }
        Ok(done)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(architectures.len());
    let mut all = std::thread::scope(|scope| -> Result<Vec<_>> {
        let handles = (0..threads)
            .map(|i| std::thread::Builder::new().name(format!("nvrtc-{i}")).spawn_scoped(scope, work))
            .collect::<std::io::Result<Vec<_>>>()?;
        let mut all = Vec::new();
        for handle in handles {
            all.extend(handle.join().map_err(|_panic| anyhow!("a compiling thread panicked"))??);
        }
        Ok(all)
    })?;
    if shows {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    all.sort_by_key(|(i, _)| *i);
    Ok(all.into_iter().map(|(_, built)| built).collect())
}

/// Finds the compiler.
fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("DRIVEWAM_NVRTC").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for python in fs::read_dir(VENV).into_iter().flatten().flatten() {
        let wheels = python.path().join("site-packages/nvidia");
        folders.extend(["cu13/lib", "cuda_nvrtc/lib"].map(|part| wheels.join(part)));
    }
    let roots = ["/usr/local/cuda", "/usr/local/cuda-13", "/usr/local/cuda-12", "/opt/cuda"];
    folders.extend(
        roots
            .iter()
            .flat_map(|root| ["lib64", "targets/aarch64-linux/lib", "targets/x86_64-linux/lib"].map(|part| Path::new(root).join(part))),
    );
    folders.extend(["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"].map(PathBuf::from));
    folders.iter().flat_map(|folder| ["libnvrtc.so.13", "libnvrtc.so.12"].map(|name| folder.join(name))).find(|path| path.exists())
}

/// Writes every file through a temporary one, the manifest last. A reader meanwhile sees the old
/// folder, the new one, or a hash mismatch.
fn write_folder(folder: &Path, manifest: &KernelManifest, built: &[Built]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let put = |name: &str, bytes: &[u8]| -> Result<()> {
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        let written = fs::File::create(&temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        if let Err(error) = written.and_then(|()| fs::rename(&temporary, folder.join(name))) {
            let _ = fs::remove_file(&temporary);
            return Err(error).with_context(|| name.to_owned());
        }
        Ok(())
    };
    for (entry, code) in built {
        put(&entry.file, code)?;
    }
    put(FILE_NAME, serde_saphyr::to_string(manifest)?.as_bytes())
}
