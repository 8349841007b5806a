//! A public type of the runtime has a name of its own.

use crate::files::Source;
use std::collections::BTreeMap;
use syn::{Item, Visibility};

/// Names that several public types below `runtime/` share, with the files that define them.
pub(crate) fn shared(files: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in files {
        let parsed = syn::parse_file(&file.text).unwrap_or_else(|e| panic!("{}: {e}", file.path));
        for name in types(&parsed.items) {
            places.entry(name).or_default().push(&file.path);
        }
    }
    let shared = places.into_iter().filter(|(_, files)| files.len() > 1);
    shared.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect()
}

fn types(items: &[Item]) -> Vec<String> {
    let mut names = Vec::new();
    for item in items {
        let (visibility, name) = match item {
            Item::Struct(i) => (&i.vis, &i.ident),
            Item::Enum(i) => (&i.vis, &i.ident),
            Item::Trait(i) => (&i.vis, &i.ident),
            Item::Type(i) => (&i.vis, &i.ident),
            Item::Union(i) => (&i.vis, &i.ident),
            Item::Mod(i) => {
                names.extend(i.content.iter().flat_map(|(_, items)| types(items)));
                continue;
            }
            _ => continue,
        };
        if matches!(visibility, Visibility::Public(_)) {
            names.push(name.to_string());
        }
    }
    names
}

#[test]
fn a_public_name_that_two_files_share_is_found_and_a_private_one_is_not() {
    let a = Source::new("a.rs", "pub struct Rows; pub(crate) enum Mine {} mod m { pub trait Deep {} }");
    let b = Source::new("b.rs", "pub type Rows = u8; struct Mine; pub struct Deep;");
    assert_eq!(shared(&[a, b]), ["Deep: a.rs, b.rs", "Rows: a.rs, b.rs"]);
}
