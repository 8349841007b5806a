//! Which configuration a verb works with: the one it was given, else the shipped small one; `--set` on top.

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use drivewam::{config_sha256, load_config};
use drivewam_core::config::{Config, Layer};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The shipped configuration, relative to the workspace.
const SHIPPED: &str = "configs/tiny.yaml";

/// The configuration that a verb works with.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct ConfigArgs {
    /// Configuration; without it the shipped small policy's.
    #[arg(value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// Overrides one key, for example --set flow.seed=7; may be given again. The value is YAML.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A configuration and the names by which reports call it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) config: Config,
    pub(crate) path: PathBuf,
    /// SHA-256 of the whole configuration as YAML. The engine folder counts by its own name: where it lies is the machine's affair.
    pub(crate) sha256: String,
}

impl ConfigArgs {
    /// Loads it.
    ///
    /// # Errors
    /// No configuration at hand, or one that is refused.
    pub(crate) fn load(&self) -> Result<Named> {
        let named = self.load_with(&[])?;
        named.config.deprecated_keys().iter().for_each(|key| eprintln!("drivewam: warning: {key}"));
        Ok(named)
    }

    /// The same with layers of YAML on top.
    ///
    /// # Errors
    /// As [`ConfigArgs::load`].
    pub(crate) fn load_with(&self, layers: &[&str]) -> Result<Named> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None => shipped()?,
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
        Ok(Named { config, path, sha256 })
    }
}

/// The shipped configuration: of the workspace that this program was built in, else of the current folder.
fn shipped() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SHIPPED);
    let here = PathBuf::from(SHIPPED);
    for path in [&built, &here] {
        if path.is_file() {
            return Ok(path.canonicalize().unwrap_or_else(|_| path.clone()));
        }
    }
    bail!("no CONFIG was given, and the shipped one is neither at {built:?} nor at {here:?}")
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
