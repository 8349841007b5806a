//! The vendor's libraries on a machine without a driver: errors where the libraries would crash.

use super::support::{build, lean, root, rtx};
use drivewam::load_config;
use drivewam_core::bindings::Graph;
use drivewam_core::config::Layer;
use drivewam_core::manifest::{FILE_NAME, Family, Manifest};
use drivewam_device::cuda::driver_version;
use drivewam_engine::tensorrt::builder::{BuildRequest, parse};
use drivewam_engine::tensorrt::{Header, Library, header, headers};
use drivewam_engine::{EngineBundle, Trust, load};

/// Without a driver TensorRT's lean runtime returns an invalid pointer, and using it crashes.
/// Breaks if the runtime is called before the driver was found.
#[test]
fn tensorrt_is_opened_and_asked_nothing_without_a_driver() {
    let library = Library::open(Family::Tensorrt, Some(lean().to_str().unwrap())).unwrap();
    assert_eq!(library.version().to_string(), "11.4.0");
    assert_eq!(header(&library, b"anything").unwrap(), Header::Unknown);
    assert!(headers().iter().any(|(family, version)| *family == Family::Tensorrt && version.0[0] == 11));
    // A folder whose manifest says that this library built it.
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("engines");
    assert!(build(&out, &["--graph", "context_ego"]).status.success());
    let text = std::fs::read_to_string(out.join(FILE_NAME)).unwrap();
    let text = text.replace("family: tensorrt_rtx", "family: tensorrt").replace("\"1.7.1\"", "\"11.4.0\"");
    std::fs::write(out.join(FILE_NAME), text).unwrap();
    let bundle = EngineBundle::open(&out, &Trust::default()).unwrap();
    assert_eq!(bundle.manifest().built.as_ref().unwrap().library, library.version());
    let layer = Layer {
        name: "test".into(),
        text: serde_json::json!({"engine": {"kind": "tensorrt", "tensorrt": {"library": lean()}}}).to_string(),
    };
    let config = load_config(&root().join("configs/tiny.yaml"), &[layer]).unwrap();
    let error = load(&config.engine, &bundle, Graph::ContextEgo).unwrap_err().to_string();
    // With a driver the library reads the bytes and refuses them: they are not its own.
    let words = if driver_version().is_err() { "no NVIDIA driver is installed" } else { "refuses the engine" };
    assert!(error.contains(words) && error.contains("graph context_ego"), "{error}");
}

/// Breaks if bytes that are no engine are accepted as one.
#[test]
fn tensorrt_rtx_knows_an_engine_by_its_first_bytes_without_a_driver() {
    let library = Library::open(Family::TensorrtRtx, Some(rtx().to_str().unwrap())).unwrap();
    assert_eq!(library.version().to_string(), "1.7.1");
    for junk in [&b""[..], b"abc", &[0; 64], &[0xff; 4096], b"fake plan 1\nname dit\nend\n"] {
        assert_eq!(header(&library, junk).unwrap(), Header::Malformed, "{junk:?}");
    }
}

/// The paper's codec and, with `long`, two layers of its width, with random weights. Breaks if a
/// graph is exported that TensorRT's parser does not accept.
#[test]
fn the_parser_takes_the_graphs_of_the_papers_size() {
    let library = Library::open(Family::TensorrtRtx, Some(rtx().to_str().unwrap())).unwrap();
    let mut count = 0;
    let folders = if cfg!(feature = "long") { &["target/wan_vae", "target/wide"][..] } else { &["target/wan_vae"] };
    for folder in folders {
        let folder = root().join(folder);
        let manifest = Manifest::parse(&std::fs::read_to_string(folder.join(FILE_NAME)).unwrap()).unwrap();
        for entry in manifest.graphs.values() {
            let path = folder.join(&entry.file);
            let onnx = std::fs::read(&path).unwrap();
            let flags = load_config(&root().join("configs/tiny.yaml"), &[]).unwrap().build.flags;
            let request = BuildRequest {
                onnx: &onnx,
                path: &path,
                inputs: &entry.inputs,
                profiles: &[],
                capabilities: &[],
                flags,
                timing_cache: &[],
            };
            parse(&library, &request).unwrap();
            count += 1;
        }
    }
    assert_eq!(count, if cfg!(feature = "long") { 5 } else { 2 });
}
