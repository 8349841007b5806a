//! Faults of files and signatures.

use super::{DIT, Fault, NOTHING, edit, link, mode, reword};
use drivewam_core::manifest::FILE_NAME;
use drivewam_engine::bundle::SIGNATURE_FILE_NAME;
use drivewam_tests::signing;
use std::fs;

/// Faults of files.
pub(super) fn of_files() -> Vec<Fault> {
    vec![
        Fault { name: "truncated", corrupt: |d| edit(d, DIT, |c| c.truncate(99)), words: &[DIT, "not as long", "99 bytes"], ..NOTHING },
        Fault { name: "empty", corrupt: |d| edit(d, DIT, Vec::clear), words: &[DIT, "not as long", "0 bytes"], ..NOTHING },
        Fault {
            name: "oversized",
            corrupt: |d| edit(d, DIT, |c| c.resize(1 << 20, 0)),
            words: &[DIT, "not as long", "1048576 bytes"],
            ..NOTHING
        },
        Fault { name: "first bit", corrupt: |d| edit(d, DIT, |c| c[0] ^= 1), words: &[DIT, "SHA-256"], ..NOTHING },
        Fault { name: "last bit", corrupt: |d| edit(d, DIT, |c| *c.last_mut().unwrap() ^= 0x80), words: &[DIT, "SHA-256"], ..NOTHING },
        Fault {
            name: "two swapped",
            corrupt: |d| {
                fs::rename(d.join("vae_encode.engine"), d.join("aside")).unwrap();
                fs::rename(d.join(DIT), d.join("vae_encode.engine")).unwrap();
                fs::rename(d.join("aside"), d.join(DIT)).unwrap();
            },
            words: &[".engine", "not as long"],
            ..NOTHING
        },
        Fault {
            name: "renamed",
            corrupt: |d| fs::rename(d.join(DIT), d.join("dit2.engine")).unwrap(),
            words: &[DIT, "missing"],
            ..NOTHING
        },
        Fault { name: "missing", corrupt: |d| fs::remove_file(d.join(DIT)).unwrap(), words: &[DIT, "missing"], ..NOTHING },
        Fault {
            name: "a folder",
            corrupt: |d| {
                fs::remove_file(d.join(DIT)).unwrap();
                fs::create_dir(d.join(DIT)).unwrap();
            },
            words: &[DIT, "not a plain file", "a folder"],
            ..NOTHING
        },
        #[cfg(unix)]
        Fault { name: "a link", corrupt: |d| link(d, DIT), words: &[DIT, "a symbolic link"], ..NOTHING },
        #[cfg(unix)]
        Fault {
            name: "an endless device",
            corrupt: |d| {
                fs::remove_file(d.join(DIT)).unwrap();
                std::os::unix::fs::symlink("/dev/zero", d.join(DIT)).unwrap();
            },
            words: &[DIT, "a symbolic link"],
            ..NOTHING
        },
        #[cfg(unix)]
        Fault {
            name: "an engine that others may write",
            corrupt: |d| mode(&d.join(DIT), 0o666),
            words: &[DIT, "others may write it"],
            ..NOTHING
        },
        #[cfg(unix)]
        Fault {
            name: "a manifest that others may write",
            corrupt: |d| mode(&d.join(FILE_NAME), 0o646),
            words: &[FILE_NAME, "others may write it"],
            ..NOTHING
        },
        #[cfg(unix)]
        Fault {
            name: "a folder that others may write into",
            corrupt: |d| mode(d, 0o777),
            words: &["others may write into the folder"],
            ..NOTHING
        },
        Fault {
            name: "no texts",
            corrupt: |d| fs::remove_file(d.join("commands.safetensors")).unwrap(),
            words: &["commands.safetensors", "missing"],
            ..NOTHING
        },
        Fault {
            name: "no self-test",
            corrupt: |d| fs::remove_file(d.join("self_test.safetensors")).unwrap(),
            words: &["self_test.safetensors", "missing"],
            ..NOTHING
        },
    ]
}

/// Faults of signatures.
pub(super) fn of_signatures() -> Vec<Fault> {
    vec![
        Fault { name: "not signed", set: signing::TRUSTED, words: &[SIGNATURE_FILE_NAME, "not signed"], ..NOTHING },
        Fault {
            name: "signed by a stranger",
            corrupt: |d| signing::sign(d, 2),
            set: signing::TRUSTED,
            words: &[SIGNATURE_FILE_NAME, "no trusted key"],
            ..NOTHING
        },
        Fault { name: "signed by a revoked key", corrupt: |d| signing::sign(d, 3), set: signing::REVOKED, words: &["revoked"], ..NOTHING },
        Fault {
            name: "a revoked key that is trusted elsewhere",
            corrupt: |d| signing::sign(d, 1),
            set: signing::BOTH,
            words: &["revoked"],
            ..NOTHING
        },
        Fault {
            name: "a signature of 63 bytes",
            corrupt: |d| {
                signing::sign(d, 1);
                edit(d, SIGNATURE_FILE_NAME, |c| c.truncate(63));
            },
            set: signing::TRUSTED,
            words: &["63 bytes", "64 bytes"],
            ..NOTHING
        },
        Fault {
            name: "a signature with a flipped bit",
            corrupt: |d| {
                signing::sign(d, 1);
                edit(d, SIGNATURE_FILE_NAME, |c| c[5] ^= 4);
            },
            set: signing::TRUSTED,
            words: &["no trusted key"],
            ..NOTHING
        },
        Fault {
            name: "a manifest that was edited after it was signed",
            corrupt: |d| {
                signing::sign(d, 1);
                reword(d, "target: a test", "target: a tesT");
            },
            set: signing::TRUSTED,
            words: &["no trusted key"],
            ..NOTHING
        },
        Fault {
            name: "a signature of zeros",
            corrupt: |d| fs::write(d.join(SIGNATURE_FILE_NAME), [0; 64]).unwrap(),
            set: signing::TRUSTED,
            words: &["no trusted key"],
            ..NOTHING
        },
        Fault {
            name: "an endless signature",
            corrupt: |d| fs::write(d.join(SIGNATURE_FILE_NAME), vec![0; 1 << 20]).unwrap(),
            set: signing::TRUSTED,
            words: &[SIGNATURE_FILE_NAME, "too long"],
            ..NOTHING
        },
        #[cfg(unix)]
        Fault {
            name: "a signature that is a link",
            corrupt: |d| {
                signing::sign(d, 1);
                link(d, SIGNATURE_FILE_NAME);
            },
            set: signing::TRUSTED,
            words: &["a symbolic link"],
            ..NOTHING
        },
    ]
}
