//! Which manifests are trusted: those with a pinned hash, and those with a signature, a detached
//! ed25519 signature over the manifest's bytes, 64 bytes in a file beside it, as
//! `openssl pkeyutl -sign -rawin` and `build_engines --sign` write it.

use drivewam_core::config;
use drivewam_core::{Error, ErrorKind, Result};
use ed25519_dalek::{Signature, VerifyingKey};

/// The signature's file name inside an engine folder.
pub const FILE_NAME: &str = "manifest.yaml.sig";

/// Public keys whose signature of a manifest is accepted, and the hash of the one manifest that is.
/// Without keys, a manifest needs no signature; without a hash, it may be any.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    keys: Vec<VerifyingKey>,
    revoked: Vec<VerifyingKey>,
    pinned: Option<String>,
}

/// Who signed a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// Nobody, and no signature was required.
    No,
    /// Somebody. No keys are configured, so the signature was not checked.
    Unchecked,
    /// The trusted key, in hexadecimal.
    By(String),
}

impl Trust {
    /// The keys of a vehicle's configuration.
    ///
    /// # Errors
    /// `Config` for a text that is not a key.
    pub fn of(vehicle: &config::VehicleConfig) -> Result<Self> {
        let keys = |key: &str, list: &[String]| list.iter().map(|text| parse(text).map_err(|e| e.at(key))).collect::<Result<Vec<_>>>();
        Ok(Self {
            keys: keys("vehicle.trusted_keys", &vehicle.trusted_keys)?,
            revoked: keys("vehicle.revoked_keys", &vehicle.revoked_keys)?,
            pinned: None,
        })
    }

    /// The keys of a configuration, and the hash that it pins (`engine.manifest_sha256`): what its
    /// engine folder is opened with.
    ///
    /// # Errors
    /// As [`Trust::of`].
    pub fn of_config(config: &config::Config) -> Result<Self> {
        Ok(Self { pinned: config.engine.manifest_sha256.clone(), ..Self::of(&config.vehicle)? })
    }

    /// Trust in one key.
    ///
    /// # Errors
    /// `Config` for bytes that are not a key.
    pub fn only(key: &[u8; 32]) -> Result<Self> {
        Ok(Self { keys: vec![parse(&hex(key))?], ..Self::default() })
    }

    /// Proves that the manifest with this hash is the pinned one, if one is.
    pub(super) fn check_pin(&self, sha256: &str) -> Result<()> {
        match &self.pinned {
            Some(pinned) if pinned != sha256 => {
                Err(Error::new(ErrorKind::Manifest, "the manifest is not the one that the configuration pins")
                    .at("engine.manifest_sha256")
                    .got(sha256)
                    .wanted(pinned))
            }
            _ => Ok(()),
        }
    }

    /// Proves that `manifest` is signed as these keys require.
    pub(super) fn check(&self, manifest: &[u8], signature: Option<&[u8]>) -> Result<Signed> {
        let bad = |what: &str| Error::new(ErrorKind::Manifest, what).at(FILE_NAME);
        let Some(bytes) = signature else {
            return if self.keys.is_empty() && self.revoked.is_empty() {
                Ok(Signed::No)
            } else {
                Err(bad("the manifest is not signed").wanted("a signature by a key of `vehicle.trusted_keys`: build_engines --sign"))
            };
        };
        let signature = Signature::from_slice(bytes).map_err(|e| {
            bad("not an ed25519 signature").got(format!("{} bytes", bytes.len())).wanted("64 bytes").caused_by(e.to_string())
        })?;
        let by =
            |keys: &[VerifyingKey]| keys.iter().find(|key| key.verify_strict(manifest, &signature).is_ok()).map(|key| hex(key.as_bytes()));
        if let Some(key) = by(&self.revoked) {
            return Err(bad("signed by a key that was revoked").got(key));
        }
        if self.keys.is_empty() && self.revoked.is_empty() {
            return Ok(Signed::Unchecked);
        }
        by(&self.keys).map(Signed::By).ok_or_else(|| {
            let known: Vec<_> = self.keys.iter().map(|key| hex(key.as_bytes())).collect();
            let wanted =
                if known.is_empty() { "a key in `vehicle.trusted_keys`".to_owned() } else { format!("one of {}", known.join(", ")) };
            bad("no trusted key made this signature of this manifest").wanted(wanted)
        })
    }
}

/// A hash as the manifest writes it.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(text: &str) -> Result<VerifyingKey> {
    let bad = || Error::new(ErrorKind::Config, "not an ed25519 public key").got(format!("{text:?}")).wanted("64 hexadecimal digits");
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(bad)?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    VerifyingKey::from_bytes(&bytes).map_err(|e| bad().caused_by(e.to_string()))
}
