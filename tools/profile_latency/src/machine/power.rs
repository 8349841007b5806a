//! A meter that samples power beside a ride, on a thread of its own, and adds it up to energy.

use super::gpu;
use super::rails::Rails;
use super::tally::{PowerReport, Tally};
use super::tree::{Tree, clean};
use nvml_wrapper::Nvml;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How often power is looked at, unless told otherwise: the monitors average over about as long.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);
/// No meter samples more often: a sample of all rails takes about as long.
const SHORTEST: Duration = Duration::from_millis(5);

/// What a meter reads.
#[derive(Debug)]
pub(crate) enum Source {
    /// The rails of a Jetson.
    Rails(Rails),
    /// A GPU, by NVML.
    Gpu(Box<GpuPower>),
}

/// A GPU that tells its power.
#[derive(Debug)]
pub(crate) struct GpuPower {
    nvml: Nvml,
    index: u32,
    name: String,
}

impl Source {
    /// The rails below `root`; where there are none, and `root` is this machine's, GPU `gpu` by NVML's numbers.
    ///
    /// # Errors
    /// Why there is nothing to read, in words.
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
        let name = name.map_err(|e| format!("{NONE}; GPU {gpu} tells no power: {e}"))?;
        Ok(Source::Gpu(Box::new(GpuPower { nvml, index: gpu, name: clean(&name) })))
    }

    /// What is read, in words.
    pub(crate) fn about(&self) -> String {
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

    /// Reads all into `milliwatts`, and gives their total, and what went wrong.
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

/// A running meter. Dropped without [`Meter::stop`], it ends by itself.
#[derive(Debug)]
pub(crate) struct Meter {
    tally: Arc<Mutex<Tally>>,
    source: Arc<Source>,
    began: Instant,
    period: Duration,
    end: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Meter {
    /// Takes the first sample, and starts the thread `power` that takes one more each `period`, of 5 ms at least.
    ///
    /// # Errors
    /// The system gives no thread. A source that cannot be read is none: see [`PowerReport::failed`].
    pub(crate) fn start(source: Source, period: Duration) -> io::Result<Meter> {
        let (source, period, began) = (Arc::new(source), period.max(SHORTEST), Instant::now());
        let tally = Arc::new(Mutex::new(Tally::new(source.len())));
        let mut sampler = Sampler { source: source.clone(), tally: tally.clone(), began, milliwatts: vec![0.0; source.len()] };
        sampler.sample();
        let (end, ended) = sync_channel(1);
        let thread = Builder::new().name("power".into()).spawn(move || sampler.run(period, &ended))?;
        Ok(Meter { tally, source, began, period, end, thread })
    }

    /// Energy since the start, in mJ; `None` until the total was read once.
    ///
    /// Between two samples the power of the last one is taken to go on, for two periods at most, and the next sample corrects that. So a
    /// difference over less than a few periods is an estimate, and may even be a little below 0 where power fell.
    pub(crate) fn energy_mj(&self) -> Option<f64> {
        let tally = lock(&self.tally);
        // The clock is read under the lock, so that it is never behind the last sample.
        tally.energy_mj(self.began.elapsed(), self.period.saturating_mul(2))
    }

    /// What the thread writes to.
    #[cfg(test)]
    pub(super) fn shared(&self) -> Arc<Mutex<Tally>> {
        self.tally.clone()
    }

    /// Takes a last sample, and ends the thread.
    pub(crate) fn stop(self) -> PowerReport {
        drop(self.end);
        let ended = self.thread.join();
        let mut tally = lock(&self.tally);
        if ended.is_err() {
            tally.fail("the thread that samples power ended before its time".to_owned());
        }
        tally.report(self.source.about(), self.source.names().into_iter())
    }
}

struct Sampler {
    source: Arc<Source>,
    tally: Arc<Mutex<Tally>>,
    began: Instant,
    milliwatts: Vec<f64>,
}

impl Sampler {
    fn run(mut self, period: Duration, ended: &Receiver<()>) {
        let mut due = Instant::now() + period;
        loop {
            let goes_on = ended.recv_timeout(due.saturating_duration_since(Instant::now())) == Err(RecvTimeoutError::Timeout);
            self.sample();
            if !goes_on {
                return;
            }
            // A sample that came late is not made up for.
            due = (due + period).max(Instant::now());
        }
    }

    fn sample(&mut self) {
        let before = self.began.elapsed();
        let (total, error) = self.source.read(&mut self.milliwatts);
        // The bus is slow: what was read is of the time between.
        let at = before + (self.began.elapsed() - before) / 2;
        lock(&self.tally).take(at, &self.milliwatts, total, error);
    }
}

/// A panic while the tally was held leaves at most one sample half taken.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
