//! Configuration files: a YAML file, the files that it extends, and the caller's layers on top.

use drivewam_core::config::{Config, Layer};
use drivewam_core::excerpt::one_line;
use drivewam_core::manifest::FileRole;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_engine::bundle::attest;
use serde::Deserialize;
use std::path::Path;

/// Largest configuration file, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Longest chain of `extends`; a circle exceeds it.
const MAX_DEPTH: usize = 8;

/// The keys that the loader itself reads.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    extends: Vec<String>,
    /// Any value: the merge refuses a wrong one with a better message.
    #[serde(default)]
    engine: serde_json::Value,
}

/// Loads `path` on top of the files of its `extends`, in order, and `overrides` on top of both.
///
/// Paths in `extends`, `engine.folder`, `engine.onnxruntime`, `engine.tensorrt.library` and
/// `engine.tensorrt.kernels` are relative to the file that names them; all but the first are
/// returned as paths that can be opened. A library's bare file name stays one.
///
/// # Errors
/// `Io` for a file that cannot be read, is too large, or is no plain file; `Config` for a circle of
/// `extends`, and everything that [`Config::from_layers`] refuses.
pub fn load_config(path: &Path, overrides: &[Layer]) -> Result<Config> {
    let mut layers = Vec::new();
    collect(path, 0, &mut layers)?;
    layers.extend_from_slice(overrides);
    Config::from_layers(&layers)
}

/// The SHA-256 of the whole configuration as YAML, which identifies it in reports. Of the engine
/// folder only its own name counts, since its location differs between machines.
///
/// # Errors
/// `Config` for a configuration that cannot be written as YAML.
pub fn config_sha256(config: &Config) -> Result<String> {
    let mut portable = config.clone();
    let folder = Path::new(&config.engine.folder);
    let plain = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    portable.engine.folder = plain.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(attest(portable.to_yaml()?.as_bytes(), FileRole::Graph).sha256)
}

fn collect(path: &Path, depth: usize, layers: &mut Vec<Layer>) -> Result<()> {
    let text = drivewam_files::read_text(path, MAX_BYTES, ErrorKind::Io)?;
    let name = path.display().to_string();
    if depth >= MAX_DEPTH {
        return Err(Error::new(ErrorKind::Config, "too many files extend one another: does a file extend itself?")
            .at(format!("{name:?}"))
            .wanted(format!("at most {MAX_DEPTH}")));
    }
    let head: Head = serde_saphyr::from_str(&text)
        .map_err(|e| Error::new(ErrorKind::Config, "the file is not valid YAML").at(format!("{name:?}")).caused_by(one_line(e)))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for base in &head.extends {
        collect(&folder.join(base), depth + 1, layers)?;
    }
    layers.push(Layer { name: name.clone(), text });
    // A layer on top of the file replaces its relative paths by ones that can be opened.
    let mut on_top = |text: serde_json::Value| layers.push(Layer { name: name.clone(), text: text.to_string() });
    let engine = &head.engine;
    if let Some(relative) = engine["folder"].as_str() {
        on_top(serde_json::json!({"engine": {"folder": folder.join(relative)}}));
    }
    if let Some(relative) = engine["onnxruntime"].as_str().filter(|name| has_folder(name)) {
        on_top(serde_json::json!({"engine": {"onnxruntime": folder.join(relative)}}));
    }
    if let Some(relative) = engine["tensorrt"]["library"].as_str().filter(|name| has_folder(name)) {
        on_top(serde_json::json!({"engine": {"tensorrt": {"library": folder.join(relative)}}}));
    }
    if let Some(relative) = engine["tensorrt"]["kernels"].as_str() {
        on_top(serde_json::json!({"engine": {"tensorrt": {"kernels": folder.join(relative)}}}));
    }
    Ok(())
}

/// Whether a library's name is a path. The system's loader finds a bare name.
fn has_folder(name: &str) -> bool {
    Path::new(name).components().count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/tiny.yaml")
    }

    #[test]
    fn the_shipped_configuration_loads_and_its_engine_folder_is_relative_to_the_file_that_names_it() {
        let config = load_config(&shipped(), &[]).unwrap();
        assert_eq!(config.model.name, "tiny");
        assert!(config.engine.folder.ends_with("configs/../engines/tiny"), "{}", config.engine.folder);
    }

    /// Breaks when a relative library is looked for where the program happens to be started, or a
    /// bare name is not left to the system's loader.
    #[test]
    fn libraries_are_relative_to_the_file_that_names_them_and_bare_names_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let load = |onnxruntime: &str, tensorrt: &str| {
            let text = format!("extends: [{:?}]\nengine: {{onnxruntime: {onnxruntime}, tensorrt: {{library: {tensorrt}}}}}", shipped());
            std::fs::write(&path, text).unwrap();
            let engine = load_config(&path, &[]).unwrap().engine;
            (engine.onnxruntime.unwrap(), engine.tensorrt.library.unwrap())
        };
        let beside = |name: &str| dir.path().join(name).display().to_string();
        assert_eq!(load("lib/a.so", "./b.so"), (beside("lib/a.so"), beside("./b.so")));
        assert_eq!(load("/lib/a.so", "../b.so"), ("/lib/a.so".into(), beside("../b.so")));
        assert_eq!(load("a.so", "b.so"), ("a.so".into(), "b.so".into()));
    }

    #[test]
    fn a_layer_on_top_overrides_and_its_name_is_in_the_message() {
        let layer = |text: &str| Layer { name: "--set".to_owned(), text: text.to_owned() };
        let config = load_config(&shipped(), &[layer("flow: {seed: 7}")]).unwrap();
        assert_eq!(config.flow.seed, 7);
        let error = load_config(&shipped(), &[layer("flow: {sede: 7}")]).unwrap_err().to_string();
        assert!(error.contains("sede") && error.contains("--set"), "{error}");
    }

    #[test]
    fn a_circle_a_missing_and_a_huge_file_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        std::fs::write(&path, "extends: [a.yaml]").unwrap();
        assert!(load_config(&path, &[]).unwrap_err().to_string().contains("extend itself"));
        std::fs::write(&path, "extends: [b.yaml]").unwrap();
        let error = load_config(&path, &[]).unwrap_err();
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains("b.yaml"), "{error}");
        std::fs::write(&path, " ".repeat(MAX_BYTES as usize + 1)).unwrap();
        assert!(load_config(&path, &[]).unwrap_err().to_string().contains("the file is too large"));
    }
}
