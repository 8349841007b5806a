//! The key that signs a manifest.

use anyhow::{Context, Result, anyhow};
use drivewam_engine::bundle::Trust;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use std::path::Path;

/// A private key from a PEM file, as `openssl genpkey -algorithm ed25519` writes it.
pub(crate) fn read(path: &Path) -> Result<SigningKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--sign {path:?} cannot be read"))?;
    SigningKey::from_pkcs8_pem(&text)
        .map_err(|e| anyhow!("--sign {path:?}: not an ed25519 private key in PEM: {e}; openssl genpkey -algorithm ed25519 makes one"))
}

/// The 64 bytes that go beside the manifest.
pub(crate) fn signature(key: &SigningKey, manifest: &[u8]) -> Vec<u8> {
    key.sign(manifest).to_bytes().to_vec()
}

/// Trust in this key alone; without one, in whoever comes.
pub(crate) fn trust(key: Option<&SigningKey>) -> Result<Trust> {
    Ok(key.map(|key| Trust::only(key.verifying_key().as_bytes())).transpose()?.unwrap_or_default())
}
