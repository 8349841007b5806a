//! The parent of a component: gives the order, shows the steps, and ends a child that takes too much memory or time, or that nobody wants any more.

use crate::component::{Done, Request, WORD, Word};
use crate::job::{Limits, mib};
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, mpsc};
use std::time::{Duration, Instant};

/// What an end before the end leaves.
pub(crate) const KEPT: &str = "what was built so far is kept for the next time; the engines that were there are untouched";
/// How often a child is looked at.
const PERIOD: Duration = Duration::from_millis(20);

/// Whether Ctrl-C was pressed. The first call begins to watch for it.
pub(crate) fn interrupted() -> bool {
    static ASKED: AtomicBool = AtomicBool::new(false);
    static WATCHED: Once = Once::new();
    // Where nobody can be told, the system's own handling ends parent and child: the old engines stay valid all the same.
    WATCHED.call_once(|| drop(ctrlc::set_handler(|| ASKED.store(true, Ordering::Relaxed))));
    ASKED.load(Ordering::Relaxed)
}

/// Ends its process when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a child do what `request` says.
///
/// # Errors
/// The child's own, told on stderr; a limit that was reached; a crash; Ctrl-C.
pub(crate) fn component(request: &Request, limits: &Limits, bar: &ProgressBar) -> Result<Done> {
    let _ = interrupted();
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let child = Command::new(program).arg(WORD).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut running = Running(child.context("a process for the component cannot be started")?);
    let (stdin, stdout, stderr) = (running.0.stdin.take(), running.0.stdout.take(), running.0.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else { bail!("a process without pipes") };
    stdin.write_all(serde_json::to_string(request)?.as_bytes()).context("the component's process does not take its order")?;
    drop(stdin);
    let (send, words) = mpsc::sync_channel(64);
    let reader = std::thread::Builder::new().name("component".into()).spawn(move || {
        for line in lines(stdout) {
            // What the library prints on its own is no word.
            if let Ok(word) = serde_json::from_str::<Word>(&line) {
                let _ = send.send(word);
            }
        }
    })?;
    let told = std::thread::Builder::new().name("component-err".into()).spawn(move || {
        let mut last = Vec::new();
        for line in lines(stderr) {
            last.push(line);
            // The end of what it said is what matters.
            if last.len() > 40 {
                last.remove(0);
            }
        }
        last.join("\n")
    })?;
    let (began, mut done, mut peak) = (Instant::now(), None, 0);
    let status = loop {
        match words.recv_timeout(PERIOD) {
            Ok(Word::Step { phase, step, steps }) => {
                bar.set_length(u64::try_from(steps).unwrap_or(0));
                bar.set_position(u64::try_from(step).unwrap_or(0));
                bar.set_message(phase);
            }
            Ok(Word::Done(word)) => done = Some(word),
            // Its end of the pipe is closed: it ends by itself soon.
            Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(PERIOD),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if interrupted() {
            bail!("interrupted: {KEPT}");
        }
        let bytes = resident(running.0.id());
        peak = peak.max(bytes);
        if bytes > limits.memory_bytes {
            bail!("ended: it took {}, and may take {} (build.memory_bytes)", mib(bytes), mib(limits.memory_bytes));
        }
        if began.elapsed() > limits.time {
            bail!("ended: it took longer than {} s (build.time_limit_s)", limits.time.as_secs());
        }
        if let Some(status) = running.0.try_wait().context("the component's process cannot be watched")? {
            break status;
        }
    };
    // Until the reader has read all and hung up.
    for word in &words {
        if let Word::Done(word) = word {
            done = Some(word);
        }
    }
    let _ = reader.join();
    let told = told.join().unwrap_or_default();
    match (status.success(), done) {
        (true, Some(done)) => Ok(Done { peak_bytes: done.peak_bytes.max(peak), ..done }),
        _ => bail!("{}{}", end(status, peak), if told.is_empty() { String::new() } else { format!(":\n{told}") }),
    }
}

/// Lines of whatever text a child writes.
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

/// How a child ended, in words.
fn end(status: ExitStatus, peak: u64) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        match status.signal() {
            Some(9) => return format!("the builder was ended by the system, at {}: was there too little memory?", mib(peak)),
            Some(signal) => return format!("the builder crashed (signal {signal}), at {}", mib(peak)),
            None => {}
        }
    }
    format!("the build failed ({status}, at {})", mib(peak))
}

/// Memory that a process has now, in RAM and swapped out; 0 where the system does not tell.
fn resident(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let number = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kb| kb * 1024)
    };
    number("VmRSS:") + number("VmSwap:")
}
