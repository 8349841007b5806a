//! A limit on the time of Warm's calls into an engine library.
//!
//! A graph of allowed operators ends, but its work has no bound that fits every machine, and a
//! library may hang. Nothing can stop a thread inside a library, which borrows the arena. So the
//! process ends, with an error on standard error. No ride has begun then.

use crate::engine::{Binding, Engine, Io};
use drivewam_core::bindings::Graph;
use drivewam_core::{Error, ErrorKind, Result};
use drivewam_device::Device;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs `call`, and ends the process if it takes longer than `limit`. `place` and `what` say what
/// takes so long, for the message.
///
/// # Errors
/// `Capacity` when the host cannot spawn the thread that watches the call.
pub fn within<T>(place: &str, what: &str, limit: Duration, call: impl FnOnce() -> T) -> Result<T> {
    /// Ends the watch on every way out of `call`.
    struct Done(Arc<(Mutex<bool>, Condvar)>);
    impl Drop for Done {
        fn drop(&mut self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.0.1.notify_one();
        }
    }
    let done = Done(Arc::default());
    let watched = Arc::clone(&done.0);
    let began = Instant::now();
    let words = format!("{what} took too long, and a call into a library cannot be stopped");
    let at = place.to_owned();
    let watch = move || {
        let guard = watched.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, wait) = watched.1.wait_timeout_while(guard, limit, |done| !*done).unwrap_or_else(PoisonError::into_inner);
        if wait.timed_out() && !*guard {
            let error = Error::new(ErrorKind::Engine, words)
                .at(at)
                .got(format!("{:.1} s", began.elapsed().as_secs_f64()))
                .wanted(format!("at most {} s (engine.warm_time_limit_s)", limit.as_secs()));
            let _ = writeln!(std::io::stderr(), "drivewam: {error}");
            // Not `exit`: destructors of the library would run beside its own threads.
            std::process::abort();
        }
    };
    let no_thread =
        |e| Error::new(ErrorKind::Capacity, "the host could not spawn the thread that watches the time limit").at(place).caused_by(e);
    std::thread::Builder::new().name("warm-limit".to_owned()).spawn(watch).map_err(no_thread)?;
    let result = call();
    drop(done);
    Ok(result)
}

/// An engine whose bindings are made within a time limit.
#[derive(Debug)]
pub(crate) struct TimeLimited {
    pub engine: Box<dyn Engine>,
    pub limit: Duration,
}

impl Engine for TimeLimited {
    fn graph(&self) -> Graph {
        self.engine.graph()
    }

    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn bind(&mut self, device: &mut dyn Device, io: &Io) -> Result<Binding> {
        let engine = &mut self.engine;
        within(&format!("graph {}", engine.graph()), "the first run", self.limit, || engine.bind(device, io)).flatten()
    }

    fn run(&mut self, binding: Binding, device: &mut dyn Device) -> Result<()> {
        self.engine.run(binding, device)
    }
}

#[cfg(test)]
mod tests {
    use crate::load;
    use crate::onnx::tests::write::{bytes, constant, join, model, node, value};
    use crate::tests::{Bench, spoilt};
    use drivewam_core::bindings::Graph;
    use drivewam_core::config::{EngineConfig, EngineKind};
    use drivewam_core::manifest::GraphEntry;
    use drivewam_core::tensor::{Axis, TensorSpec};
    use std::process::Command;

    /// Set in the process that runs the endless graph.
    const INSIDE: &str = "DRIVEWAM_TEST_ENDLESS_GRAPH";

    /// A graph with the tensors of `entry` that multiplies matrices for many minutes: every
    /// operator and every size is allowed.
    fn endless(entry: &GraphEntry) -> Vec<u8> {
        let lengths = |spec: &TensorSpec| spec.resolve(0, 0).iter().map(|&len| len as i64).collect::<Vec<_>>();
        let side = |number: u8, specs: &[TensorSpec]| -> Vec<u8> {
            specs.iter().flat_map(|spec| bytes(number, &value(&spec.name, &lengths(spec)))).collect()
        };
        let input = entry.inputs[0].name.as_str();
        let mut nodes = vec![
            constant("square", &[2], &[2048, 2048]),
            // Keeps its axes, each of length 1.
            node("ReduceMean", &[input], &["mean"], &[]),
            node("Expand", &["mean", "square"], &["m0"], &[]),
        ];
        for i in 0..1000 {
            let from = format!("m{i}");
            nodes.push(node("MatMul", &[&from, &from], &[&format!("m{}", i + 1)], &[]));
        }
        nodes.push(constant("one", &[3], &[1, 1, 1]));
        nodes.push(node("ReduceMean", &["m1000"], &["last"], &[]));
        nodes.push(node("Reshape", &["last", "one"], &["number"], &[]));
        for (i, spec) in entry.outputs.iter().enumerate() {
            let shape = format!("shape{i}");
            nodes.push(constant(&shape, &[spec.shape.len() as i64], &lengths(spec)));
            nodes.push(node("Expand", &["number", &shape], &[&spec.name], &[]));
        }
        let nodes: Vec<u8> = nodes.iter().flat_map(|node| bytes(1, node)).collect();
        model(&join(&[nodes, side(11, &entry.inputs), side(12, &entry.outputs)]), &[])
    }

    /// Breaks when a graph that takes for ever hangs Warm: this test then ends much later, and
    /// fails.
    #[test]
    fn an_endless_graph_ends_the_process_with_graph_limit_and_time() {
        if std::env::var_os(INSIDE).is_some() {
            let bundle = spoilt(|manifest, contents| {
                let entry = manifest.graphs.get_mut(&Graph::ContextEgo).unwrap();
                assert!(entry.inputs.iter().chain(&entry.outputs).all(|spec| spec.shape.iter().all(|axis| matches!(axis, Axis::Fixed(_)))));
                contents.insert(entry.file.clone(), endless(entry));
            });
            let config = EngineConfig { warm_time_limit_s: 1, ..EngineConfig::new(EngineKind::Rten) };
            let mut engine = load(&config, &bundle, Graph::ContextEgo).unwrap();
            let mut bench = Bench::new(bundle.manifest().graph(Graph::ContextEgo).unwrap(), 0, 0);
            bench.bind(engine.as_mut()).unwrap();
            return;
        }
        let name = concat!(module_path!(), "::an_endless_graph_ends_the_process_with_graph_limit_and_time");
        let name = name.split_once("::").unwrap().1;
        let program = std::env::current_exe().unwrap();
        let done = Command::new(program).args([name, "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{said}");
        for word in ["graph context_ego", "took too long", "got 1.", "at most 1 s (engine.warm_time_limit_s)"] {
            assert!(said.contains(word), "{word:?} is missing in {said}");
        }
    }
}
