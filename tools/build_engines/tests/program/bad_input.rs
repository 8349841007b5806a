//! Invalid input is refused with an error, and the existing engines stay.

use super::support::{arguments, build, copy_graphs, fails, program, root, run, text};
use drivewam_core::manifest::FILE_NAME;
use std::path::Path;
use std::process::Command;

/// The arguments of a quick build.
const SMALL: [&str; 2] = ["--graph", "context_ego"];

#[test]
fn a_wrong_call_is_refused_with_what_was_got_and_wanted() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("rtx-pc");
    fails(&run(&["configs/tiny.yaml"]), &["--target"]);
    fails(&run(&["configs/tiny.yaml", "--target", "ship"]), &["--target \"ship\"", "configs/target/ship.yaml"]);
    fails(&run(&["configs/tiny.yaml", "--target", "host-cpu"]), &["engine.kind", "wanted tensorrt or tensorrt_rtx"]);
    fails(&build(&out, &["--graph", "dot"]), &["--graph", "\"dot\"", "context_ego"]);
    fails(&build(&out, &["--set", "build.tactics=9"]), &["tactics", "--set build.tactics=9"]);
    fails(&build(&out, &["--set", "build.flags.optimization_level=9"]), &["build.flags.optimization_level", "9", "0 to 5"]);
    fails(&build(&out, &["--set", "build.compute_capabilities=[\"8\"]"]), &["build.compute_capabilities", "\"8\""]);
    fails(
        &build(&out, &["--set", "build.flags.version_compatible=true"]),
        &["build.flags.version_compatible", "TensorRT-RTX does not support it"],
    );
    fails(&build(&out, &["--graphs", "configs"]), &["no manifest", "configs"]);
    fails(&build(&out, &["--sign", "no/such/key.pem"]), &["--sign", "no/such/key.pem"]);
    fails(&build(&out, &["--sign", "README.md"]), &["README.md", "not an ed25519 private key", "openssl genpkey"]);
    // Breaks (and the test never ends) when a pipe is waited for.
    let pipe = temp.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fails(&build(&out, &["--sign", pipe.to_str().unwrap()]), &["--sign", "not a plain file", "a pipe"]);
    fails(&run(&["configs/tiny.yaml", "--target", pipe.to_str().unwrap()]), &["--target", "not a plain file", "a pipe"]);
    fails(&build(&out, &["--set", "target.name=../x"]), &["target.name", "../x"]);
    fails(&build(Path::new("README.md/out"), &SMALL), &["README.md"]);
    fails(&build(Path::new("/proc/engines/out"), &SMALL), &["/proc/engines"]);
    fails(
        &program(&arguments(&out).iter().map(String::as_str).collect::<Vec<_>>()).env("DRIVEWAM_TENSORRT", "no/lib.so").output().unwrap(),
        &["no/lib.so", "DRIVEWAM_TENSORRT"],
    );
    // TensorRT's builder would abort the process without a driver: it is not called.
    let done = program(&["configs/tiny.yaml", "--target", "orin", "--out", out.to_str().unwrap()])
        .env("DRIVEWAM_TENSORRT", super::support::lean())
        .output()
        .unwrap();
    if drivewam_device::cuda::driver_version().is_err() {
        fails(&done, &["TensorRT builds on the GPU", "no NVIDIA driver"]);
    }
    assert!(!out.exists());
}

/// The output replaces nothing that is not its own. Everything is a copy: a guard that breaks
/// deletes what this names.
#[test]
fn an_output_that_would_replace_other_files_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let graphs = temp.path().join("graphs/tiny");
    std::fs::create_dir(temp.path().join("graphs")).unwrap();
    copy_graphs(&graphs);
    let notes = temp.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    std::fs::write(notes.join("today.md"), "kept").unwrap();
    let from_copy = [&SMALL[..], &["--graphs", graphs.to_str().unwrap()]].concat();
    fails(&build(&graphs, &from_copy), &["is the folder of the graphs"]);
    fails(&build(graphs.parent().unwrap(), &from_copy), &["contains it or lies inside it"]);
    // A folder that does not exist yet lies inside it as well.
    fails(&build(&graphs.join("rtx-pc"), &from_copy), &["contains it or lies inside it"]);
    fails(&build(&notes, &from_copy), &["notes", "no manifest of engines"]);
    fails(&build(&notes.join("today.md"), &from_copy), &["today.md", "is not a folder"]);
    assert!(graphs.join(FILE_NAME).exists() && !graphs.join("rtx-pc").exists());
    assert_eq!(std::fs::read_to_string(notes.join("today.md")).unwrap(), "kept");
}

#[test]
fn a_dry_run_says_what_would_be_built_and_builds_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("rtx-pc");
    let done = build(&out, &["--dry-run"]);
    let printed = text(&done);
    assert!(done.status.success(), "{printed}");
    for word in ["TensorRT-RTX", "8.6, 8.9, 12.0", "28 over 172, 8 over 172, 36 over 172", "free memory", "vae_encode_first"] {
        assert!(printed.contains(word), "{word:?} is missing in {printed}");
    }
    let json: serde_json::Value = serde_json::from_slice(&build(&out, &["--dry-run", "--json"]).stdout).unwrap();
    assert_eq!(json["graphs"].as_array().unwrap().len(), 10);
    assert!(!out.exists());
}

/// Breaks if a graph that does not match its manifest is built, or an operator that the library
/// does not know ends in anything but an error message.
#[test]
fn damaged_graphs_are_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let (source, out) = (temp.path().join("graphs"), temp.path().join("out"));
    copy_graphs(&source);
    let onnx = source.join("context_ego.onnx");
    let whole = std::fs::read(&onnx).unwrap();
    let mut damaged = whole.clone();
    // The operator of a node in protobuf encoding; "MatMul" alone is also part of the nodes'
    // names.
    let at = damaged.windows(8).position(|w| w == b"\"\x06MatMul").unwrap();
    damaged[at + 2..at + 8].copy_from_slice(b"MatMuX");
    std::fs::write(&onnx, &damaged).unwrap();
    let select = ["--graphs", source.to_str().unwrap(), "--graph", "context_ego"];
    fails(&build(&out, &select), &["context_ego.onnx", "SHA-256"]);
    let manifest = std::fs::read_to_string(source.join(FILE_NAME)).unwrap();
    let hash = |bytes: &[u8]| drivewam_device::cuda::cubins::hex_sha256(bytes);
    std::fs::write(source.join(FILE_NAME), manifest.replace(&hash(&whole), &hash(&damaged))).unwrap();
    fails(&build(&out, &select), &["context_ego.onnx", "MatMuX", "an operator that the exporter does not write"]);
    std::fs::write(&onnx, &whole).unwrap();
    std::fs::write(source.join(FILE_NAME), &manifest).unwrap();
    std::fs::rename(source.join("context.safetensors"), source.join("other.safetensors")).unwrap();
    fails(&build(&out, &select), &["context.safetensors", "missing"]);
    // A weight file that the manifest does not name for the graph.
    let manifest = std::fs::read_to_string(source.join(FILE_NAME)).unwrap();
    std::fs::write(source.join(FILE_NAME), manifest.replace("context.safetensors", "other.safetensors")).unwrap();
    fails(&build(&out, &select), &["context.safetensors", "does not name for this graph"]);
    assert!(!out.exists());
}

/// Breaks if a worker may exceed its limits, or the error does not name the limit.
#[test]
fn a_worker_that_exceeds_its_limits_is_killed_and_the_old_engines_stay() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("rtx-pc");
    assert!(build(&out, &SMALL).status.success());
    let before = std::fs::read(out.join(FILE_NAME)).unwrap();
    let dit = |set: &str| build(&out, &["--graph", "dit", "--set", set]);
    fails(&dit("build.memory_bytes=100000000"), &["graph dit", "not started", "build.memory_bytes"]);
    fails(&dit("build.time_limit_s=1"), &["graph dit", "longer than 1 s", "build.time_limit_s"]);
    let other = build(&temp.path().join("other"), &["--graph", "vae_decode", "--set", "build.compute_capabilities=[\"6.1\"]"]);
    fails(&other, &["graph vae_decode", "compute capability"]);
    assert_eq!(std::fs::read(out.join(FILE_NAME)).unwrap(), before);
    assert!(build(&out, &SMALL).status.success(), "the lock or the partial folder remained");
}

/// A library whose builder crashes or allocates memory without end. Breaks if the program crashes
/// too.
#[test]
fn a_builder_that_crashes_or_eats_memory_fails_its_graph_alone() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let source = "#include <cstdlib>\n#include <vector>\n#include <unistd.h>\nextern \"C\" {\n\
        int getInferLibMajorVersion() { return 1; }\nint getInferLibMinorVersion() { return 7; }\nint getInferLibPatchVersion() { return 1; }\n\
        void* createInferRuntime_INTERNAL(void*, int) { return nullptr; }\nvoid* createNvOnnxParser_INTERNAL(void*, void*, int) { return nullptr; }\n\
        void* createInferBuilder_INTERNAL(void*, int) {\n  if (!getenv(\"EATS\")) abort();\n\
        std::vector<char*> all;\n  for (;;) { char* p = new char[1 << 24]; for (int i = 0; i < 1 << 24; i += 4096) p[i] = 1; all.push_back(p); usleep(2000); }\n}\n}\n";
    let file = temp.path().join("bad.cpp");
    std::fs::write(&file, source).unwrap();
    let library = temp.path().join("libtensorrt_rtx.so.1");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    assert!(Command::new(compiler).args(["-shared", "-fPIC", "-O0", "-o"]).arg(&library).arg(&file).status().unwrap().success());
    std::fs::copy(&library, temp.path().join("libtensorrt_onnxparser_rtx.so.1")).unwrap();
    let all: Vec<String> = arguments(&out)
        .into_iter()
        .chain(["--graph".into(), "context_ego".into(), "--set".into(), "build.memory_bytes=800000000".into()])
        .collect();
    let run_with = |eats: bool| {
        let mut command = program(&all.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("DRIVEWAM_TENSORRT", &library);
        if eats {
            command.env("EATS", "1");
        }
        command.output().unwrap()
    };
    fails(&run_with(false), &["graph context_ego", "crashed (signal 6)"]);
    fails(&run_with(true), &["graph context_ego", "killed: the worker used", "build.memory_bytes"]);
    assert!(!out.exists());
}

/// Breaks if two builds write to one folder, or a full disk leaves a folder that does not load.
#[cfg(unix)]
#[test]
fn two_builds_at_once_and_a_full_disk_are_errors() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("rtx-pc");
    assert!(build(&out, &SMALL).status.success());
    let before = std::fs::read(out.join(FILE_NAME)).unwrap();
    let lock = std::fs::File::create(temp.path().join(".rtx-pc.lock")).unwrap();
    lock.lock().unwrap();
    fails(&build(&out, &SMALL), &["another build is running", ".rtx-pc.lock"]);
    drop(lock);
    // A limit of one MiB per file stands for a full disk, for any user.
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$@\"", "bash", env!("CARGO_BIN_EXE_build_engines")]);
    let done = limited
        .args(arguments(&out))
        .args(["--graph", "vae_decode"])
        .current_dir(root())
        .env("DRIVEWAM_TENSORRT", super::support::rtx())
        .output()
        .unwrap();
    fails(&done, &["graph vae_decode", "cannot write"]);
    assert_eq!(std::fs::read(out.join(FILE_NAME)).unwrap(), before);
    assert!(build(&out, &SMALL).status.success());
}
