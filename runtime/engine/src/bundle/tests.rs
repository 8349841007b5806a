//! A bundle is refused for every way in which its files can differ from the manifest, and holds no
//! content longer than it is needed.

use super::*;
use crate::bytes::Bytes;
use drivewam_core::ErrorKind;
use drivewam_core::bindings::Graph;
use drivewam_core::config::{Config, EngineConfig, EngineKind, Layer};
use drivewam_core::dims::Command;
use drivewam_core::manifest::{FILE_NAME, FileRole, Manifest};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The closed-form engine's bundle, on a disk.
fn on_disk() -> tempfile::TempDir {
    let folder = crate::closed_form::bundle(&crate::tests::tiny()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in folder.files() {
        fs::write(dir.path().join(name), folder.content(name).unwrap().as_slice()).unwrap();
    }
    fs::write(dir.path().join(FILE_NAME), serde_saphyr::to_string(folder.manifest()).unwrap()).unwrap();
    dir
}

/// The file that the cases spoil: `open` reads it.
const VICTIM: &str = "commands.safetensors";

fn spoil(dir: &Path, f: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(dir.join(VICTIM)).unwrap();
    f(&mut content);
    fs::write(dir.join(VICTIM), content).unwrap();
}

/// A file that only a load reads.
const GRAPH: &str = "closed_form.txt";

#[test]
fn a_whole_bundle_opens_with_its_files_and_texts_and_a_report_counts_every_byte() {
    let dir = on_disk();
    let mut progress = Vec::new();
    let report = EngineBundle::verify(dir.path(), &Trust::default(), Some(&mut |done, all| progress.push((done, all))));
    assert!(report.is_whole());
    let bundle = EngineBundle::open(dir.path(), &Trust::default()).unwrap();
    let all: u64 = bundle.files().map(|(_, entry)| entry.bytes).sum();
    assert_eq!(progress.last(), Some(&(all, all)));
    assert!(progress.windows(2).all(|w| w[0].0 <= w[1].0));
    let text = bundle.text(Command::Left).unwrap();
    assert_eq!(text.values.len(), text.rows * bundle.manifest().model.text.dim);
    assert_eq!(bundle.content(VICTIM).unwrap().as_slice(), fs::read(dir.path().join(VICTIM)).unwrap());
    assert!(bundle.content(FILE_NAME).is_err(), "the manifest lists itself");
}

/// Breaks if a content is read a second time after it was hashed.
#[test]
fn what_was_hashed_is_what_is_loaded_whatever_happens_to_the_disk_afterwards() {
    let dir = on_disk();
    let path = dir.path().join(GRAPH);
    let before = fs::read(&path).unwrap();
    let bundle = EngineBundle::open(dir.path(), &Trust::default()).unwrap();
    bundle.plan_loads(&[Graph::Dit, Graph::ContextEgo]);
    let dit = bundle.graph_files(Graph::Dit).unwrap();
    fs::write(&path, vec![b'x'; before.len()]).unwrap();
    // The second graph shares the file, so it gets the same bytes. A third reads it anew.
    let ego = bundle.graph_files(Graph::ContextEgo).unwrap();
    assert_eq!((dit.content.as_slice(), ego.content.as_slice()), (before.as_slice(), before.as_slice()));
    assert!(bundle.graph_files(Graph::ContextText).err().unwrap().to_string().contains("SHA-256"));
}

/// Breaks if a changed file that no graph of the ride needs goes unnoticed, or if loading and
/// `inspect` differ in what they say.
#[test]
fn a_changed_file_is_refused_when_it_is_loaded_and_also_when_it_is_not() {
    let dir = on_disk();
    let mut content = fs::read(dir.path().join(GRAPH)).unwrap();
    content[3] ^= 1;
    fs::write(dir.path().join(GRAPH), content).unwrap();
    let bundle = EngineBundle::open(dir.path(), &Trust::default()).unwrap();
    let loaded = bundle.graph_files(Graph::Dit).err().unwrap();
    let unread = bundle.verify_unread().unwrap_err();
    let reported = EngineBundle::verify(dir.path(), &Trust::default(), None).into_first_fault().unwrap();
    assert!(loaded.kind() == ErrorKind::Manifest && loaded.to_string().contains(GRAPH), "{loaded}");
    assert_eq!([loaded.to_string(), unread.to_string()], [reported.to_string(), reported.to_string()]);
}

/// The graphs of a ride, and the bytes of each one's own file and of its weights.
fn loads(manifest: &Manifest) -> Vec<(Graph, u64, u64)> {
    let length = |name: &String| manifest.files[name].bytes;
    let graphs = [Graph::VaeEncodeFirst, Graph::VaeEncode, Graph::ContextText, Graph::ContextEgo, Graph::Dit];
    let bytes = |graph| {
        let entry = &manifest.graphs[graph];
        (*graph, length(&entry.file), entry.weights.iter().map(length).sum())
    };
    graphs.iter().map(bytes).collect()
}

/// Breaks if a shared file is read twice, or a content outlives the last graph that needs it.
#[test]
fn a_content_is_dropped_after_the_last_graph_that_needs_it_and_no_file_is_read_twice() {
    let bundle = crate::tests::shipped();
    let (manifest, meter) = (bundle.manifest(), bundle.meter());
    let graphs = loads(manifest);
    assert_eq!(manifest.graphs[&Graph::VaeEncode].weights, manifest.graphs[&Graph::VaeEncodeFirst].weights);
    bundle.plan_loads(&graphs.iter().map(|(graph, ..)| *graph).collect::<Vec<_>>());
    let (small, opened) = (meter.live_bytes(), meter.read_bytes());
    for (i, (graph, own, weights)) in graphs.iter().enumerate() {
        let files = bundle.graph_files(*graph).unwrap();
        assert_eq!(meter.live_bytes() - small, own + weights, "{graph} is loaded");
        drop(files);
        // The encoders share their weights, and so do the two context graphs.
        let kept = if i == 0 || i == 2 { *weights } else { 0 };
        assert_eq!(meter.live_bytes() - small, kept, "{graph} was loaded");
    }
    let shared: u64 = [1, 3].map(|i: usize| graphs[i].2).iter().sum();
    let all: u64 = graphs.iter().map(|(_, own, weights)| own + weights).sum();
    assert_eq!(meter.read_bytes() - opened, all - shared);
    bundle.verify_unread().unwrap();
    assert_eq!(meter.read_bytes(), manifest.files.values().map(|file| file.bytes).sum::<u64>(), "each file is hashed once");
    drop(bundle);
    assert_eq!(meter.live_bytes(), 0);
}

/// Breaks if the plan promises another peak than Warm has, or an engine keeps what it need not.
#[test]
fn the_planned_peak_of_file_contents_is_the_measured_one() {
    let bundle = crate::tests::shipped();
    let (meter, graphs) = (bundle.meter(), loads(bundle.manifest()));
    let order: Vec<Graph> = graphs.iter().map(|(graph, ..)| *graph).collect();
    let peak = |kind| warm_peak(&EngineConfig::new(kind), bundle.manifest(), &order);
    bundle.plan_loads(&order);
    let small = meter.live_bytes();
    let engines: Vec<_> = order.iter().map(|graph| crate::load(&EngineConfig::new(EngineKind::Rten), &bundle, *graph).unwrap()).collect();
    // rten reads weights in place: each weight file stays, once.
    let in_place: u64 = [0, 2, 4].map(|i: usize| graphs[i].2).iter().sum();
    assert_eq!(meter.live_bytes() - small, in_place);
    let (dit, own, weights) = graphs[4];
    assert_eq!((peak(EngineKind::Rten).graph, peak(EngineKind::Rten).file_bytes), (Some(dit), in_place + own));
    assert_eq!(meter.peak_bytes() - small, peak(EngineKind::Rten).file_bytes);
    // TensorRT moves weights to the GPU: the peak is the largest graph alone.
    assert_eq!(peak(EngineKind::TensorrtRtx), WarmPeak { graph: Some(dit), file_bytes: own + weights, library_bytes: 0 });
    // A session of ONNX Runtime owns a copy of what it was given.
    let copies: u64 = graphs.iter().map(|(_, own, weights)| own + weights).sum();
    assert_eq!(peak(EngineKind::Ort), WarmPeak { graph: Some(dit), file_bytes: own + weights, library_bytes: copies });
    assert_eq!(peak(EngineKind::ClosedForm), WarmPeak::default());
    drop((engines, bundle));
    assert_eq!(meter.live_bytes(), 0);
}

#[test]
fn every_spoilt_file_is_refused_with_its_name_and_what_was_got_and_wanted() {
    struct Case {
        name: &'static str,
        spoil: fn(&Path),
        words: &'static [&'static str],
    }
    let cases = [
        Case { name: "truncated", spoil: |dir| spoil(dir, |c| c.truncate(c.len() - 1)), words: &["not as long", "bytes, wanted"] },
        Case { name: "longer", spoil: |dir| spoil(dir, |c| c.push(0)), words: &["not as long", "bytes, wanted"] },
        Case { name: "one flipped bit", spoil: |dir| spoil(dir, |c| c[100] ^= 1), words: &["SHA-256", "wanted SHA-256"] },
        Case { name: "missing", spoil: |dir| fs::remove_file(dir.join(VICTIM)).unwrap(), words: &["missing"] },
        Case {
            name: "a folder",
            spoil: |dir| {
                fs::remove_file(dir.join(VICTIM)).unwrap();
                fs::create_dir(dir.join(VICTIM)).unwrap();
            },
            words: &["not a plain file", "a folder"],
        },
        #[cfg(unix)]
        Case {
            name: "a link to the right content",
            spoil: |dir| {
                fs::rename(dir.join(VICTIM), dir.join("elsewhere")).unwrap();
                std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join(VICTIM)).unwrap();
            },
            words: &["not a plain file", "a symbolic link"],
        },
        #[cfg(unix)]
        Case {
            name: "an endless device",
            spoil: |dir| {
                fs::remove_file(dir.join(VICTIM)).unwrap();
                std::os::unix::fs::symlink("/dev/zero", dir.join(VICTIM)).unwrap();
            },
            words: &["not a plain file"],
        },
        #[cfg(unix)]
        Case {
            name: "a socket",
            spoil: |dir| {
                fs::remove_file(dir.join(VICTIM)).unwrap();
                std::os::unix::net::UnixListener::bind(dir.join(VICTIM)).unwrap();
            },
            words: &["not a plain file", "a pipe, socket or device"],
        },
    ];
    let mut failed = Vec::new();
    for case in &cases {
        let dir = on_disk();
        (case.spoil)(dir.path());
        let error = EngineBundle::open(dir.path(), &Trust::default()).unwrap_err();
        let report = EngineBundle::verify(dir.path(), &Trust::default(), None);
        let faults = report.files.iter().filter(|f| matches!(f.status, FileStatus::Fault(_))).count();
        let text = error.to_string();
        let same = report.into_first_fault().map(|e| e.to_string());
        let complete = error.kind() == ErrorKind::Manifest && text.contains(VICTIM) && case.words.iter().all(|word| text.contains(word));
        if !complete || faults != 1 || same.as_ref() != Some(&text) {
            failed.push(format!("{}: {text} / {same:?}", case.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_bad_manifest_is_refused_before_any_file_is_read() {
    let long = "x".repeat((4 << 20) + 1);
    for (content, word) in [
        (None, "no manifest"),
        (Some(&b"schema: ["[..]), "manifest.yaml"),
        (Some(&b"\xff\xfe"[..]), "UTF-8"),
        (Some(long.as_bytes()), "too long"),
    ] {
        let dir = on_disk();
        match content {
            Some(content) => fs::write(dir.path().join(FILE_NAME), content).unwrap(),
            None => fs::remove_file(dir.path().join(FILE_NAME)).unwrap(),
        }
        let mut calls = 0;
        let error = EngineBundle::open(dir.path(), &Trust::default()).unwrap_err();
        assert!(error.to_string().contains(word) && error.kind() == ErrorKind::Manifest, "{error}");
        assert!(!EngineBundle::verify(dir.path(), &Trust::default(), Some(&mut |_, _| calls += 1)).is_whole());
        assert_eq!(calls, 0);
    }
}

#[test]
fn verify_goes_on_after_a_fault_and_names_files_that_the_manifest_does_not_list() {
    let dir = on_disk();
    fs::write(dir.path().join("stray.onnx"), "x").unwrap();
    let names: Vec<String> = EngineBundle::open(dir.path(), &Trust::default()).unwrap().files().map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let report = EngineBundle::verify(dir.path(), &Trust::default(), None);
    let faults = report.files.iter().filter(|f| matches!(f.status, FileStatus::Fault(_))).count();
    assert_eq!(faults, names.len());
    let last = report.files.last().unwrap();
    assert!(last.name == "stray.onnx" && matches!(last.status, FileStatus::Unlisted), "{last:?}");
}

#[test]
fn a_text_of_another_shape_or_with_a_nan_is_refused() {
    let folder = crate::closed_form::bundle(&crate::tests::tiny()).unwrap();
    let spoilt = |f: &dyn Fn(&mut Manifest, &mut Vec<u8>)| {
        let mut manifest = folder.manifest().clone();
        let mut files = BTreeMap::new();
        for (name, _) in folder.files() {
            files.insert(name.to_owned(), folder.content(name).unwrap().as_slice().to_vec());
        }
        let mut content = files.remove(VICTIM).unwrap();
        f(&mut manifest, &mut content);
        manifest.files.insert(VICTIM.into(), attest(&content, FileRole::Commands));
        files.insert(VICTIM.into(), content);
        let files = files.into_iter().map(|(name, content)| (name, Bytes::copy_of(&content).unwrap())).collect();
        EngineBundle::in_memory(manifest, files).unwrap_err().to_string()
    };
    let text = spoilt(&|manifest, _| *manifest.commands.rows.get_mut(&Command::Left).unwrap() += 1);
    assert!(text.contains("wrong shape") && text.contains("left"), "{text}");
    let text = spoilt(&|_, content| {
        let end = content.len();
        content[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(text.contains("not finite"), "{text}");
    let text = spoilt(&|_, content| content.truncate(4));
    assert!(text.contains("not a safetensors file"), "{text}");
}

/// Breaks when a manifest other than the pinned one is parsed or opened, or the message lacks one
/// of the two hashes.
#[test]
fn a_manifest_that_the_configuration_does_not_pin_is_refused_with_both_hashes() {
    let dir = on_disk();
    let layer = |text: String| Layer { name: "test".into(), text };
    let shipped = ["model/tiny.yaml", "target/host-cpu.yaml", "vehicle/world.yaml", "tiny.yaml"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name);
        layer(fs::read_to_string(path).unwrap())
    });
    let trust = |sha256: &str| {
        let pin = layer(format!("engine: {{manifest_sha256: {sha256}}}"));
        Trust::of_config(&Config::from_layers(&[shipped.to_vec(), vec![pin]].concat()).unwrap()).unwrap()
    };
    let own = EngineBundle::open(dir.path(), &Trust::default()).unwrap().manifest_sha256().to_owned();
    EngineBundle::open(dir.path(), &trust(&own)).unwrap();
    let other = "0123456789abcdef".repeat(4);
    for spoilt in [false, true] {
        // A byte more is another manifest, and one that is not parsed.
        let text = fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        if spoilt {
            fs::write(dir.path().join(FILE_NAME), format!("{text}: [")).unwrap();
        }
        let pinned = if spoilt { &own } else { &other };
        let error = EngineBundle::open(dir.path(), &trust(pinned)).unwrap_err();
        let said = error.to_string();
        let names_both = said.contains(&format!("wanted {pinned}")) && (spoilt || said.contains(&format!("got {own}")));
        assert!(error.kind() == ErrorKind::Manifest && said.contains("engine.manifest_sha256") && names_both, "{said}");
        assert_eq!(EngineBundle::verify(dir.path(), &trust(pinned), None).into_first_fault().unwrap().to_string(), said);
    }
}
