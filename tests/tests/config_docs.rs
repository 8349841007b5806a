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
    let rows = [
        "`guard.deadline_ms` | ms | `1000` | 1 to 60000",
        "`model.image.height` | px | required | 1 to 2^13",
        "`model.patch` |  | required | list of fixed length; `[1]`: 1 to 16; `[2]`: 1 to 16",
        "`model.eps` |  | required | above 0, below 1",
        "`guidance.wait_ms` | ms | `0` | whole number, or `inf`",
        "`engine.kind`",
        "`flow.seed`",
        "required",
    ];
    for row in rows {
        assert!(generated.contains(row), "{row} is not on the page");
    }
}
