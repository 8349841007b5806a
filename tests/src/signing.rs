//! Test keys, and signing a manifest with them.

use drivewam_core::manifest::FILE_NAME;
use drivewam_engine::bundle::SIGNATURE_FILE_NAME;
use ed25519_dalek::{Signer, SigningKey};
use std::path::Path;

/// A configuration that trusts key 1.
pub const TRUSTED: &str = "{vehicle: {trusted_keys: [8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c]}}";
/// A configuration that trusts key 1 and revokes key 3.
pub const REVOKED: &str = "{vehicle: {trusted_keys: [8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c], revoked_keys: [ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1]}}";
/// A configuration that trusts key 1 and revokes it.
pub const BOTH: &str = "{vehicle: {trusted_keys: [8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c], revoked_keys: [8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c]}}";

/// Signs the manifest of `folder` with the key whose 32 bytes are all `number`.
pub fn sign(folder: &Path, number: u8) {
    let manifest = std::fs::read(folder.join(FILE_NAME)).unwrap();
    let signature = SigningKey::from_bytes(&[number; 32]).sign(&manifest);
    std::fs::write(folder.join(SIGNATURE_FILE_NAME), signature.to_bytes()).unwrap();
}
