//! Signs a manifest with an ed25519 key.

use anyhow::{Context, Result, anyhow};
use drivewam_engine::bundle::Trust;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use std::path::Path;

/// Reads a private key from a PEM file, as `openssl genpkey -algorithm ed25519` writes it.
pub(crate) fn read(path: &Path) -> Result<SigningKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--sign: cannot read {path:?}"))?;
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
