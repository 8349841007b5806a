//! A power meter: samples power on a thread of its own while a ride runs, and integrates energy.

use super::gpu;
use super::rails::Rails;
use super::tally::{PowerReport, Tally};
use super::tree::{Tree, clean};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nvml_wrapper::Nvml;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Default sampling period. The monitors average over about as long.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);
/// Shortest sampling period: reading all rails takes about as long.
const SHORTEST: Duration = Duration::from_millis(5);

/// What a meter samples.
#[derive(Debug)]
pub(crate) enum Source {
    /// The power rails of a Jetson.
    Rails(Rails),
    /// A GPU, through NVML.
    Gpu(Box<GpuPower>),
}

/// A GPU that reports its power.
#[derive(Debug)]
pub(crate) struct GpuPower {
    nvml: Nvml,
    index: u32,
    name: String,
}

impl Source {
    /// The rails below `root`. Without rails, and if `root` is the running machine's, the GPU
    /// with NVML index `gpu`.
    ///
    /// # Errors
    /// A message why power cannot be measured.
    pub(crate) fn find(root: &Path, gpu: u32) -> Result<Source, String> {
        const NONE: &str = "power is not measured: no INA3221 rails";
        if let Some(rails) = Rails::find(root) {
            return Ok(Source::Rails(rails));
        }
        if !Tree::new(root).is_live() {
            return Err(NONE.to_owned());
        }
        let nvml = gpu::open(None).map_err(|why| format!("{NONE}; {why}"))?;
        let name = nvml.device_by_index(gpu).and_then(|device| device.power_usage().and_then(|_| device.name()));
        let name = name.map_err(|e| format!("{NONE}; GPU {gpu} reports no power: {e}"))?;
        Ok(Source::Gpu(Box::new(GpuPower { nvml, index: gpu, name: clean(&name) })))
    }

    /// A description for the report.
    pub(crate) fn description(&self) -> String {
        match self {
            Source::Rails(rails) => {
                let total = rails.names().enumerate().filter(|&(rail, _)| rails.is_in_total(rail)).map(|(_, name)| name);
                format!("power monitors of the board; total: {}", total.collect::<Vec<_>>().join(" + "))
            }
            Source::Gpu(gpu) => format!("{}, by NVML: the GPU's board alone, on newer GPUs the mean of the last second", gpu.name),
        }
    }

    fn names(&self) -> Vec<(&str, bool)> {
        match self {
            Source::Rails(rails) => rails.names().enumerate().map(|(rail, name)| (name, rails.is_in_total(rail))).collect(),
            Source::Gpu(_) => vec![("GPU", true)],
        }
    }

    fn len(&self) -> usize {
        match self {
            Source::Rails(rails) => rails.len(),
            Source::Gpu(_) => 1,
        }
    }

    /// Reads every rail into `milliwatts`. Returns their total in mW, NaN if it is unknown, and
    /// the first error.
    fn read(&self, milliwatts: &mut [f64]) -> (f64, Option<String>) {
        match self {
            Source::Rails(rails) => {
                let error = rails.read(milliwatts).err().map(|e| clean(&e.to_string()));
                (rails.total(milliwatts), error)
            }
            Source::Gpu(gpu) => {
                let power = gpu.nvml.device_by_index(gpu.index).and_then(|device| device.power_usage());
                let (power, error) = power.map_or_else(|e| (f64::NAN, Some(clean(&e.to_string()))), |power| (f64::from(power), None));
                milliwatts.fill(power);
                (power, error)
            }
        }
    }
}

/// A running meter. Its thread also ends when the meter is dropped without [`Meter::stop`].
#[derive(Debug)]
pub(crate) struct Meter {
    tally: Arc<Mutex<Tally>>,
    source: Arc<Source>,
    began: Instant,
    period: Duration,
    /// Dropping it ends the thread.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Meter {
    /// Takes the first sample and starts the thread `power`, which takes one more every
    /// `period` (at least 5 ms).
    ///
    /// # Errors
    /// The thread cannot be spawned. A source that cannot be read is no error here: see
    /// [`PowerReport::failed`].
    pub(crate) fn start(source: Source, period: Duration) -> io::Result<Meter> {
        let (source, period, began) = (Arc::new(source), period.max(SHORTEST), Instant::now());
        let tally = Arc::new(Mutex::new(Tally::new(source.len())));
        let mut sampler = Sampler { source: source.clone(), tally: tally.clone(), began, milliwatts: vec![0.0; source.len()] };
        sampler.sample();
        let (stop, stopped) = bounded(1);
        let thread = Builder::new().name("power".into()).spawn(move || sampler.run(period, &stopped))?;
        Ok(Meter { tally, source, began, period, stop, thread })
    }

    /// Energy since the start, in mJ; `None` before the first total was read.
    ///
    /// After the last sample its power is extrapolated, for at most two periods, and the next
    /// sample corrects the estimate. So a difference over less than a few periods is an
    /// estimate, and can be slightly negative where power fell.
    pub(crate) fn energy_mj(&self) -> Option<f64> {
        let tally = lock(&self.tally);
        // Reads the clock under the lock, so that it is never behind the last sample.
        tally.energy_mj(self.began.elapsed(), self.period.saturating_mul(2))
    }

    /// The tally that the thread updates.
    #[cfg(test)]
    pub(super) fn shared(&self) -> Arc<Mutex<Tally>> {
        self.tally.clone()
    }

    /// Ends the thread after one last sample.
    pub(crate) fn stop(self) -> PowerReport {
        drop(self.stop);
        let ended = self.thread.join();
        let mut tally = lock(&self.tally);
        if ended.is_err() {
            tally.fail("the power sampling thread panicked".to_owned());
        }
        tally.report(self.source.description(), self.source.names().into_iter())
    }
}

struct Sampler {
    source: Arc<Source>,
    tally: Arc<Mutex<Tally>>,
    began: Instant,
    milliwatts: Vec<f64>,
}

impl Sampler {
    fn run(mut self, period: Duration, stopped: &Receiver<()>) {
        let mut due = Instant::now() + period;
        loop {
            let is_running = stopped.recv_timeout(due.saturating_duration_since(Instant::now())) == Err(RecvTimeoutError::Timeout);
            self.sample();
            if !is_running {
                return;
            }
            // A late sample delays the next ones: samples are not caught up.
            due = (due + period).max(Instant::now());
        }
    }

    fn sample(&mut self) {
        let before = self.began.elapsed();
        let (total, error) = self.source.read(&mut self.milliwatts);
        // Reading the bus takes time: the sample counts for the middle of it.
        let at = before + (self.began.elapsed() - before) / 2;
        lock(&self.tally).take(at, &self.milliwatts, total, error);
    }
}

/// Locks the tally. A panic under the lock leaves at most one sample half recorded.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
