//! The table of causes in docs/safety.md has the names of the guard's table, and no others.

use drivewam_core::manifest::Monitor;
use drivewam_core::motion::MotionConflict;
use std::collections::BTreeSet;
use std::path::Path;

/// The names in the guard's table: those in its source, and those of the enums that it asks.
fn names(guard: &str, trained: &str) -> BTreeSet<String> {
    let table = guard.split("pub fn row(self)").nth(1).and_then(|rest| rest.split("CauseRow { name").next()).unwrap_or_default();
    let literal = table.split("=> (\"").skip(1).filter_map(|rest| rest.split('"').next());
    let motion = MotionConflict::ALL.map(MotionConflict::as_str);
    let monitors = Monitor::ALL.map(Monitor::cause);
    let untrained = trained.split('"').filter(|text| text.ends_with("_untrained"));
    literal.chain(motion).chain(monitors).chain(untrained).map(str::to_owned).collect()
}

/// The names in the first column of the table under "cause".
fn documented(text: &str) -> BTreeSet<String> {
    let table = text.split("| cause |").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let first = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

/// Breaks when a cause is added to the guard and a vehicle's engineer does not read of it.
#[test]
fn every_cause_stands_in_the_table_of_the_document() {
    let root = super::root();
    let read = |path: &Path| std::fs::read_to_string(root.join(path)).unwrap();
    let [guard, trained, document] = ["runtime/pipeline/src/guard/causes.rs", "runtime/core/src/manifest/trained.rs", "docs/safety.md"]
        .map(|path| read(Path::new(path)));
    let known = names(&guard, &trained);
    assert!(known.len() > 30, "{known:?}");
    assert_eq!(known, documented(&document), "of the guard, of the document");
    let new = guard.replace("(\"late\", ", "(\"tardy\", ");
    assert_ne!(names(&new, &trained), documented(&document), "a new name is seen");
}
