//! Signs a manifest with an ed25519 key.

use anyhow::{Context, Result, anyhow};
use drivewam_core::ErrorKind;
use drivewam_engine::bundle::Trust;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use std::path::Path;

/// Longest file of a key, bytes. One has about 120.
const KEY_BYTES: u64 = 1 << 16;

/// Reads a private key from a PEM file, as `openssl genpkey -algorithm ed25519` writes it.
pub(crate) fn read(path: &Path) -> Result<SigningKey> {
    let text = drivewam_files::read_text(path, KEY_BYTES, ErrorKind::Io).context("--sign")?;
    SigningKey::from_pkcs8_pem(&text)
        .map_err(|e| anyhow!("--sign {path:?}: not an ed25519 private key in PEM: {e}; openssl genpkey -algorithm ed25519 makes one"))
}

/// The signature of a manifest: 64 bytes.
pub(crate) fn signature(key: &SigningKey, manifest: &[u8]) -> Vec<u8> {
    key.sign(manifest).to_bytes().to_vec()
}

/// Trusts this key alone; without a key, any folder.
pub(crate) fn trust(key: Option<&SigningKey>) -> Result<Trust> {
    Ok(key.map(|key| Trust::only(key.verifying_key().as_bytes())).transpose()?.unwrap_or_default())
}
