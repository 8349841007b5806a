//! The power meter: its statistics on given samples, and its thread on recorded rails.

use super::trees;
use crate::machine::tally::Tally;
use crate::machine::{Meter, PERIOD, PowerReport, Source};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

const OFTEN: Duration = Duration::from_millis(5);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn report(tally: &Tally) -> PowerReport {
    tally.report("test".to_owned(), [("A", true), ("B", false)].into_iter())
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{a} {b}");
}

/// Waits until another thread makes `what` true.
fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(60), "timed out");
        sleep(ms(1));
    }
}

/// Breaks if energy is not the integral of linearly interpolated samples at uneven times, or means
/// and peaks are not those of the samples.
#[test]
fn energy_is_the_area_under_the_samples() {
    let mut tally = Tally::new(2);
    assert_eq!(tally.energy_mj(ms(50), ms(200)), None);
    assert_eq!(report(&tally).energy_j, None);
    for (at, a, b) in [(0, 1000.0, -5.0), (100, 3000.0, -15.0), (400, 2000.0, -10.0)] {
        tally.take(ms(at), &[a, b], a, None);
    }
    let report = report(&tally);
    close(report.energy_j.unwrap(), 0.2 + 0.75);
    close(report.measured_s, 0.4);
    close(report.longest_gap_s, 0.3);
    let total = report.total.unwrap();
    assert_eq!((total.last_mw, total.mean_mw, total.max_mw, total.samples), (2000.0, 2000.0, 3000.0, 3));
    let b = report.rails[1].level.unwrap();
    assert_eq!((b.last_mw, b.mean_mw, b.max_mw), (-10.0, -10.0, -5.0));
    assert_eq!((report.samples, report.failed, report.first_error), (3, 0, None));
}

/// Breaks if energy does not grow between samples, or grows without end when samples stop.
#[test]
fn between_samples_energy_goes_on_for_a_while() {
    let mut tally = Tally::new(2);
    tally.take(ms(0), &[1000.0, 0.0], 1000.0, None);
    tally.take(ms(100), &[2000.0, 0.0], 2000.0, None);
    close(tally.energy_mj(ms(100), 2 * PERIOD).unwrap(), 150.0);
    close(tally.energy_mj(ms(150), 2 * PERIOD).unwrap(), 250.0);
    close(tally.energy_mj(ms(90_000), 2 * PERIOD).unwrap(), 550.0);
    close(tally.energy_mj(ms(50), 2 * PERIOD).unwrap(), 150.0);
}

/// Breaks if a failed sample counts as 0 W, ends the integration, is not counted, or hides the
/// other rails.
#[test]
fn a_failed_sample_is_bridged_and_counted() {
    let mut tally = Tally::new(2);
    tally.take(ms(0), &[1000.0, 1.0], 1000.0, None);
    tally.take(ms(100), &[f64::NAN, 3.0], f64::NAN, Some("A: gone".to_owned()));
    tally.take(ms(200), &[f64::NAN, 3.0], f64::NAN, Some("A: still gone".to_owned()));
    tally.take(ms(300), &[3000.0, 1.0], 3000.0, None);
    let report = report(&tally);
    close(report.energy_j.unwrap(), 0.6);
    close(report.longest_gap_s, 0.3);
    assert_eq!((report.samples, report.failed, report.first_error.as_deref()), (4, 2, Some("A: gone")));
    assert_eq!(report.rails.iter().map(|rail| rail.level.unwrap().samples).collect::<Vec<_>>(), [2, 4]);
}

/// Breaks if the line is not in the format of `tegrastats`, or a rail that was never read is
/// printed as a number.
#[test]
fn rails_are_printed_as_tegrastats_does() {
    let mut tally = Tally::new(2);
    tally.take(ms(0), &[3003.4, -392.0], 3003.4, None);
    tally.take(ms(100), &[3207.4, -392.0], 3207.4, None);
    assert_eq!(report(&tally).tegrastats(), "A 3207mW/3105mW B -392mW/-392mW");
    let mut tally = Tally::new(2);
    tally.take(ms(0), &[f64::NAN, 801.0], f64::NAN, Some("A: gone".to_owned()));
    assert_eq!(report(&tally).tegrastats(), "B 801mW/801mW");
    let json = report(&tally).json();
    assert_eq!(
        (&json["energy_j"], &json["total"], &json["rails"][0]["level"]),
        (&serde_json::Value::Null, &serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(json["rails"][1]["level"]["mean_mw"], 801.0);
}

/// Breaks if the thread does not sample, loses the time between samples, or the energy at constant
/// power is not power times time.
#[test]
fn a_meter_adds_up_a_board_at_rest() {
    let tree = trees::orin_agx();
    let meter = Meter::start(Source::find(tree.root(), 0).unwrap(), OFTEN).unwrap();
    let before = meter.energy_mj().unwrap();
    until(|| meter.energy_mj().unwrap() > before + 100.0);
    let report = meter.stop();
    assert_eq!(report.source, "power monitors of the board; total: VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0");
    let milliwatts = 3197.44 + 799.36 + 4411.584;
    close(report.energy_j.unwrap(), milliwatts * report.measured_s / 1000.0);
    close(report.total.unwrap().mean_mw, milliwatts);
    assert_eq!((report.failed, report.first_error), (0, None));
    assert!(report.samples >= 2 && report.longest_gap_s <= report.measured_s);
    assert_eq!(report.rails.iter().map(|rail| rail.is_in_total).collect::<Vec<_>>(), [true, true, true, false]);
}

/// Breaks if the thread caches its first values, or an error ends it or is lost.
#[test]
fn a_meter_sees_the_board_change_and_fail() {
    let tree = trees::orin_nx();
    let current = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr1_input";
    let meter = Meter::start(Source::find(tree.root(), 0).unwrap(), OFTEN).unwrap();
    let energy = || meter.energy_mj().unwrap();
    tree.put(current, "10000\n");
    let before = energy();
    until(|| energy() > before + 500.0);
    tree.block(current);
    until(|| report(&meter.shared().lock().unwrap()).failed > 0);
    tree.remove(current);
    tree.put(current, "1000\n");
    let before = energy();
    until(|| energy() > before + 100.0);
    let report = meter.stop();
    assert!(report.failed > 0 && report.failed < report.samples, "{report:?}");
    assert!(report.first_error.clone().unwrap().starts_with("VDD_IN: "), "{report:?}");
    close(report.total.unwrap().max_mw, 49_840.0);
    close(report.total.unwrap().last_mw, 4_984.0);
}

/// Breaks if the thread outlives a dropped meter.
#[test]
fn a_dropped_meter_ends_its_thread() {
    let tree = trees::orin_nx();
    let meter = Meter::start(Source::find(tree.root(), 0).unwrap(), Duration::from_secs(3600)).unwrap();
    let tally = meter.shared();
    drop(meter);
    until(|| Arc::strong_count(&tally) == 1);
}

/// Breaks if a machine without rails is measured by another machine's GPU, or the reason is
/// missing.
#[test]
fn without_rails_the_words_say_so() {
    let why = Source::find(trees::laptop().root(), 0).unwrap_err();
    assert_eq!(why, "power is not measured: no INA3221 rails");
}
