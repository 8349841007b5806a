//! Empty. Cargo needs a target; see Cargo.toml.
