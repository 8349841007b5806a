//! `docs/config.md` says what the types say.

use drivewam_tests::config_docs::{page, shipped};
use std::path::Path;

/// Breaks when a key, a default, a range or a description changes and the page does not.
#[test]
fn the_page_of_configuration_keys_is_the_generated_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let generated = page(&root, &shipped(&root).unwrap());
    let committed = std::fs::read_to_string(root.join("docs/config.md")).unwrap();
    let apart = generated.lines().zip(committed.lines()).find(|(new, old)| new != old);
    let again = "run `cargo run -p drivewam-tests --bin config-docs > docs/config.md`";
    assert!(generated == committed, "{again}; the first line that differs: {apart:#?}");
    for key in ["`guard.deadline_ms` | ms | `1000` | 1 to 60000", "`engine.kind`", "`flow.seed`", "required"] {
        assert!(generated.contains(key), "{key} is not on the page");
    }
}
