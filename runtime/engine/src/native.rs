//! Which native libraries may be opened: those that nobody else may replace.
//!
//! A library runs in the process from the moment it is opened. So its file is held to the rules of
//! the files of an engine bundle ([`crate::access`]), and with trusted keys the environment does
//! not choose it.

use crate::access;
use crate::bundle::Signed;
use drivewam_core::config::{EngineConfig, EngineKind};
use drivewam_core::{Error, ErrorKind, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf, absolute};

/// The environment variable with the path of ONNX Runtime, for a configuration without one.
pub(crate) const ORT_VARIABLE: &str = "ORT_DYLIB_PATH";
/// The environment variable with the path of TensorRT, for a configuration without one.
pub(crate) const TENSORRT_VARIABLE: &str = "DRIVEWAM_TENSORRT";

/// The plain file behind the path of a library, links followed. A bare name is left to the system's
/// loader, which looks where the system's owner lets it, and comes back as it is.
///
/// # Errors
/// `Engine`: nothing is there, or no plain file; others may write the file or its folder.
#[cfg(any(feature = "ort", feature = "tensorrt"))]
pub(crate) fn resolve(named: &Path) -> Result<PathBuf> {
    if named.components().count() < 2 {
        return Ok(named.to_owned());
    }
    let absent = |e| Error::new(ErrorKind::Engine, "the library is not there").caused_by(e);
    let path = absolute(named).and_then(std::fs::canonicalize).map_err(absent)?;
    let found = drivewam_files::expect_plain(&path, ErrorKind::Engine)?;
    access::private_file(&found, ErrorKind::Engine)?;
    path.parent().map_or(Ok(()), |folder| access::private_folder(folder, ErrorKind::Engine)).map_err(|e| e.at("its folder"))?;
    Ok(path)
}

/// Proves that the environment does not choose the library where a trusted key signed the bundle:
/// whoever sets a variable could otherwise run code beside a policy that was signed.
///
/// # Errors
/// `Engine`, naming the variable and the key of the configuration that must name the library.
pub fn check_library_source(config: &EngineConfig, signed: &Signed) -> Result<()> {
    let (configured, variable, key) = match config.kind {
        EngineKind::Ort => (&config.onnxruntime, ORT_VARIABLE, "engine.onnxruntime"),
        EngineKind::Tensorrt | EngineKind::TensorrtRtx => (&config.tensorrt.library, TENSORRT_VARIABLE, "engine.tensorrt.library"),
        EngineKind::Rten | EngineKind::ClosedForm => return Ok(()),
    };
    let is_trusted = matches!(signed, Signed::By(_));
    check_variable(is_trusted && configured.is_none(), variable, std::env::var_os(variable), key)
}

fn check_variable(must_not_choose: bool, variable: &str, value: Option<OsString>, key: &str) -> Result<()> {
    match value.filter(|path| must_not_choose && !path.is_empty()) {
        None => Ok(()),
        Some(path) => Err(Error::new(ErrorKind::Engine, "the environment may not choose the library where `vehicle.trusted_keys` are set")
            .at(variable)
            .got(format!("{path:?}"))
            .wanted(format!("the path in `{key}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Breaks when a variable chooses the library beside a signed policy, or is refused where
    /// nothing is trusted or the configuration names the library.
    #[test]
    fn the_environment_does_not_choose_a_library_where_keys_are_trusted() {
        let check = |must_not, value: Option<&str>| check_variable(must_not, ORT_VARIABLE, value.map(Into::into), "engine.onnxruntime");
        check(false, Some("/a.so")).unwrap();
        check(true, None).unwrap();
        check(true, Some("")).unwrap();
        let said = check(true, Some("/a.so")).unwrap_err().to_string();
        for word in [ORT_VARIABLE, "vehicle.trusted_keys", "/a.so", "engine.onnxruntime"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    /// Breaks when a library is opened that another user may replace.
    #[test]
    #[cfg(any(feature = "ort", feature = "tensorrt"))]
    fn a_library_that_others_may_write_is_refused_and_so_is_one_in_such_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lib");
        std::fs::create_dir(&folder).unwrap();
        let (file, link) = (folder.join("a.so"), dir.path().join("link.so"));
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mode = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let said = |path: &Path| resolve(path).unwrap_err().to_string();
        for (of_file, of_folder, words) in [(0o666, 0o755, "others may write it"), (0o644, 0o777, "others may write into the folder")] {
            mode(&file, of_file);
            mode(&folder, of_folder);
            assert!(said(&file).contains(words) && said(&link).contains(words), "{}", said(&file));
        }
        mode(&file, 0o664);
        // In a sticky folder others may add files and replace none.
        for of_folder in [0o775, 0o1777] {
            mode(&folder, of_folder);
            assert_eq!(resolve(&link).unwrap(), file.canonicalize().unwrap());
        }
        assert_eq!(resolve(Path::new("libname.so")).unwrap(), Path::new("libname.so"));
        assert!(said(&folder).contains("a folder") && said(&folder.join("none.so")).contains("not there"));
    }
}
