//! Which configuration a subcommand uses: CONFIG or the default one, with `--set` on top.

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use drivewam::{config_sha256, load_config};
use drivewam_core::ErrorKind;
use drivewam_core::config::{Config, Layer};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The default configurations, relative to the workspace: the shipped policy with one rollout, and
/// as it drives, with four.
const DEFAULT: &str = "configs/tiny.yaml";
pub(crate) const DRIVING: &str = "configs/demo.yaml";

/// Options that select a configuration.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct ConfigArgs {
    /// Configuration file. Default: configs/tiny.yaml, the shipped small policy; where `drive` lets
    /// the policy move the car, configs/demo.yaml, the same with four rollouts side by side.
    #[arg(value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// Override one key, for example --set flow.seed=7. Repeatable. The value is YAML.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A configuration, and how reports identify it.
#[derive(Debug, Clone)]
pub(crate) struct LoadedConfig {
    pub(crate) config: Config,
    pub(crate) path: PathBuf,
    /// SHA-256 of the whole configuration as YAML. Of the engine folder only the last component
    /// counts, so that the hash does not depend on where a machine keeps it.
    pub(crate) sha256: String,
    /// The file at `path`, and those that it extends.
    pub(crate) files: Vec<PathBuf>,
}

impl ConfigArgs {
    /// Loads the configuration, and warns of keys under their old names.
    ///
    /// # Errors
    /// No CONFIG was given and the default one is not found; the configuration is invalid.
    pub(crate) fn load(&self) -> Result<LoadedConfig> {
        let loaded = self.load_with(&[])?;
        drivewam_console::warn("drivewam", loaded.config.deprecated_keys());
        Ok(loaded)
    }

    /// As [`ConfigArgs::load`], with another default.
    ///
    /// # Errors
    /// As [`ConfigArgs::load`].
    pub(crate) fn load_or(&self, default: &str) -> Result<LoadedConfig> {
        let config = self.config.clone().map_or_else(|| default_path(default), Ok)?;
        Self { config: Some(config), set: self.set.clone() }.load()
    }

    /// Loads the configuration with `layers` of YAML on top of it and of `--set`.
    ///
    /// # Errors
    /// As [`ConfigArgs::load`].
    pub(crate) fn load_with(&self, layers: &[&str]) -> Result<LoadedConfig> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None => default_path(DEFAULT)?,
        };
        let on_top = layers.iter().filter(|text| !text.is_empty()).map(|text| Layer { name: (*text).to_owned(), text: (*text).to_owned() });
        let mut layers: Vec<Layer> = self.set.iter().map(|text| Layer::setting(text)).collect::<drivewam_core::Result<_>>()?;
        layers.extend(on_top);
        let mut config = load_config(&path, &layers)?;
        // Without "..", so that messages name it plainly.
        if let Ok(plain) = Path::new(&config.engine.folder).canonicalize() {
            config.engine.folder = plain.display().to_string();
        }
        let sha256 = config_sha256(&config)?;
        let files = files_of(&path);
        Ok(LoadedConfig { config, path, sha256, files })
    }
}

/// How many folders above the program are looked through: `target/TRIPLE/release` of a workspace.
const FOLDERS_ABOVE: usize = 4;

/// The default configuration: in a folder above the program, else in the current folder.
fn default_path(default: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().skip(1).take(FOLDERS_ABOVE).map(|folder| folder.join(default));
    let here = PathBuf::from(default);
    match above.chain([here.clone()]).find(|path| path.is_file()) {
        Some(path) => Ok(path.canonicalize().unwrap_or(path)),
        None => bail!("no CONFIG was given, and the default one exists neither above {program:?} nor at {here:?}: give CONFIG"),
    }
}

/// How many files a chain of `extends` is followed through.
const MAX_FILES: usize = 64;
/// Longest of them, bytes, as when the configuration is loaded.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The part of a configuration file that names others.
#[derive(Deserialize)]
struct Extends {
    #[serde(default)]
    extends: Vec<PathBuf>,
}

/// A configuration file that was loaded, and those that it extends.
fn files_of(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    let mut next = 0;
    while let Some(file) = files.get(next).filter(|_| files.len() < MAX_FILES).cloned() {
        next += 1;
        let text = drivewam_files::read_text(&file, MAX_FILE_BYTES, ErrorKind::Io).unwrap_or_default();
        let Ok(Extends { extends }) = serde_saphyr::from_str(&text) else { continue };
        let folder = file.parent().unwrap_or(Path::new(""));
        files.extend(extends.iter().map(|base| folder.join(base)));
    }
    files
}
