//! A ride with guidance: from a fixed text, from the language model with random weights of `make
//! fixtures`, and from fakes that are slow, silent, wrong or dead. The ride continues in all cases.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam::guidance::model::{GenerateError, GuidanceAnswer, GuidanceModel, GuidanceRequest};
use drivewam::guidance::status::{GuidanceSource, GuidanceStatus, RejectReason};
use drivewam::{Plan, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::bindings::Graph;
use drivewam_core::config::Layer;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::{Device, HostDevice};
use drivewam_engine::{Binding, Engine, EngineBundle, Io, Trust, load};
use drivewam_tests::drive::{Driven, drive, through};
use drivewam_world::{Facts, Options, World};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

mod wrong;

const CHUNKS: usize = 5;

fn bundle() -> EngineBundle {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guided");
    assert!(path.join("manifest.yaml").exists(), "{path:?} is missing: `make fixtures` writes it");
    EngineBundle::open(&path, &Trust::default()).unwrap()
}

/// A ride with the settings `guidance`; `corrupt` may replace engines.
fn warm(guidance: &str, corrupt: impl Fn(Graph, Box<dyn Engine>) -> Box<dyn Engine>) -> Result<Ride> {
    warm_with(guidance, "", corrupt)
}

/// The same with `more` configuration.
fn warm_on(guidance: &str, more: &str) -> Result<Ride> {
    warm_with(guidance, more, |_, engine| engine)
}

fn warm_with(guidance: &str, more: &str, corrupt: impl Fn(Graph, Box<dyn Engine>) -> Box<dyn Engine>) -> Result<Ride> {
    let text = format!("model: {{text: {{max_rows: 64, padded_rows: 128}}}}\nguidance: {guidance}\n{more}");
    let layers = [Layer { name: "the test".into(), text }];
    let config = load_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml"), &layers)?;
    let (bundle, engine, threads) = (bundle(), config.engine.clone(), config.target.threads);
    let camera = SourceCamera::of_model(&config.model);
    Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION)?.warm_with(
        bundle,
        |arena| Ok(Box::new(HostDevice::new(arena, threads)?)),
        |bundle, graph| Ok(corrupt(graph, load(&engine, bundle, graph)?)),
    )
}

fn ride(guidance: &str) -> Driven {
    drive(&mut warm(guidance, |_, engine| engine).unwrap(), CHUNKS).unwrap()
}

/// The drive without guidance, which several tests compare with.
static OFF: LazyLock<Driven> = LazyLock::new(|| ride("{mode: off}"));

fn sources(driven: &Driven) -> Vec<GuidanceSource> {
    driven.guidance.iter().map(|status| status.source).collect()
}

/// Breaks when a fixed text does not reach the transformer, or another text gives the same plan.
#[test]
fn a_fixed_text_is_what_every_chunk_is_told() {
    let off = &*OFF;
    let [one, other] = ["ba be. bi bo.", "du da. di de."].map(|text| ride(&format!("{{mode: fixed, text: {text:?}}}")));
    assert_eq!((off.guidance.len(), sources(off)), (CHUNKS, vec![GuidanceSource::Command; CHUNKS]));
    assert_eq!(sources(&one), [GuidanceSource::Fixed; CHUNKS]);
    assert!(one.guidance.iter().all(|status| status.text == "ba be. bi bo." && status.age_ms.is_none() && status.rejected.is_none()));
    for (a, b) in [(off, &one), (&one, &other)] {
        assert!(a.distance(b).0 > 1e-4, "{:?}", a.distance(b));
    }
}

/// Breaks when a rejected answer changes the plan or is not counted.
#[test]
fn the_model_s_own_answers_are_rejected_and_the_command_is_used() {
    let (off, vlm) = (&*OFF, ride("{mode: vlm, wait_ms: inf, max_new_tokens: 12}"));
    // Random weights do not generate two sentences.
    for (i, status) in vlm.guidance.iter().enumerate() {
        assert_eq!((status.source, status.reject_count), (GuidanceSource::Command, i as u32 + 1), "{status:?}");
        assert!(matches!(status.rejected, Some(RejectReason::Endless | RejectReason::Format(_))), "{status:?}");
    }
    assert_eq!(off.poses, vlm.poses);
}

type Say = Box<dyn Fn(&GuidanceRequest, &mut GuidanceAnswer) -> std::result::Result<(), GenerateError> + Send>;

/// A fake guidance model: after a delay it answers with the closure `say`, and records the
/// requests.
struct FakeModel {
    delay: Duration,
    say: Say,
    asked: Arc<Mutex<Vec<(i64, usize, usize)>>>,
}

impl GuidanceModel for FakeModel {
    fn generate(&mut self, request: &GuidanceRequest, answer: &mut GuidanceAnswer) -> std::result::Result<(), GenerateError> {
        self.asked.lock().unwrap().push((request.t0_ns, request.path.len(), request.frame.iter().map(|x| usize::from(*x)).sum()));
        std::thread::sleep(self.delay);
        (self.say)(request, answer)
    }
}

fn good(request: &GuidanceRequest, answer: &mut GuidanceAnswer) -> std::result::Result<(), GenerateError> {
    answer.text.push_str("Request ");
    answer.text.push_str(["none", "one", "two", "three", "four", "five", "six"].get(request.number as usize).unwrap_or(&"many"));
    answer.tokens = 2;
    answer.embeddings[..128].fill(request.number as f32 * 0.3);
    Ok(())
}

/// Drives a ride with a fake model. Returns the drive and the model's requests.
fn drive_with_fake(
    guidance: &str,
    delay_ms: u64,
    say: impl Fn(&GuidanceRequest, &mut GuidanceAnswer) -> std::result::Result<(), GenerateError> + Send + 'static,
) -> (Driven, Vec<(i64, usize, usize)>) {
    let mut ride = warm(guidance, |_, engine| engine).unwrap();
    let asked = Arc::default();
    ride.set_guidance_model(Box::new(FakeModel { delay: Duration::from_millis(delay_ms), say: Box::new(say), asked: Arc::clone(&asked) }))
        .unwrap();
    let driven = drive(&mut ride, CHUNKS).unwrap();
    let asked = asked.lock().unwrap().clone();
    (driven, asked)
}

/// Breaks when a chunk that waits gets guidance of another frame than its newest, an age is wrong,
/// the past path is missing in the plot, or the text does not reach the transformer.
#[test]
fn who_waits_is_told_of_the_newest_frame() {
    let (driven, asked) = drive_with_fake("{mode: off, wait_ms: inf}", 1, good);
    let status: Vec<(GuidanceSource, &str, Option<f64>)> = driven.guidance.iter().map(|t| (t.source, t.text.as_str(), t.age_ms)).collect();
    let wanted = ["one", "two", "three", "four", "five"].map(|word| (GuidanceSource::Vlm, format!("Request {word}"), Some(0.0)));
    assert_eq!(status, wanted.each_ref().map(|(source, text, age)| (*source, text.as_str(), *age)));
    let stamps: Vec<(i64, usize)> = asked.iter().map(|(t0_ns, path, _)| (t0_ns / 1_000_000_000, *path)).collect();
    // There is no path before the ride began.
    assert_eq!(stamps, [(0, 1), (4, 41), (8, 41), (12, 41), (16, 41)]);
    assert!(asked.windows(2).all(|two| two[0].2 != two[1].2), "each request must have another image: {asked:?}");
    assert!(driven.distance(&OFF).0 > 1e-4);
}

/// Breaks when the ride waits for a model that is slower than a chunk, the model gets an outdated
/// frame when it is free again, or an age is wrong.
#[test]
fn who_does_not_wait_is_told_of_an_older_frame_and_how_old_it_is() {
    let (alone, from) = (&*OFF, Instant::now());
    let (driven, asked) = drive_with_fake("{mode: off}", 60_000, good);
    assert_eq!(sources(&driven), [GuidanceSource::Command; CHUNKS]);
    assert_eq!((driven.poses == alone.poses, asked.len()), (true, 1), "the others were forgotten: {asked:?}");
    assert!(from.elapsed() < Duration::from_secs(60), "nobody waited");

    let (driven, _) = drive_with_fake("{mode: off, wait_ms: 20}", 0, good);
    for status in &driven.guidance {
        assert!(status.source == GuidanceSource::Vlm && status.age_ms.is_some_and(|age| age >= 0.0 && age % 4000.0 == 0.0), "{status:?}");
    }
}

/// Breaks when expired guidance is still used, the fixed text does not replace it, or a rejection
/// or the death of the model is not reported.
#[test]
fn the_last_good_guidance_is_used_until_it_is_too_old_and_then_the_fixed_one() {
    let first_only = |request: &GuidanceRequest, answer: &mut GuidanceAnswer| {
        if request.number > 1 { Err(GenerateError::Rejected(RejectReason::TooLong)) } else { good(request, answer) }
    };
    let (driven, _) = drive_with_fake("{mode: fixed, text: ba be, wait_ms: inf, max_age_ms: 8000}", 0, first_only);
    let status: Vec<_> = driven.guidance.iter().map(|t| (t.source, t.text.as_str(), t.age_ms, t.rejected, t.reject_count)).collect();
    let long = Some(RejectReason::TooLong);
    assert_eq!(
        status,
        [
            (GuidanceSource::Vlm, "Request one", Some(0.0), None, 0),
            (GuidanceSource::Vlm, "Request one", Some(4000.0), long, 1),
            (GuidanceSource::Vlm, "Request one", Some(8000.0), long, 2),
            (GuidanceSource::Fixed, "ba be", None, long, 3),
            (GuidanceSource::Fixed, "ba be", None, long, 4),
        ]
    );
    let dies = |request: &GuidanceRequest, answer: &mut GuidanceAnswer| {
        assert!(request.number < 3, "the model's library panics");
        good(request, answer)
    };
    let (driven, _) = drive_with_fake("{mode: off, wait_ms: inf, max_age_ms: 5000}", 0, dies);
    let status: Vec<_> = driven.guidance.iter().map(|t| (t.source, t.age_ms, t.rejected)).collect();
    let dead = Some(RejectReason::Dead);
    assert_eq!(
        status,
        [
            (GuidanceSource::Vlm, Some(0.0), None),
            (GuidanceSource::Vlm, Some(0.0), None),
            (GuidanceSource::Vlm, Some(4000.0), dead),
            (GuidanceSource::Command, None, dead),
            (GuidanceSource::Command, None, dead),
        ]
    );
}

/// An engine whose every run fails.
#[derive(Debug)]
struct Faulty {
    engine: Box<dyn Engine>,
    outputs: Vec<drivewam_core::arena::Region>,
    fault: Fault,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Error,
    Nan,
    Panic,
}

impl Engine for Faulty {
    fn graph(&self) -> Graph {
        self.engine.graph()
    }

    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        self.outputs.extend(io.outputs.iter().map(|bound| bound.region));
        self.engine.bind(device, io)
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        self.engine.run(binding, device)?;
        match self.fault {
            Fault::Error => Err(Error::new(ErrorKind::Engine, "the fault that was asked for")),
            Fault::Panic => panic!("the fault that was asked for"),
            Fault::Nan => self.outputs.iter().try_for_each(|region| device.upload(*region, &[f32::NAN])),
        }
    }
}

/// Breaks when a fault of a guidance graph ends the ride, changes its plan, or is not reported with
/// its kind.
#[test]
fn a_fault_of_the_language_model_is_told_and_the_ride_goes_on() {
    for (faulty, fault, wanted) in [
        (Graph::VlmVision, Fault::Error, RejectReason::Fault(ErrorKind::Engine)),
        (Graph::VlmDecoder, Fault::Error, RejectReason::Fault(ErrorKind::Engine)),
        (Graph::VlmDecoder, Fault::Nan, RejectReason::Fault(ErrorKind::Output)),
        (Graph::VlmVision, Fault::Panic, RejectReason::Dead),
    ] {
        let mut ride = warm("{mode: vlm, wait_ms: inf, max_new_tokens: 4}", |graph, engine| {
            if graph == faulty { Box::new(Faulty { engine, outputs: Vec::new(), fault }) } else { engine }
        })
        .unwrap();
        let driven = drive(&mut ride, CHUNKS).unwrap();
        for GuidanceStatus { source, rejected, .. } in &driven.guidance {
            assert_eq!((*source, *rejected), (GuidanceSource::Command, Some(wanted)), "{faulty} {fault:?}");
        }
        assert_eq!(driven.poses, OFF.poses, "{faulty} {fault:?}");
    }
}

/// Names and allowed CPUs of all threads of this process.
fn threads() -> Vec<(String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let status = |task: std::path::PathBuf| {
        let status = read(task.join("status"));
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
        (read(task.join("comm")).trim().to_owned(), cpus.trim().to_owned())
    };
    tasks.map(|task| status(task.unwrap().path())).collect()
}

/// Breaks when ride and model share threads, so that one waits for the other; when a thread runs on
/// other CPUs than configured; or when a failed warm-up leaves the caller's thread pinned.
#[test]
fn ride_and_model_have_threads_and_cpus_of_their_own() {
    let may = |cpus: &str| cpus.split([',', '-']).map(|cpu| cpu.parse::<usize>().unwrap()).collect::<Vec<_>>();
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    let (first, last) = (may(&own)[0], *may(&own).last().unwrap());
    let work = move || {
        let cores = |ride: usize, guidance: usize| format!("target: {{cores: {{ride: [{ride}], guidance: [{guidance}]}}}}");
        let error = warm_on("{mode: vlm}", &cores(first, 1000)).unwrap_err().to_string();
        assert!(error.contains("target.cores.guidance") && error.contains("got 1000"), "{error}");
        let here = || std::fs::read_to_string("/proc/thread-self/status").unwrap().contains(&format!("Cpus_allowed_list:\t{own}\n"));
        assert!(here(), "nothing was warmed");
        let mut ride =
            warm_on("{mode: vlm, wait_ms: inf, max_new_tokens: 4}", &format!("{}\nengine: {{threads: 3}}", cores(first, last))).unwrap();
        let threads = threads();
        let on = |name: &str, cpu: usize| threads.iter().filter(|(comm, cpus)| comm.starts_with(name) && *cpus == cpu.to_string()).count();
        assert!(on("rten-", first) >= 3 && on("rten-", last) >= 3, "{threads:?}");
        assert_eq!(on("guidance", last), 1, "{threads:?}");
        if first != last {
            assert_eq!((on("rten-", first), on("rten-", last), on("guidance", first)), (3, 3, 0), "{threads:?}");
        }
        assert_eq!(drive(&mut ride, 2).unwrap().guidance.len(), 2);
    };
    std::thread::Builder::new().name("moves".into()).spawn(work).unwrap().join().unwrap();
}

/// The small model that was trained on the world's captions. Breaks when it does not describe the
/// image (another order of images, another plot, another tokenizer or prompt), when its answer is
/// rejected, or when the ride gets guidance of another frame.
#[test]
fn the_small_model_says_what_is_in_the_picture_of_worlds_that_it_never_saw() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engines/tiny");
    let bundle = EngineBundle::open(&path, &Trust::default()).unwrap();
    let layers = [Layer { name: "the test".into(), text: "guidance: {wait_ms: inf}".into() }];
    let config = load_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny-vlm.yaml"), &layers).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let mut ride = Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap().warm(bundle).unwrap();
    let (mut right, mut all, mut said) = ([0; 4], 0, Vec::new());
    for seed in 5200..5208 {
        ride.restart();
        let mut world = World::new(seed, Options::default());
        through(
            &mut ride,
            &mut world,
            280,
            |world, _| Some(world.command()),
            |world, outcome, _| {
                let status = &outcome.guidance;
                assert_eq!((status.source, status.age_ms, status.reject_count), (GuidanceSource::Vlm, Some(0.0), 0), "{status:?}");
                let (got, wanted) = (Facts::read(&status.text), world.facts(world.command()));
                let facts = [
                    got.light == wanted.light,
                    got.pedestrian == wanted.pedestrian,
                    got.lead == wanted.lead,
                    got.command == wanted.command,
                ];
                right.iter_mut().zip(facts).for_each(|(sum, is_right)| *sum += u32::from(is_right));
                all += 1;
                said.push(status.text.clone());
            },
        )
        .unwrap();
    }
    said.sort();
    said.dedup();
    println!("{all} guidances of 8 worlds, {} different: right in light, pedestrian, lead, command: {right:?}", said.len());
    said.iter().step_by(said.len() / 5).for_each(|text| println!("  {text}"));
    assert!(all >= 50 && said.len() > 15);
    assert!(right.iter().all(|sum| sum * 10 >= all * 9), "{right:?} of {all}");
}
