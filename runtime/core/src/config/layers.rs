//! Merges layers of YAML into one tree. A later layer overrides an earlier one key by key. The
//! result records which layer set each value.

use crate::error::{Error, ErrorKind, Result};
use crate::excerpt::one_line;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// A YAML text, and the name that messages call it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The name in messages, usually the file name.
    pub name: String,
    /// The YAML text.
    pub text: String,
}

impl Layer {
    /// Makes the layer `{a: {b: value}}` from the text `a.b=value`, whose value is YAML. The option
    /// `--set` of every program takes such a text.
    ///
    /// # Errors
    /// `Config` for any other text.
    pub fn setting(text: &str) -> Result<Self> {
        let bad = |what: &str| Error::new(ErrorKind::Config, what).at(format!("--set {text:?}"));
        let (key, value) = text.split_once('=').ok_or_else(|| bad("not a setting").wanted("KEY=VALUE, for example flow.seed=7"))?;
        let mut yaml = value.to_owned();
        for part in key.rsplit('.') {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(bad("not a key").got(format!("{key:?}")).wanted("names joined by dots"));
            }
            yaml = format!("{{{part}: {yaml}}}");
        }
        Ok(Self { name: format!("--set {text}"), text: yaml })
    }
}

/// Renamed keys: section, old key, new key. The old name is accepted until the next release, with a
/// warning ([`DeprecatedKey`]).
const RENAMED: [(&str, &str, &str); 6] = [
    ("guidance", "most_tokens", "max_new_tokens"),
    ("guidance", "most_ms", "timeout_ms"),
    ("guidance", "template", "prompt_template"),
    ("ingest", "pose_hole_ms", "max_pose_gap_ms"),
    ("guard", "max_held", "max_hold_chunks"),
    ("guard", "continuity_m", "max_continuity_error_m"),
];

/// The renamed keys: old and new name, each with its section.
pub fn renamed_keys() -> impl Iterator<Item = (String, String)> {
    RENAMED.iter().map(|(section, old, new)| (format!("{section}.{old}"), format!("{section}.{new}")))
}

/// A key that a layer has under its old name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeprecatedKey {
    /// The old name, with its section.
    pub old: String,
    /// The new name, with its section.
    pub new: String,
    /// The name of the layer.
    pub layer: String,
}

/// The warning for the user.
impl fmt::Display for DeprecatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, new, layer } = self;
        write!(f, "{layer:?}: the key `{old}` is now called `{new}`; the next release refuses the old name")
    }
}

/// The merged tree, and the layer that set each key.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) tree: Value,
    pub(super) deprecated: Vec<DeprecatedKey>,
    origin: BTreeMap<String, String>,
}

impl Merged {
    /// The layer that last set `key`, or else the nearest key above it that a layer set.
    pub(super) fn origin(&self, key: &str) -> &str {
        let mut key = key;
        loop {
            if let Some(layer) = self.origin.get(key) {
                return layer;
            }
            match key.rfind('.') {
                Some(dot) => key = &key[..dot],
                None => return "configuration",
            }
        }
    }
}

/// Merges `layers` in order. Maps are merged key by key; a later value of any other kind replaces
/// the earlier one. The key `extends` belongs to the loader and is dropped.
pub(super) fn merge(layers: &[Layer]) -> Result<Merged> {
    let mut merged = Merged { tree: Value::Object(Map::new()), deprecated: Vec::new(), origin: BTreeMap::new() };
    for layer in layers {
        let fail = |what: &str| Error::new(ErrorKind::Config, what).at(format!("{:?}", layer.name));
        // YAML 1.2: only `true` and `false` are booleans. `off` is a string.
        let options = serde_saphyr::options! { strict_booleans: true };
        let tree: Value = serde_saphyr::from_str_with_options(&layer.text, options)
            .map_err(|e| fail("not a YAML that can be read").caused_by(one_line(e)))?;
        let Value::Object(mut tree) = tree else {
            return Err(fail("not a map of sections").got(kind(&tree)));
        };
        tree.remove("extends");
        merged.deprecated.extend(rename(&mut tree, &layer.name)?);
        let Merged { tree: base, origin, .. } = &mut merged;
        overlay(base, Value::Object(tree), "", &layer.name, origin);
    }
    Ok(merged)
}

/// Renames the keys of one layer that have an old name, and returns them.
fn rename(tree: &mut Map<String, Value>, layer: &str) -> Result<Vec<DeprecatedKey>> {
    let mut deprecated = Vec::new();
    for (section, old, new) in RENAMED {
        let Some(keys) = tree.get_mut(section).and_then(Value::as_object_mut) else { continue };
        let Some(value) = keys.remove(old) else { continue };
        let key = DeprecatedKey { old: format!("{section}.{old}"), new: format!("{section}.{new}"), layer: layer.to_owned() };
        if keys.insert(new.to_owned(), value).is_some() {
            return Err(Error::new(ErrorKind::Config, "a key is set under its old and its new name")
                .at(key.new)
                .at(format!("{layer:?}"))
                .got(format!("also `{}`", key.old))
                .wanted("the new name alone"));
        }
        deprecated.push(key);
    }
    Ok(deprecated)
}

/// Keys whose map selects one of several variants. A later layer replaces such a map as a whole.
const CHOICES: [&str; 2] = ["flow.video.end", "flow.action.start"];

fn overlay(base: &mut Value, over: Value, path: &str, layer: &str, origin: &mut BTreeMap<String, String>) {
    match (base, over) {
        (base, over) if CHOICES.contains(&path) => *base = over,
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                origin.insert(path.clone(), layer.to_owned());
                overlay(base.entry(key).or_insert(Value::Null), value, &path, layer, origin);
            }
        }
        (base, Value::Object(over)) => {
            *base = Value::Object(Map::new());
            overlay(base, Value::Object(over), path, layer, origin);
        }
        (base, over) => *base = over,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
