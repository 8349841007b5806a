//! The power rails of a Jetson, from the power monitors on its board.
//!
//! An INA3221 measures up to three rails: voltage in mV (`in1_input`), current in mA
//! (`curr1_input`) and the rail's name (`in1_label`). Channels from 4 on are shunts and sums. The
//! carrier board of Thor also has an INA238, which measures the whole input (`power1_input`, µW)
//! and has no label; it is called `VIN` here as in `tegrastats`. Source of files, names and totals:
//! NVIDIA's Jetson Linux Developer Guide, chapter "Platform Power and Performance". Source of the
//! units: the kernel's `Documentation/hwmon`.

use super::tree::Tree;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Most rails that are read; boards have up to eight.
const RAILS: usize = 16;
/// Names of rails that measure the board's whole input.
const INPUTS: [&str; 2] = ["VDD_IN", "VIN"];
/// Rails behind another rail, which already counts them: on AGX Orin the memory rail behind the 5 V
/// input.
const BRANCHES: [(&str, &str); 1] = [("VDDQ_VDD2_1V8AO", "VIN_SYS_5V0")];

/// The rails of a board.
#[derive(Debug)]
pub(crate) struct Rails {
    rails: Vec<Rail>,
    /// Indices of the rails whose sum is the total.
    total: Vec<usize>,
}

#[derive(Debug)]
struct Rail {
    name: String,
    sensor: Sensor,
}

#[derive(Debug)]
enum Sensor {
    VoltageAndCurrent { millivolts: PathBuf, milliamperes: PathBuf },
    Microwatts(PathBuf),
}

impl Rails {
    /// The rails below `root`; `None` if no monitor has any.
    ///
    /// A channel that has no label, is called `NC`, has no current or is disabled is not a
    /// rail. A rail that cannot be read stays in the list, so that the total is unknown and not
    /// too small.
    pub(crate) fn find(root: &Path) -> Option<Rails> {
        Rails::search(&mut Tree::new(root))
    }

    /// Like [`Rails::find`]; notes in `tree` what cannot be read.
    pub(super) fn search(tree: &mut Tree) -> Option<Rails> {
        let mut rails = Vec::new();
        for folder in monitors(tree, "ina3221") {
            for channel in 1..=3 {
                rails.extend(rail(tree, &folder, channel));
            }
        }
        if rails.is_empty() {
            return None;
        }
        // On other machines such a monitor may measure anything. A single one beside
        // INA3221 rails measures the board's input.
        if let [folder] = monitors(tree, "ina238").as_slice() {
            let path = format!("{folder}/power1_input");
            if tree.exists(&path) {
                rails.push(probe(tree, Rail { name: "VIN".to_owned(), sensor: Sensor::Microwatts(tree.path(&path)) }, &path));
            }
        }
        if rails.len() > RAILS {
            tree.add_note(&format!("power rails: {} of {} are read", RAILS, rails.len()));
            rails.truncate(RAILS);
        }
        let total = total(&rails);
        Some(Rails { rails, total })
    }

    /// The names, in the order of [`Rails::read`].
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.rails.iter().map(|rail| rail.name.as_str())
    }

    pub(crate) fn len(&self) -> usize {
        self.rails.len()
    }

    /// Whether a rail is part of the total.
    pub(crate) fn is_in_total(&self, rail: usize) -> bool {
        self.total.contains(&rail)
    }

    /// Reads the power of every rail into `milliwatts`. Near zero the offset of a monitor can
    /// make it negative.
    ///
    /// Blocks for some milliseconds on the bus. Allocates only if a rail fails.
    ///
    /// # Errors
    /// The first rail that could not be read, with name and path. Failed rails are NaN, the
    /// others valid.
    pub(crate) fn read(&self, milliwatts: &mut [f64]) -> io::Result<()> {
        let mut outcome = Ok(());
        for (rail, place) in self.rails.iter().zip(milliwatts) {
            *place = match rail.sensor.milliwatts() {
                Ok(power) => power,
                Err(e) => {
                    if outcome.is_ok() {
                        outcome = Err(io::Error::new(e.kind(), format!("{}: {e}", rail.name)));
                    }
                    f64::NAN
                }
            };
        }
        outcome
    }

    /// The power of the board in mW, from the values of [`Rails::read`]; NaN if a rail of the
    /// total is missing.
    pub(crate) fn total(&self, milliwatts: &[f64]) -> f64 {
        self.total.iter().map(|&rail| milliwatts.get(rail).copied().unwrap_or(f64::NAN)).sum()
    }
}

impl Sensor {
    fn milliwatts(&self) -> io::Result<f64> {
        match self {
            Sensor::VoltageAndCurrent { millivolts, milliamperes } => {
                Ok(integer(millivolts, 100_000)? as f64 * integer(milliamperes, 1_000_000)? as f64 / 1000.0)
            }
            Sensor::Microwatts(path) => Ok(integer(path, 10_000_000_000)? as f64 / 1000.0),
        }
    }
}

/// The folders of all monitors of a chip: below its driver, or else in the list of all monitors.
fn monitors(tree: &mut Tree, chip: &str) -> Vec<String> {
    let is_monitor = |name: &str| name.starts_with("hwmon");
    let driver = format!("sys/bus/i2c/drivers/{chip}");
    let mut folders = Vec::new();
    // Devices are named after bus and address, as `1-0040`.
    for device in tree.names("power monitors", &driver, |name| name.starts_with(|c: char| c.is_ascii_digit())) {
        let folder = format!("{driver}/{device}/hwmon");
        folders.extend(tree.names("power monitors", &folder, is_monitor).into_iter().map(|name| format!("{folder}/{name}")));
    }
    if folders.is_empty() {
        let all = tree.names("monitors", "sys/class/hwmon", is_monitor).into_iter().map(|name| format!("sys/class/hwmon/{name}"));
        folders = all.filter(|folder| tree.line("monitor", &format!("{folder}/name")).as_deref() == Some(chip)).collect();
    }
    folders
}

fn rail(tree: &mut Tree, folder: &str, channel: u8) -> Option<Rail> {
    let [label, enable] = ["label", "enable"].map(|file| format!("{folder}/in{channel}_{file}"));
    let [voltage, current] = ["in", "curr"].map(|kind| format!("{folder}/{kind}{channel}_input"));
    if !tree.exists(&voltage) || !tree.exists(&current) {
        return None;
    }
    // The format of `tegrastats` requires names without spaces.
    let name = tree.line("power rail", &label)?.replace(char::is_whitespace, "_");
    if name.eq_ignore_ascii_case("NC") || tree.number::<u8>("power rail", &enable) == Some(0) {
        return None;
    }
    let sensor = Sensor::VoltageAndCurrent { millivolts: tree.path(&voltage), milliamperes: tree.path(&current) };
    Some(probe(tree, Rail { name, sensor }, &current))
}

/// Notes the rail in `tree` if it cannot be read now, and returns it.
fn probe(tree: &mut Tree, rail: Rail, path: &str) -> Rail {
    if let Err(e) = rail.sensor.milliwatts() {
        tree.note(&format!("power rail {}", rail.name), path, &e.to_string());
    }
    rail
}

/// Indices of the rails whose sum is the total: the input rail alone if it is measured, else all
/// rails that are not behind another one.
fn total(rails: &[Rail]) -> Vec<usize> {
    let find = |name: &str| rails.iter().position(|rail| rail.name == name);
    if let Some(input) = INPUTS.iter().find_map(|name| find(name)) {
        return vec![input];
    }
    let is_branch = |rail: &Rail| BRANCHES.iter().any(|(branch, root)| rail.name == *branch && find(root).is_some());
    rails.iter().enumerate().filter(|(_, rail)| !is_branch(rail)).map(|(number, _)| number).collect()
}

/// Reads an integer from a small file without allocating.
fn integer(path: &Path, greatest: u64) -> io::Result<i64> {
    let odd = |why: &str| io::Error::new(ErrorKind::InvalidData, format!("{}: {why}", path.display()));
    if !fs::metadata(path)?.is_file() {
        return Err(odd("not a file"));
    }
    let (mut buffer, mut length, mut file) = ([0_u8; 32], 0, File::open(path)?);
    loop {
        let read = file.read(buffer.get_mut(length..).unwrap_or_default())?;
        if read == 0 {
            break;
        }
        length += read;
    }
    let text = buffer.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    if length == buffer.len() {
        return Err(odd("longer than a number"));
    }
    let number = text.trim().parse::<i64>().map_err(|e| odd(&e.to_string()))?;
    if number.unsigned_abs() > greatest {
        return Err(odd("out of range"));
    }
    Ok(number)
}
