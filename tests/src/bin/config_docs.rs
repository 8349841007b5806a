//! Prints `docs/config.md`.

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    print!("{}", drivewam_tests::config_docs::page(&root, &drivewam_tests::config_docs::shipped(&root)?));
    Ok(())
}
