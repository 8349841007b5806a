//! Token ids against Python's: small tokenizers of Qwen's and of T5's kind
//! (`export/drivewam_export/fixtures/tiny_tokenizers.py`), and Qwen's own ranks against the ids of
//! another library, tiktoken, where `../shared/data` exists.
//!
//! Breaks when a rule of the file is not followed (normal form, splits, merges, special tokens),
//! when tokens are added, or a text is truncated or padded. `make fixtures` writes the bundles
//! first.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use drivewam_core::ErrorKind;
use drivewam_guidance::tokenizer::Tokenizer;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Deserialize)]
struct Golden {
    size: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    /// `None` where the text itself is wanted, in normal form C.
    decoded: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|_| panic!("{path:?} is missing: `make fixtures` writes it"))
}

/// A description of every difference from `cases`.
fn faults(tokens: &Tokenizer, cases: &[Case]) -> Vec<String> {
    let mut out = Vec::new();
    let mut ids = Vec::new();
    for case in cases {
        ids.clear();
        ids.push(u32::MAX);
        tokens.encode(&case.text, &mut ids).unwrap();
        if ids[0] != u32::MAX || ids[1..] != case.ids {
            out.push(format!("{:?}: {:?}, wanted {:?}", case.text, &ids[1..], case.ids));
        }
        let text = tokens.decode(&case.ids).unwrap();
        let wanted = case.decoded.as_ref().unwrap_or(&case.text);
        if text != *wanted {
            out.push(format!("{:?}: {text:?}, wanted {wanted:?}", case.ids));
        }
    }
    out
}

#[test]
fn ids_and_texts_are_those_of_python() {
    let folder = root().join("target/tiny_tokenizers");
    let golden: BTreeMap<String, Golden> = serde_json::from_slice(&read(&folder.join("golden.json"))).unwrap();
    assert_eq!(golden.keys().collect::<Vec<_>>(), ["bpe", "charsmap", "unigram"]);
    for (name, golden) in golden {
        let tokens = Tokenizer::from_bytes(&read(&folder.join(format!("{name}.json")))).unwrap();
        let wrong = faults(&tokens, &golden.cases);
        assert!(golden.cases.len() > 20 && wrong.is_empty(), "{name}: {wrong:#?}");
        assert_eq!(tokens.vocabulary(), golden.size);
        let error = tokens.decode(&[0, golden.size as u32]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output, "{error}");
    }
}

#[test]
fn qwens_ids_are_those_of_tiktoken() {
    let path = root().join("../shared/data/tokenizer/qwen_golden.json");
    let Ok(golden) = std::fs::read(&path) else {
        println!("{path:?} is not there: Qwen's ids were compared with nothing");
        return;
    };
    let cases: Vec<Case> = serde_json::from_slice(&golden).unwrap();
    let file = read(&root().join("target/qwen_tokenizer/tokenizer.json"));
    let start = Instant::now();
    let tokens = Tokenizer::from_bytes(&file).unwrap();
    let loaded = start.elapsed();
    let wrong = faults(&tokens, &cases);
    assert!(cases.len() > 10 && wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), cases.len());
    let (mut ids, start) = (Vec::new(), Instant::now());
    cases.iter().for_each(|case| tokens.encode(&case.text, &mut ids).unwrap());
    println!("{} texts agree; loaded in {loaded:?}, {} ids encoded in {:?}", cases.len(), ids.len(), start.elapsed());
    for (token, id) in [
        ("<|endoftext|>", 151_643),
        ("<|im_end|>", 151_645),
        ("<|vision_start|>", 151_652),
        ("<|image_pad|>", 151_655),
        ("</think>", 151_668),
    ] {
        let mut ids = Vec::new();
        tokens.encode(token, &mut ids).unwrap();
        assert_eq!(ids, [id], "{token}");
    }
    assert_eq!(tokens.vocabulary(), 151_669);
}
