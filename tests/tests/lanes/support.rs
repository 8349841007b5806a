//! Rides of several lanes, and what counts their work.

use drivewam::guidance::model::{GenerateError, GuidanceAnswer, GuidanceModel, GuidanceRequest};
use drivewam::{Plan, Ride, RideOptions, SourceCamera, load_config};
use drivewam_core::Result;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, Layer};
use drivewam_device::{Device, HostDevice};
use drivewam_engine::closed_form::{self, ClosedForm, Fault, Options};
use drivewam_engine::{Binding, Engine, EngineBundle, Io, Trust, load};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Functions that make a device.
pub mod on {
    use super::{Device as DeviceTrait, Result};
    use drivewam_core::arena::ArenaPlan;

    /// Makes the device of a ride.
    pub type Device = fn(ArenaPlan) -> Result<Box<dyn DeviceTrait>>;
}

fn config(set: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    load_config(&path, &[Layer { name: "the test".to_owned(), text: set.to_owned() }]).unwrap()
}

/// The shipped policy.
pub fn tiny(set: &str, device: on::Device) -> Ride {
    let config = config(set);
    let (engine, camera) = (config.engine.clone(), SourceCamera::of_model(&config.model));
    let bundle = EngineBundle::open(config.engine.folder.as_ref(), &Trust::default()).unwrap();
    let plan = Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap();
    plan.warm_with(bundle, device, |bundle, graph| load(&engine, bundle, graph)).unwrap()
}

/// The options of a vehicle, whose guard judges everything but continuity: the closed form's plans
/// do not drive the test's car.
pub fn realtime() -> RideOptions {
    RideOptions { closed_loop: false, ..RideOptions::default() }
}

/// A ride on the closed form, whose transformer may fail.
pub fn closed_form(set: &str, fault: Option<Fault>) -> Ride {
    closed_form_with(set, fault, realtime(), None)
}

/// The same with other options, and with its bindings counted.
pub fn closed_form_with(set: &str, fault: Option<Fault>, options: RideOptions, counted: Option<&Counted>) -> Ride {
    let config = config(set);
    let bundle = closed_form::bundle(&config.model).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let plan = Plan::new(config, bundle.manifest(), camera, options).unwrap();
    plan.warm_with(
        bundle,
        |arena| Ok(Box::new(HostDevice::new(arena, 1)?)),
        |bundle, graph| {
            let options = Options { fault: fault.filter(|_| graph == Graph::Dit), ..Options::default() };
            let engine = Box::new(ClosedForm::open(bundle, graph, options)?);
            Ok(match counted {
                Some(counted) => Box::new(CountedEngine { engine, counted: counted.clone() }),
                None => engine,
            })
        },
    )
    .unwrap()
}

/// How often graphs were bound.
#[derive(Debug, Clone, Default)]
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub fn bound(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct CountedEngine {
    engine: Box<ClosedForm>,
    counted: Counted,
}

impl Engine for CountedEngine {
    fn graph(&self) -> Graph {
        self.engine.graph()
    }

    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        self.counted.0.fetch_add(1, Ordering::Relaxed);
        self.engine.bind(device, io)
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        self.engine.run(binding, device)
    }
}

/// A guidance model that says which second it was asked about, and keeps the lanes that asked.
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<usize>>>);

impl Asked {
    pub fn lanes(&self) -> Vec<usize> {
        self.0.lock().unwrap().clone()
    }
}

impl GuidanceModel for Asked {
    fn generate(&mut self, request: &GuidanceRequest, answer: &mut GuidanceAnswer) -> std::result::Result<(), GenerateError> {
        self.0.lock().unwrap().push(request.lane);
        answer.text.push_str(&format!("At {} s.", request.t0_ns / 1_000_000_000));
        answer.tokens = 3;
        answer.embeddings[..192].fill(0.01);
        Ok(())
    }
}
