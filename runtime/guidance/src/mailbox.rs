//! The guidance thread and the hand-over between it and the caller. The mailbox holds at most one
//! request and one answer; a newer one replaces an older one, and neither side waits for the
//! other's work.
//!
//! All requests and answers are allocated when the mailbox opens. They change hands by swapping
//! boxes under a lock that is held for nothing else, so the caller neither allocates nor waits.

use crate::bev::PathSample;
use crate::model::{GenerateError, GuidanceAnswer, GuidanceModel, GuidanceRequest};
use crate::status::RejectReason;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::profiler::ProfilerRange;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Name of the profiler range that covers the generation of an answer.
pub const RANGE: &str = "guidance";

/// What the lock guards. A spare box goes back to the side that fills it.
#[derive(Debug, Default)]
struct Slots {
    request: Option<Box<GuidanceRequest>>,
    answer: Option<Box<GuidanceAnswer>>,
    spare_request: Option<Box<GuidanceRequest>>,
    spare_answer: Option<Box<GuidanceAnswer>>,
    closed: bool,
    dead: bool,
}

#[derive(Debug, Default)]
struct Shared {
    slots: Mutex<Slots>,
    submitted: Condvar,
    answered: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        // Nothing but swaps of boxes happens under the lock, so a poisoned lock guards valid slots.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a request and swaps it into `own`. False once the mailbox is closed.
    fn next_request(&self, own: &mut Box<GuidanceRequest>) -> bool {
        let mut slots = self.lock();
        loop {
            if slots.closed {
                return false;
            }
            if let Some(request) = slots.request.take() {
                slots.spare_request = Some(std::mem::replace(own, request));
                return true;
            }
            slots = self.submitted.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Publishes the answer in `own`; an answer that was not polled is dropped.
    fn publish(&self, own: &mut Box<GuidanceAnswer>, died: bool) {
        let mut slots = self.lock();
        if let Some(back) = slots.answer.take().or_else(|| slots.spare_answer.take()) {
            slots.answer = Some(std::mem::replace(own, back));
        }
        slots.dead |= died;
        drop(slots);
        self.answered.notify_all();
    }
}

/// The caller's side of the mailbox; it owns the guidance thread.
#[derive(Debug)]
pub struct LatestMailbox {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LatestMailbox {
    /// Spawns the thread `guidance`, which runs `model`. The buffers of `request` and `answer` are
    /// as large as any will be: two more of each are allocated here. Called in Warm.
    ///
    /// # Errors
    /// `Capacity` when the thread cannot be spawned.
    pub fn open(mut model: Box<dyn GuidanceModel>, request: &GuidanceRequest, answer: &GuidanceAnswer) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        {
            let mut slots = shared.lock();
            slots.spare_request = Some(request_like(request));
            slots.spare_answer = Some(answer_like(answer));
        }
        let (theirs, mut own_request, mut own_answer) = (Arc::clone(&shared), request_like(request), answer_like(answer));
        let work = move || {
            while theirs.next_request(&mut own_request) {
                let start = Instant::now();
                (own_answer.number, own_answer.lane, own_answer.t0_ns) = (own_request.number, own_request.lane, own_request.t0_ns);
                (own_answer.tokens, own_answer.rejected) = (0, None);
                own_answer.text.clear();
                // The model is not used after a panic, and its answer is marked as rejected.
                let generated = catch_unwind(AssertUnwindSafe(|| {
                    let _range = ProfilerRange::open(RANGE);
                    model.generate(&own_request, &mut own_answer)
                }));
                let died = generated.is_err();
                own_answer.generate_time = start.elapsed();
                own_answer.rejected = match generated {
                    Ok(Ok(())) => None,
                    Ok(Err(GenerateError::Rejected(reason))) => Some(reason),
                    Ok(Err(GenerateError::Fault(error))) => Some(RejectReason::Fault(error.kind())),
                    Err(_panic) => Some(RejectReason::Dead),
                };
                theirs.publish(&mut own_answer, died);
                if died {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("guidance".to_owned()).spawn(work);
        let thread = thread.map_err(|e| Error::new(ErrorKind::Capacity, "cannot spawn the guidance thread").at("guidance").caused_by(e))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Submits a request; one that the model has not begun is dropped. Afterwards `request` is
    /// another box of the same size.
    pub fn submit(&self, request: &mut Box<GuidanceRequest>) {
        let mut slots = self.shared.lock();
        if let Some(back) = slots.request.take().or_else(|| slots.spare_request.take()) {
            slots.request = Some(std::mem::replace(request, back));
        }
        drop(slots);
        self.shared.submitted.notify_one();
    }

    /// Swaps the newest answer that was not polled before into `answer`. Waits at most `timeout`
    /// for the answer to request `number`; `None` waits without limit. Returns whether `answer` is
    /// a new one.
    pub fn poll(&self, answer: &mut Box<GuidanceAnswer>, number: u64, timeout: Option<Duration>) -> bool {
        let start = Instant::now();
        let mut slots = self.shared.lock();
        loop {
            let arrived = slots.answer.as_ref().is_some_and(|answer| answer.number >= number);
            let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            if arrived || slots.dead || left == Some(Duration::ZERO) {
                break;
            }
            slots = match left {
                None => self.shared.answered.wait(slots).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.shared.answered.wait_timeout(slots, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        match slots.answer.take() {
            Some(newest) => {
                slots.spare_answer = Some(std::mem::replace(answer, newest));
                true
            }
            None => false,
        }
    }

    /// Whether the thread ended by a panic of the model.
    pub fn is_dead(&self) -> bool {
        self.shared.lock().dead
    }
}

impl Drop for LatestMailbox {
    /// Does not wait for an answer under way: a model that hangs would block the caller. The thread
    /// ends by itself after that answer.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.submitted.notify_one();
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ended = thread.join();
        }
    }
}

/// A request with buffers as large as those of `like`.
fn request_like(like: &GuidanceRequest) -> Box<GuidanceRequest> {
    let path: Vec<PathSample> = Vec::with_capacity(like.path.len());
    Box::new(GuidanceRequest { frame: like.frame.clone(), path, ..GuidanceRequest::default() })
}

/// An answer with buffers as large as those of `like`.
fn answer_like(like: &GuidanceAnswer) -> Box<GuidanceAnswer> {
    Box::new(GuidanceAnswer {
        text: String::with_capacity(like.text.capacity()),
        embeddings: vec![0.0; like.embeddings.len()],
        ..GuidanceAnswer::default()
    })
}
