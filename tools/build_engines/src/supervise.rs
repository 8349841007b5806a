//! The parent of a worker: sends the request, shows progress, and kills a worker that exceeds its
//! memory or time limit or that the user interrupts.

use crate::job::{Limits, mib};
use crate::messages::{BuildRequest, BuiltEngine, WORKER_FLAG, WorkerMessage};
use anyhow::{Context, Result, bail};
use crossbeam_channel::{RecvTimeoutError, bounded};
use drivewam_console::StopFlag;
use indicatif::ProgressBar;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What an interrupted build leaves.
pub(crate) const KEPT: &str = "the next build resumes from what was built; the existing engines are untouched";
/// Time between two looks at the worker's memory and run time.
const PERIOD: Duration = Duration::from_millis(20);
/// Lines of a worker's stderr that an error message quotes: the last ones.
const QUOTED_LINES: usize = 40;

/// Whether Ctrl-C, SIGTERM or SIGHUP came. The first call installs the handlers.
pub(crate) fn interrupted() -> bool {
    static STOP: OnceLock<StopFlag> = OnceLock::new();
    // Without a handler a signal kills parent and worker, which leaves the old engines valid too.
    STOP.get_or_init(|| StopFlag::on_signals().unwrap_or_default()).is_set()
}

/// Kills its process on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds `request` in a worker process.
///
/// # Errors
/// A failed build, with the end of the worker's stderr; a limit that the worker exceeded; a crash;
/// Ctrl-C.
pub(crate) fn build_in_worker(request: &BuildRequest, limits: &Limits, bar: &ProgressBar) -> Result<BuiltEngine> {
    let _ = interrupted();
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let child = Command::new(program).arg(WORKER_FLAG).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut running = Running(child.context("cannot spawn the worker process")?);
    let (stdin, stdout, stderr) = (running.0.stdin.take(), running.0.stdout.take(), running.0.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else { bail!("the worker process has no pipes") };
    stdin.write_all(serde_json::to_string(request)?.as_bytes()).context("cannot send the request to the worker")?;
    drop(stdin);
    let (sender, messages) = bounded(64);
    let stdout_reader = std::thread::Builder::new().name("worker-stdout".into()).spawn(move || {
        for line in lines(stdout) {
            // The vendor's library may print lines of its own.
            if let Ok(message) = serde_json::from_str::<WorkerMessage>(&line) {
                let _ = sender.send(message);
            }
        }
    })?;
    let stderr_reader = std::thread::Builder::new().name("worker-stderr".into()).spawn(move || {
        let mut last = Vec::new();
        for line in lines(stderr) {
            last.push(line);
            if last.len() > QUOTED_LINES {
                last.remove(0);
            }
        }
        last.join("\n")
    })?;
    let (began, mut built, mut peak) = (Instant::now(), None, 0);
    let status = loop {
        match messages.recv_timeout(PERIOD) {
            Ok(WorkerMessage::Progress { phase, step, steps }) => {
                bar.set_length(u64::try_from(steps).unwrap_or(0));
                bar.set_position(u64::try_from(step).unwrap_or(0));
                bar.set_message(phase);
            }
            Ok(WorkerMessage::Finished(engine)) => built = Some(engine),
            // The worker closed its stdout and exits soon.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(PERIOD),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if interrupted() {
            bail!("interrupted: {KEPT}");
        }
        let bytes = resident(running.0.id());
        peak = peak.max(bytes);
        if bytes > limits.memory_bytes {
            bail!("killed: the worker used {}, its limit is {} (build.memory_bytes)", mib(bytes), mib(limits.memory_bytes));
        }
        if began.elapsed() > limits.time {
            bail!("killed: the build took longer than {} s (build.time_limit_s)", limits.time.as_secs());
        }
        if let Some(status) = running.0.try_wait().context("cannot wait for the worker process")? {
            break status;
        }
    };
    // Ends when the reader has read everything and drops its sender.
    for message in &messages {
        if let WorkerMessage::Finished(engine) = message {
            built = Some(engine);
        }
    }
    let _ = stdout_reader.join();
    let stderr = stderr_reader.join().unwrap_or_default();
    match (status.success(), built) {
        (true, Some(built)) => Ok(BuiltEngine { peak_bytes: built.peak_bytes.max(peak), ..built }),
        _ => bail!("{}{}", describe_exit(status, peak), if stderr.is_empty() { String::new() } else { format!(":\n{stderr}") }),
    }
}

/// The lines of a stream that need not be UTF-8.
fn lines(from: impl std::io::Read) -> impl Iterator<Item = String> {
    let mut from = BufReader::new(from);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match from.read_until(b'\n', &mut line) {
            Ok(read) if read > 0 => Some(String::from_utf8_lossy(&line).trim_end().to_owned()),
            _ => None,
        }
    })
}

/// How a worker that failed ended; `peak` is the most memory that it had, in bytes.
fn describe_exit(status: ExitStatus, peak: u64) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        match status.signal() {
            Some(9) => return format!("the system killed the builder at {}: was there too little memory?", mib(peak)),
            Some(signal) => return format!("the builder crashed (signal {signal}) at {}", mib(peak)),
            None => {}
        }
    }
    format!("the build failed ({status}, at {})", mib(peak))
}

/// Memory of a process in RAM and swap, in bytes; 0 where the system does not tell.
fn resident(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let number = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kb| kb * 1024)
    };
    number("VmRSS:") + number("VmSwap:")
}
