//! The device contract names no implementation.

use crate::files::Source;
use crate::modules;

/// The device contract.
const CONTRACT: [&str; 6] = [
    "runtime/device/src/camera.rs",
    "runtime/device/src/device.rs",
    "runtime/device/src/gpu.rs",
    "runtime/device/src/host_memory.rs",
    "runtime/device/src/kv.rs",
    "runtime/device/src/picture.rs",
];

/// Implementations of the device contract, and the allocator that they share.
const IMPLEMENTATIONS: [&str; 3] = ["runtime/device/src/host/", "runtime/device/src/cuda/", "runtime/device/src/arena.rs"];

/// Where the contract names an implementation, and files of the contract that are not there.
pub(crate) fn breaches(files: &[Source]) -> Vec<String> {
    let edges = modules::edges("runtime/device/src/", files);
    let mut failures = Vec::new();
    for file in CONTRACT {
        let Some(used) = edges.get(file) else {
            failures.push(format!("{file} is not there"));
            continue;
        };
        let above = used.iter().filter(|to| IMPLEMENTATIONS.iter().any(|place| to.starts_with(place)));
        failures.extend(above.map(|to| format!("{file} -> {to}")));
    }
    failures
}

/// Breaks when the contract may name an implementation in one of the ways in which code names
/// another file, or may go missing.
#[test]
fn an_implementation_that_the_contract_names_is_found() {
    let device = "runtime/device/src/device.rs";
    let with = |text: &str| -> Vec<Source> {
        let implementations = [
            ("lib.rs", "pub mod arena; pub mod cuda; pub mod host; pub use host::HostDevice;"),
            ("arena.rs", "pub struct HostArena;"),
            ("cuda/mod.rs", "pub struct CudaDevice;"),
            ("host/mod.rs", "use crate::device::Device; pub struct HostDevice;"),
        ];
        let implementations = implementations.map(|(file, text)| Source::new(&format!("runtime/device/src/{file}"), text));
        let contract = CONTRACT.map(|file| Source::new(file, if file == device { text } else { "" }));
        implementations.into_iter().chain(contract).collect()
    };
    assert_eq!(breaches(&with("use crate::kv::KvLayout; pub trait Device {}")), [""; 0]);
    for (text, to) in [
        ("use crate::arena::HostArena;", "arena.rs"),
        ("pub trait Device { fn gpu(&mut self) -> Option<&mut crate::cuda::CudaDevice>; }", "cuda/mod.rs"),
        ("use crate::HostDevice;", "host/mod.rs"),
    ] {
        assert_eq!(breaches(&with(text)), [format!("{device} -> runtime/device/src/{to}")], "{text}");
    }
    let without: Vec<Source> = with("").into_iter().filter(|file| file.path != device).collect();
    assert_eq!(breaches(&without), [format!("{device} is not there")]);
}
