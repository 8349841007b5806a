//! The power rails of a Jetson, from the monitors on its board.
//!
//! An INA3221 measures up to three rails: voltage in mV (`in1_input`), current in mA (`curr1_input`), and what the board calls the rail
//! (`in1_label`). Channels from 4 on are shunts and sums, no rails. Thor's carrier has an INA238 besides, which measures the whole input
//! (`power1_input`, µW) and has no label; `tegrastats` calls it `VIN`, and so do we. Source of files, names and totals: NVIDIA's Jetson Linux
//! Developer Guide, chapter "Platform Power and Performance"; of the units, the kernel's `Documentation/hwmon`.

use super::tree::Tree;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Rails that are read; boards have up to eight.
const RAILS: usize = 16;
/// A rail that measures all that comes in.
const INPUTS: [&str; 2] = ["VDD_IN", "VIN"];
/// Rails that hang on another one, which has counted them: on AGX Orin that of the memory, behind the 5 V input.
const BRANCHES: [(&str, &str); 1] = [("VDDQ_VDD2_1V8AO", "VIN_SYS_5V0")];

/// The rails of a board.
#[derive(Debug)]
pub(crate) struct Rails {
    rails: Vec<Rail>,
    /// Numbers of the rails that make the total.
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
    /// The rails below `root`; `None` where no monitor shows any.
    ///
    /// A channel without a label, called `NC`, without a current, or switched off is no rail. One that is there and cannot be read stays
    /// one, so that a total without it is never taken for the whole.
    pub(crate) fn find(root: &Path) -> Option<Rails> {
        Rails::search(&mut Tree::new(root))
    }

    /// As [`Rails::find`]; what cannot be read is noted in `tree`.
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
        // Elsewhere such a monitor may measure anything; beside these rails it is the board's input, if it is the only one.
        if let [folder] = monitors(tree, "ina238").as_slice() {
            let path = format!("{folder}/power1_input");
            if tree.exists(&path) {
                rails.push(noted(tree, Rail { name: "VIN".to_owned(), sensor: Sensor::Microwatts(tree.path(&path)) }, &path));
            }
        }
        if rails.len() > RAILS {
            tree.keep(&format!("power rails: {} of {} are read", RAILS, rails.len()));
            rails.truncate(RAILS);
        }
        let total = total(&rails);
        Some(Rails { rails, total })
    }

    /// The names, in the order in which [`Rails::read`] puts out.
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

    /// Reads every rail into its place, in mW. Power may be negative: about nothing, a monitor's offset shows.
    ///
    /// Takes some milliseconds, in which the thread waits for the bus. Allocates nothing unless a rail fails.
    ///
    /// # Errors
    /// The first rail that could not be read, by name and path. Its place holds a NaN, and all others what was read.
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

    /// The power of the whole board, in mW, from what [`Rails::read`] gave; NaN where a rail of it is missing.
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

/// Folders of all monitors of a kind: below their driver, or else, where only that is shown, among all monitors.
fn monitors(tree: &mut Tree, chip: &str) -> Vec<String> {
    let is_monitor = |name: &str| name.starts_with("hwmon");
    let driver = format!("sys/bus/i2c/drivers/{chip}");
    let mut folders = Vec::new();
    // A device is named after its bus and address, as `1-0040`.
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
    // A name is one word in the format of `tegrastats`.
    let name = tree.line("power rail", &label)?.replace(char::is_whitespace, "_");
    if name.eq_ignore_ascii_case("NC") || tree.number::<u8>("power rail", &enable) == Some(0) {
        return None;
    }
    let sensor = Sensor::VoltageAndCurrent { millivolts: tree.path(&voltage), milliamperes: tree.path(&current) };
    Some(noted(tree, Rail { name, sensor }, &current))
}

/// Notes a rail that cannot be read now.
fn noted(tree: &mut Tree, rail: Rail, path: &str) -> Rail {
    if let Err(e) = rail.sensor.milliwatts() {
        tree.note(&format!("power rail {}", rail.name), path, &e.to_string());
    }
    rail
}

/// Which rails make the total: the input alone where it is measured, else all but branches of others.
fn total(rails: &[Rail]) -> Vec<usize> {
    let find = |name: &str| rails.iter().position(|rail| rail.name == name);
    if let Some(input) = INPUTS.iter().find_map(|name| find(name)) {
        return vec![input];
    }
    let is_branch = |rail: &Rail| BRANCHES.iter().any(|(branch, root)| rail.name == *branch && find(root).is_some());
    rails.iter().enumerate().filter(|(_, rail)| !is_branch(rail)).map(|(number, _)| number).collect()
}

/// The integer in a small file, without allocation.
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
        return Err(odd("more than a number"));
    }
    let number = text.trim().parse::<i64>().map_err(|e| odd(&e.to_string()))?;
    if number.unsigned_abs() > greatest {
        return Err(odd("out of any range"));
    }
    Ok(number)
}
