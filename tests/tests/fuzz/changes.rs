//! Random changes of valid files.

use proptest::prelude::*;

/// How often a property is tried: `short` times, and in `make long` a million times.
pub(crate) fn cases(short: u32) -> ProptestConfig {
    let cases = if cfg!(feature = "long") { 1_000_000 } else { short };
    let given = ProptestConfig::default();
    // Nothing to keep: a failure is shrunk to a test of its own.
    ProptestConfig { cases: given.cases.max(cases), failure_persistence: None, ..given }
}

/// A change of a text. Positions are in 1/65536 of its length.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Flip(u16, u8),
    Cut(u16, u16),
    Repeat(u16, u16),
    Insert(u16, Vec<u8>),
    /// Exchanges two bytes.
    Swap(u16, u16),
    /// Makes a field of a protobuf message of a part of it.
    Wrap(u16, u16, u8),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    // Tokens with a meaning in YAML or in the schema.
    let words = prop::sample::select(vec![
        "&a [",
        "*a",
        "{",
        "}",
        "!!binary ",
        "? ",
        ": ",
        "\n- ",
        "\n  ",
        "<<: ",
        "|\n",
        "\u{0}",
        "..",
        "/",
        "1e999",
        ".nan",
        "-1",
        "18446744073709551616",
        "null",
        "~",
        "true",
        "N",
        "S",
        "\"",
        "'",
        "#",
        "schema: 2",
        "tensorrt",
        "dit",
        "engine:",
    ]);
    prop_oneof![
        (any::<u16>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<u16>(), 0..2000u16).prop_map(|(at, len)| Change::Cut(at, len)),
        (any::<u16>(), 0..2000u16).prop_map(|(at, len)| Change::Repeat(at, len)),
        (any::<u16>(), words).prop_map(|(at, word)| Change::Insert(at, word.as_bytes().to_vec())),
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..32)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

/// A change of a file that is no text.
pub(crate) fn binary_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<u16>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<u16>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (any::<u16>(), 0..40u16).prop_map(|(at, len)| Change::Cut(at, len)),
        any::<u16>().prop_map(|at| Change::Cut(at, u16::MAX)),
        (any::<u16>(), 0..400u16).prop_map(|(at, len)| Change::Repeat(at, len)),
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..16)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        // Lengths and numbers of 64 bits.
        (any::<u16>(), 0..=9usize).prop_map(|(at, more)| Change::Insert(at, [vec![0xff; more], vec![1]].concat())),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Change::Swap(a, b)),
        (any::<u16>(), any::<u16>(), 1..32u8).prop_map(|(at, len, field)| Change::Wrap(at, len, field)),
    ]
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    let place = |at: u16, content: &[u8]| usize::from(at) * content.len() / 65536;
    let part = |at: u16, len: u16, content: &[u8]| {
        let from = place(at, content);
        from..(from + usize::from(len)).min(content.len())
    };
    match change {
        Change::Flip(at, byte) => {
            let at = place(*at, content);
            if let Some(old) = content.get_mut(at) {
                *old ^= byte;
            }
        }
        Change::Cut(at, len) => drop(content.drain(part(*at, *len, content))),
        Change::Repeat(at, len) => {
            let range = part(*at, *len, content);
            let copy = content[range.clone()].to_vec();
            content.splice(range.start..range.start, copy);
        }
        Change::Insert(at, bytes) => {
            let at = place(*at, content);
            content.splice(at..at, bytes.iter().copied());
        }
        Change::Wrap(at, len, field) => {
            let range = part(*at, *len, content);
            let len = range.len();
            let head = [vec![field << 3 | 2], varint(len as u64)].concat();
            content.splice(range.start..range.start, head);
        }
        Change::Swap(a, b) => {
            let (a, b) = (place(*a, content), place(*b, content));
            if !content.is_empty() {
                content.swap(a, b);
            }
        }
    }
}

pub(crate) fn changed(mut content: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        apply(&mut content, change);
    }
    content
}

/// A number as protobuf writes it.
pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut all = Vec::new();
    while value > 0x7f {
        all.push(value as u8 | 0x80);
        value >>= 7;
    }
    all.push(value as u8);
    all
}
