//! Compiles the kernels for the emulator if the feature `emulator` is on.

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
        // A C++ compiler does not know the kernels' unroll pragmas. A product and a sum must stay
        // two roundings.
        .flag("-Wno-unknown-pragmas")
        .flag("-ffp-contract=off")
        .include("emulator")
        .files(["emulator/emulator.cpp", "emulator/kernels.cpp"])
        .compile("drivewam_emulator");
}
