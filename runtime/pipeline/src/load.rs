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
/// Most files of a configuration, each counted as often as it is named: files that name one another
/// twice would be read exponentially often.
const MAX_FILES: usize = 32;
/// Most bytes of all of them.
const MAX_TOTAL_BYTES: u64 = 2 << 20;

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
/// `extends`, for more than 32 files or 2 MiB in all (a file counts as often as it is named), and
/// everything that [`Config::from_layers`] refuses.
pub fn load_config(path: &Path, overrides: &[Layer]) -> Result<Config> {
    let mut files = Files::default();
    files.collect(path, 0)?;
    let mut layers = files.layers;
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

/// The files of one configuration.
#[derive(Default)]
struct Files {
    layers: Vec<Layer>,
    count: usize,
    bytes: u64,
}

impl Files {
    /// Adds the file at `path`, after those that it extends.
    fn collect(&mut self, path: &Path, depth: usize) -> Result<()> {
        let name = path.display().to_string();
        let refused = |what: &str| Error::new(ErrorKind::Config, what).at(format!("{name:?}"));
        if depth >= MAX_DEPTH {
            return Err(
                refused("too many files extend one another: does a file extend itself?").wanted(format!("a chain of at most {MAX_DEPTH}"))
            );
        }
        self.count += 1;
        if self.count > MAX_FILES {
            return Err(refused("the configuration has too many files: does one name another twice?")
                .got(format!("{} files", self.count))
                .wanted(format!("at most {MAX_FILES}, each counted as often as it is named")));
        }
        let text = drivewam_files::read_text(path, MAX_BYTES, ErrorKind::Io)?;
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        if self.bytes > MAX_TOTAL_BYTES {
            return Err(refused("the files of the configuration are too large")
                .got(format!("{} bytes", self.bytes))
                .wanted(format!("at most {MAX_TOTAL_BYTES} bytes in all")));
        }
        let head: Head = serde_saphyr::from_str(&text).map_err(|e| refused("the file is not valid YAML").caused_by(one_line(e)))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for base in &head.extends {
            self.collect(&folder.join(base), depth + 1)?;
        }
        self.layers.push(Layer { name: name.clone(), text });
        // A layer on top of the file replaces its relative paths by ones that can be opened.
        let mut on_top = |text: serde_json::Value| self.layers.push(Layer { name: name.clone(), text: text.to_string() });
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

    /// Breaks when files that name one another are read exponentially often (the first case then
    /// reads 5^7 files), or when many files or bytes are taken one by one.
    #[test]
    fn many_files_and_many_bytes_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |i: usize| dir.path().join(format!("{i}.yaml"));
        for i in 0..7 {
            std::fs::write(path(i), format!("extends: [{0}, {0}, {0}, {0}, {0}]", path(i + 1).display())).unwrap();
        }
        std::fs::write(path(7), "{}").unwrap();
        let error = load_config(&path(0), &[]).unwrap_err();
        let said = error.to_string();
        assert!(
            error.kind() == ErrorKind::Config && said.contains(".yaml") && said.contains("33 files") && said.contains("at most 32"),
            "{said}"
        );
        // One of 600,000 bytes, four times.
        std::fs::write(path(1), format!("# {}\n{{}}", "x".repeat(600_000))).unwrap();
        std::fs::write(path(0), format!("extends: [{0}, {0}, {0}, {0}]", path(1).display())).unwrap();
        let said = load_config(&path(0), &[]).unwrap_err().to_string();
        assert!(said.contains("1.yaml") && said.contains("too large") && said.contains("bytes in all"), "{said}");
    }
}
