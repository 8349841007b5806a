//! Runs the program with the compiler that `make setup` installs, or the one of `DRIVEWAM_NVRTC`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_device::cuda::Kernel;
use drivewam_device::cuda::cubins::KernelManifest;
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    // From the workspace root, where the program searches .venv.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_build_kernels")).args(arguments).current_dir(root).output().unwrap()
}

#[path = "../../../tests/src/documented.rs"]
mod documented;

/// Breaks when a document shows a command that the program does not have.
#[test]
fn the_documented_commands_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    documented::assert_parsed(&root, "drivewam-build-kernels", env!("CARGO_BIN_EXE_build_kernels"));
}

/// Breaks when a fresh clone's user is not told which command installs the compiler.
#[test]
fn without_a_compiler_the_error_names_make_setup() {
    let empty = tempfile::tempdir().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_build_kernels")).current_dir(empty.path()).env("DRIVEWAM_NVRTC", "").output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    if stderr.contains("libnvrtc.so") {
        println!("skipped: this machine has the toolkit of CUDA");
        return;
    }
    assert_eq!(done.status.code(), Some(1));
    for word in ["no libnvrtc", "make setup", "--nvrtc"] {
        assert!(stderr.contains(word), "{word:?} is missing in {stderr:?}");
    }
}

fn fails(arguments: &[&str], words: &[&str]) {
    let done = run(arguments);
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success(), "{arguments:?} succeeded");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing in {stderr:?}");
    }
}

/// The architectures that are compiled for: all by default, which is the list here; without
/// `long` the oldest one, and PTX.
const ARCHITECTURES: &[&str] =
    if cfg!(feature = "long") { &["sm_87", "sm_89", "sm_90", "sm_110", "sm_120", "compute_120"] } else { &["sm_87", "compute_120"] };

/// Breaks if a kernel does not compile or spills on a supported architecture, or a file does not
/// match the manifest.
#[test]
fn all_kernels_compile_for_all_architectures_and_none_spills() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("kernels");
    let mut arguments = vec!["--out", out.to_str().unwrap()];
    if !cfg!(feature = "long") {
        arguments.extend(ARCHITECTURES.iter().flat_map(|name| ["--architecture", name]));
    }
    let done = run(&arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    println!("{}", String::from_utf8_lossy(&done.stdout));
    let manifest = KernelManifest::read(&out).unwrap();
    let names: Vec<&str> = manifest.files.iter().map(|file| file.architecture.as_str()).collect();
    assert_eq!(names, ARCHITECTURES);
    for file in &manifest.files {
        let code = file.load(&out).unwrap();
        assert!(if file.architecture.starts_with("sm_") { code.starts_with(b"\x7fELF") } else { code.starts_with(b"//") });
        let spills: u32 = file.kernels.iter().map(|k| k.spill_bytes).sum();
        assert_eq!(spills, 0, "{}", file.architecture);
        assert!(
            file.kernels.len() == Kernel::ALL.len() || file.architecture.starts_with("compute_"),
            "{}: {}",
            file.architecture,
            file.kernels.len()
        );
        // All that a launch is made of fits into the 64 Ki registers of an SM: 256 threads of
        // score.cu, 384 of the others.
        for kernel in &file.kernels {
            let threads = if kernel.kernel.starts_with("score") { 256 } else { 384 };
            assert!(kernel.registers.next_multiple_of(8) * threads <= 65_536, "{kernel:?} on {}", file.architecture);
        }
    }
}

/// Breaks if a kernel that spills is written, or a wrong call has no helpful error.
#[test]
fn what_cannot_be_built_is_an_error_and_nothing_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("kernels");
    let folder = out.to_str().unwrap();
    fails(&["--out", folder, "--architecture", "sm_87", "--max-registers", "24"], &["spills", "sm_87", "nothing was written"]);
    assert!(!out.exists());
    fails(&["--out", folder, "--architecture", "sm_61"], &["sm_61", "wanted", "87"]);
    fails(&["--out", folder, "--nvrtc", "no/such/libnvrtc.so"], &["no/such/libnvrtc.so", "cannot open the compiler"]);
    assert!(!out.exists());
    std::fs::write(&out, "a file where the folder should be").unwrap();
    fails(&["--out", folder, "--architecture", "sm_87"], &[folder]);
}
