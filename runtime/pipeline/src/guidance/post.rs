//! The way between the ride and the thread that speaks: one request and one answer at most lie there, newest wins, and neither side waits for the other's work.
//!
//! Requests and answers are made in Warm and change hands by a swap under a lock that is held for nothing else, so the ride neither allocates nor waits.

use super::bev::Sample;
use crate::telemetry::{GUIDANCE, Refusal};
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::profiler::ProfilerRange;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Grows with every request.
    pub number: u64,
    /// Capture time of the frame.
    pub t0_ns: i64,
    /// Which prompt.
    pub prompt: usize,
    /// The camera's picture, as it came in.
    pub frame: Vec<u8>,
    /// The past 4 s, oldest first, relative to the newest pose.
    pub path: Vec<Sample>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Of the request.
    pub number: u64,
    /// Of the request.
    pub t0_ns: i64,
    /// What was said.
    pub text: String,
    /// Its rows `[tokens, Dt]`, at the start of the buffer.
    pub rows: Vec<f32>,
    /// How many.
    pub tokens: usize,
    /// Why it is not used, where it is not.
    pub refused: Option<Refusal>,
    /// How long it took.
    pub took: Duration,
}

/// Who answers: the language model, or a test's double.
pub trait Speak: Send {
    /// Fills `answer`'s text, rows and tokens.
    ///
    /// # Errors
    /// What was said and is not used, and faults. A panic ends the thread.
    fn speak(&mut self, request: &Request, answer: &mut Answer) -> std::result::Result<(), Unsaid>;
}

/// Why nothing was said.
#[derive(Debug)]
pub enum Unsaid {
    /// It was, and is not used.
    Refused(Refusal),
    /// It could not be.
    Fault(Error),
}

impl From<Error> for Unsaid {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

/// What lies between the two.
#[derive(Debug, Default)]
struct Mail {
    request: Option<Box<Request>>,
    answer: Option<Box<Answer>>,
    /// What goes back to where it is filled.
    spare_request: Option<Box<Request>>,
    spare_answer: Option<Box<Answer>>,
    closed: bool,
    dead: bool,
}

#[derive(Debug, Default)]
struct Shared {
    mail: Mutex<Mail>,
    posted: Condvar,
    answered: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        // A thread that died while it held the lock had only swapped boxes.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ride's end of it.
#[derive(Debug)]
pub(crate) struct Post {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Post {
    /// Starts the thread `guidance`. `request` and `answer` are as large as any will be: two more of each are made. Warm.
    ///
    /// # Errors
    /// `Capacity` when the host gives no thread.
    pub(crate) fn open(mut speaker: Box<dyn Speak>, request: &Request, answer: &Answer) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let boxed =
            |request: &Request| Box::new(Request { frame: request.frame.clone(), path: roomy(&request.path), ..Request::default() });
        {
            let mut mail = shared.lock();
            mail.spare_request = Some(boxed(request));
            mail.spare_answer = Some(blank(answer));
        }
        let (theirs, mut own_request, mut own_answer) = (Arc::clone(&shared), boxed(request), blank(answer));
        let work = move || {
            while take(&theirs, &mut own_request) {
                let from = Instant::now();
                (own_answer.number, own_answer.t0_ns, own_answer.tokens, own_answer.refused) =
                    (own_request.number, own_request.t0_ns, 0, None);
                own_answer.text.clear();
                let spoken = catch_unwind(AssertUnwindSafe(|| {
                    let _shown = ProfilerRange::open(GUIDANCE);
                    speaker.speak(&own_request, &mut own_answer)
                }));
                let died = spoken.is_err();
                own_answer.took = from.elapsed();
                own_answer.refused = match spoken {
                    Ok(Ok(())) => None,
                    Ok(Err(Unsaid::Refused(refusal))) => Some(refusal),
                    Ok(Err(Unsaid::Fault(error))) => Some(Refusal::Fault(error.kind())),
                    Err(_panic) => Some(Refusal::Dead),
                };
                give(&theirs, &mut own_answer, died);
                if died {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("guidance".to_owned()).spawn(work);
        let thread = thread.map_err(|e| Error::new(ErrorKind::Capacity, "the host gives no thread").at("guidance").caused_by(e))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks; a request that nobody took yet is forgotten. `request` is another box afterwards.
    pub(crate) fn ask(&self, request: &mut Box<Request>) {
        let mut mail = self.shared.lock();
        if let Some(back) = mail.request.take().or_else(|| mail.spare_request.take()) {
            mail.request = Some(std::mem::replace(request, back));
        }
        drop(mail);
        self.shared.posted.notify_one();
    }

    /// Takes the newest answer, if there is one that was not taken before; waits at most `most` for that of request `number`. Whether `answer` is a new one.
    pub(crate) fn take(&self, answer: &mut Box<Answer>, number: u64, most: Option<Duration>) -> bool {
        let from = Instant::now();
        let mut mail = self.shared.lock();
        loop {
            let is_there = mail.answer.as_ref().is_some_and(|answer| answer.number >= number);
            let left = most.map(|most| most.saturating_sub(from.elapsed()));
            if is_there || mail.dead || left == Some(Duration::ZERO) {
                break;
            }
            mail = match left {
                None => self.shared.answered.wait(mail).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.shared.answered.wait_timeout(mail, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        match mail.answer.take() {
            Some(newest) => {
                mail.spare_answer = Some(std::mem::replace(answer, newest));
                true
            }
            None => false,
        }
    }

    /// Whether the thread ended.
    pub(crate) fn is_dead(&self) -> bool {
        self.shared.lock().dead
    }
}

impl Drop for Post {
    /// Does not wait for an answer under way: a model that hangs would hold up whoever ends the ride. The thread ends by itself after it.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.posted.notify_one();
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ended = thread.join();
        }
    }
}

fn roomy(path: &[Sample]) -> Vec<Sample> {
    Vec::with_capacity(path.len())
}

/// An answer with as much room as `like`.
fn blank(like: &Answer) -> Box<Answer> {
    Box::new(Answer { text: String::with_capacity(like.text.capacity()), rows: vec![0.0; like.rows.len()], ..Answer::default() })
}

/// Waits for a request. False when there will be none.
fn take(shared: &Shared, own: &mut Box<Request>) -> bool {
    let mut mail = shared.lock();
    loop {
        if mail.closed {
            return false;
        }
        if let Some(request) = mail.request.take() {
            mail.spare_request = Some(std::mem::replace(own, request));
            return true;
        }
        mail = shared.posted.wait(mail).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Publishes an answer; one that nobody took is forgotten.
fn give(shared: &Shared, own: &mut Box<Answer>, died: bool) {
    let mut mail = shared.lock();
    if let Some(back) = mail.answer.take().or_else(|| mail.spare_answer.take()) {
        mail.answer = Some(std::mem::replace(own, back));
    }
    mail.dead |= died;
    drop(mail);
    shared.answered.notify_all();
}
