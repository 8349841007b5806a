//! Engines are dropped while the device that they compute on is there: some free memory on it.

use super::second;
use drivewam::{Plan, RideOptions, SourceCamera, load_config};
use drivewam_core::bindings::Graph;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use drivewam_device::cuda::{CudaDevice, Emulator};
use drivewam_engine::closed_form::{self, ClosedForm, Options};
use drivewam_engine::{Binding, Engine, EngineBundle, Io};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};

/// Graphs in the order in which their engines were dropped, and whether the device was there.
type Dropped = Arc<Mutex<Vec<(Graph, bool)>>>;

/// An engine that tells when it is dropped.
#[derive(Debug)]
struct Watched {
    engine: ClosedForm,
    /// The device holds one reference, the test another.
    device: Weak<AtomicBool>,
    dropped: Dropped,
}

impl Engine for Watched {
    fn graph(&self) -> Graph {
        self.engine.graph()
    }

    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        self.engine.bind(device, io)
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        self.engine.run(binding, device)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dropped.lock().unwrap().push((self.graph(), self.device.strong_count() == 2));
    }
}

/// Warms a ride whose engine of `refused` cannot be opened, drives one chunk, and drops it. Returns
/// what was dropped.
fn drive_and_drop(refused: Option<Graph>) -> Vec<(Graph, bool)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tiny.yaml");
    let config = load_config(&path, &[]).unwrap();
    let bundle = closed_form::bundle(&config.model).unwrap();
    let camera = SourceCamera::of_model(&config.model);
    let plan = Plan::new(config, bundle.manifest(), camera, RideOptions::EVALUATION).unwrap();
    let (token, dropped) = (Arc::new(AtomicBool::new(false)), Dropped::default());
    let emulator = Emulator::new(1).killable(Arc::clone(&token));
    let device = |arena| Ok(Box::new(CudaDevice::new(Box::new(emulator), arena)?) as Box<dyn Device>);
    let open = |bundle: &EngineBundle, graph| -> Result<Box<dyn Engine>> {
        if refused == Some(graph) {
            return Err(Error::new(ErrorKind::Engine, "refused"));
        }
        let engine = ClosedForm::open(bundle, graph, Options::default())?;
        Ok(Box::new(Watched { engine, device: Arc::downgrade(&token), dropped: Arc::clone(&dropped) }))
    };
    match plan.warm_with(bundle, device, open) {
        Ok(mut ride) => assert_eq!(second(&mut ride, 0).unwrap(), Some(1)),
        Err(error) => assert!(refused.is_some(), "{error}"),
    }
    assert_eq!(Arc::strong_count(&token), 1, "the device is dropped with the ride");
    dropped.lock().unwrap().clone()
}

/// Breaks when `Ride` or Warm drops the device before an engine.
#[test]
fn engines_are_dropped_before_their_device() {
    let whole = drive_and_drop(None);
    assert!(whole.len() == 5 && whole.iter().all(|(_, is_there)| *is_there), "{whole:?}");
    let refused = drive_and_drop(Some(Graph::Dit));
    assert!(refused.len() == 4 && refused.iter().all(|(_, is_there)| *is_there), "{refused:?}");
}
