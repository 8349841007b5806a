//! Compiles the kernels for the emulator, where its feature asks for them.

fn main() {
    #[cfg(feature = "emulator")]
    emulator();
}

#[cfg(feature = "emulator")]
fn emulator() {
    for folder in ["emulator", "kernels"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        // The kernels say which loops to unroll in words that a C++ compiler does not know; a product and a sum stay two roundings.
        .flag("-Wno-unknown-pragmas")
        .flag("-ffp-contract=off")
        .include("emulator")
        .files(["emulator/emulator.cpp", "emulator/kernels.cpp"])
        .compile("drivewam_emulator");
}
