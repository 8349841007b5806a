//! Text to token ids and back, by the checkpoint's own `tokenizer.json` (Qwen's byte-level BPE,
//! UMT5's unigram).
//!
//! The file gives the rules; the `tokenizers` crate, which Python uses too, applies them. Encoding
//! and decoding allocate, so they belong to the guidance thread or to Warm.

use drivewam_core::{Error, ErrorKind, Result};

/// A loaded tokenizer. It never truncates or pads a text, whatever the file says.
#[derive(Debug)]
pub struct Tokenizer(Box<tokenizers::Tokenizer>);

impl Tokenizer {
    /// Loads the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// `Manifest` for content that is not a tokenizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let refuse = |source| Error::new(ErrorKind::Manifest, "not a tokenizer").at("tokenizer.json").caused_by(source);
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(refuse)?;
        tokenizer.with_truncation(None).map_err(refuse)?;
        tokenizer.with_padding(None);
        Ok(Self(Box::new(tokenizer)))
    }

    /// Loads the content of the file `name` and checks that it belongs to a graph of `vocabulary`
    /// entries whose manifest names the special tokens `special`.
    ///
    /// # Errors
    /// `Manifest` for content that is not a tokenizer, or a tokenizer of another model: one with
    /// more entries than the graph, or without one of the special tokens.
    pub fn of_graph(bytes: &[u8], name: &str, vocabulary: usize, special: &[u32]) -> Result<Self> {
        let tokenizer = Self::from_bytes(bytes).map_err(|e| e.at(format!("{name:?}")))?;
        if tokenizer.vocabulary() > vocabulary {
            return Err(Error::new(
                ErrorKind::Manifest,
                "the tokenizer has more entries than the graph's vocabulary: it is another model's",
            )
            .at(format!("{name:?}"))
            .got(tokenizer.vocabulary())
            .wanted(format!("at most {vocabulary}")));
        }
        let known = tokenizer.0.get_added_tokens_decoder();
        if let Some(odd) = special.iter().find(|id| !known.contains_key(id)) {
            return Err(Error::new(ErrorKind::Manifest, "the tokenizer lacks a special token of the graph: it is another model's")
                .at(format!("{name:?}"))
                .got(format!("{odd}, {:?}", tokenizer.0.id_to_token(*odd))));
        }
        Ok(tokenizer)
    }

    /// Appends the ids of `text` to `out`. Special tokens in the text become their ids; none is
    /// added before or after it, so a caller appends T5's end token itself.
    ///
    /// A text from outside that must not steer the prompt has to be searched for special tokens
    /// first: they count here.
    ///
    /// # Errors
    /// `Input` for a text that the tokenizer fails on; `out` is then unchanged.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let refuse = |source| Error::new(ErrorKind::Input, "the tokenizer cannot encode the text").at("tokenizer.json").caused_by(source);
        out.extend_from_slice(self.0.encode_fast(text, false).map_err(refuse)?.get_ids());
        Ok(())
    }

    /// The text of `ids`, special tokens included. Bytes that are not UTF-8 (an answer may end
    /// within a character) become U+FFFD.
    ///
    /// # Errors
    /// `Output` for an id without a token: a model's vocabulary may exceed its tokenizer's.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|id| self.0.id_to_token(**id).is_none()) {
            return Err(Error::new(ErrorKind::Output, "the tokenizer has no token for the id")
                .at("tokenizer.json")
                .got(id)
                .wanted(format!("one of {}", self.vocabulary())));
        }
        self.0
            .decode(ids, false)
            .map_err(|source| Error::new(ErrorKind::Output, "the tokenizer cannot decode the ids").at("tokenizer.json").caused_by(source))
    }

    /// Entries of the vocabulary, special tokens included.
    pub fn vocabulary(&self) -> usize {
        self.0.get_vocab_size(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when content that is not a tokenizer loads, or the error does not say what is
    /// expected.
    #[test]
    fn garbage_is_refused_in_words() {
        for bytes in [&b""[..], b"\xff\xfe", b"{}", b"{\"model\": {\"type\": \"BPE\"}}", b"[1, 2]"] {
            let error = Tokenizer::from_bytes(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Manifest);
            assert!(error.to_string().starts_with("manifest error at tokenizer.json: not a tokenizer: "), "{error}");
        }
    }
}
