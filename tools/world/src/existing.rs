//! Whether a drive that a folder holds is the one that is asked for.

use crate::drive_files::{CAPTIONS_FILE, PLANS_FILE, WriteOptions, header};
use crate::output::write_error;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_recording::format;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// Longest part of a file that a message repeats, characters.
const MAX_QUOTE: usize = 80;
/// Longest `input.yaml` that is read, bytes. Those of this crate have less than 1 kB.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Longest table that is read, bytes: one of a drive of an hour has 3 MB.
const MAX_TABLE_BYTES: u64 = 1 << 30;

/// The name of the folder of `seed`.
pub(crate) fn folder_name(seed: u64) -> String {
    format!("{seed:06}")
}

/// Checks every folder in `out` that is named by one of `seeds`: it must hold the whole drive that
/// `options` give, or nothing.
///
/// # Errors
/// `Config` for a drive of other options, with the first difference; for a folder that is not a
/// whole drive, which nobody may remove but its owner. `Io` for a file that cannot be read.
pub(crate) fn check_existing(seeds: &Range<u64>, options: &WriteOptions, out: &Path) -> Result<()> {
    let mut found: Vec<u64> = Vec::new();
    for entry in fs::read_dir(out).map_err(|e| write_error(e, out))? {
        let name = entry.map_err(|e| write_error(e, out))?.file_name();
        let seed = name.to_str().and_then(|name| name.parse::<u64>().ok());
        found.extend(seed.filter(|seed| seeds.contains(seed) && *name == *folder_name(*seed)));
    }
    found.sort_unstable();
    found.into_iter().try_for_each(|seed| check(seed, options, &out.join(folder_name(seed))))
}

fn check(seed: u64, options: &WriteOptions, folder: &Path) -> Result<()> {
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    let different = |got: String, wanted: String| {
        let quote = |text: String| text.chars().take(MAX_QUOTE).collect::<String>();
        Err(Error::new(ErrorKind::Config, "holds a drive of other options; give another folder, or the same options")
            .at(format!("{folder:?}"))
            .got(quote(got))
            .wanted(quote(wanted)))
    };
    let Ok(text) = drivewam_files::read_text(&folder.join(format::HEADER_FILE), MAX_HEADER_BYTES, ErrorKind::Io) else {
        return Err(Error::new(ErrorKind::Config, "exists and is not a whole drive; move it away").at(format!("{folder:?}")));
    };
    let wanted = header(seed, options).to_yaml()?;
    if text != wanted {
        let lines = || text.lines().zip(wanted.lines());
        let (got, wanted) = lines().find(|(a, b)| a != b).unwrap_or(("another length of input.yaml", "the same"));
        return different(got.trim().to_owned(), wanted.trim().to_owned());
    }
    for (file, rows, what) in
        [(format::POSES.file, options.ticks() + 1, "poses"), (format::FRAMES.file, options.ticks() / options.frame_every() + 1, "frames")]
    {
        let text = drivewam_files::read_text(&folder.join(file), MAX_TABLE_BYTES, ErrorKind::Io)?;
        let got = text.lines().count().saturating_sub(1) as u64;
        if got != rows {
            return different(format!("{got} {what}"), format!("{rows}, by the length and the camera's rate"));
        }
    }
    for (file, is_wanted) in [(PLANS_FILE, options.plans.is_some()), (CAPTIONS_FILE, options.captions)] {
        if folder.join(file).exists() != is_wanted {
            let [with, without] = ["with", "without"].map(|word| format!("{word} {file}"));
            return if is_wanted { different(without, with) } else { different(with, without) };
        }
    }
    Ok(())
}
