//! Text to token ids and back, by the checkpoint's own `tokenizer.json` (Qwen's byte-level BPE, UMT5's unigram).
//!
//! The rules are those of the file and the arithmetic is that of the `tokenizers` crate, which Python runs too. Not for a ride's own threads:
//! both ways allocate.

use drivewam_core::{Error, ErrorKind, Result};
use tokenizers::Tokenizer;

/// An opened tokenizer. Texts are never cut or filled up, whatever the file says.
#[derive(Debug)]
pub struct Tokens(Box<Tokenizer>);

impl Tokens {
    /// Opens the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// `Manifest` for bytes that are no tokenizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let refuse = |source| Error::new(ErrorKind::Manifest, "not a tokenizer").at("tokenizer.json").caused_by(source);
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(refuse)?;
        tokenizer.with_truncation(None).map_err(refuse)?;
        tokenizer.with_padding(None);
        Ok(Self(Box::new(tokenizer)))
    }

    /// The same of the file `name`, for a graph of `vocabulary` entries whose manifest names the tokens `special`.
    ///
    /// # Errors
    /// `Manifest` for bytes that are no tokenizer, or one of another model: it has more entries than the graph, or its special tokens are others.
    pub fn of_graph(bytes: &[u8], name: &str, vocabulary: usize, special: &[u32]) -> Result<Self> {
        let tokens = Self::from_bytes(bytes).map_err(|e| e.at(format!("{name:?}")))?;
        if tokens.vocabulary() > vocabulary {
            return Err(Error::new(ErrorKind::Manifest, "the tokenizer has more entries than the graph reads: it is another model's")
                .at(format!("{name:?}"))
                .got(tokens.vocabulary())
                .wanted(format!("at most {vocabulary}")));
        }
        let known = tokens.0.get_added_tokens_decoder();
        if let Some(odd) = special.iter().find(|id| !known.contains_key(id)) {
            return Err(Error::new(ErrorKind::Manifest, "a special token of the graph is none of the tokenizer's: it is another model's")
                .at(format!("{name:?}"))
                .got(format!("{odd}, {:?}", tokens.0.id_to_token(*odd))));
        }
        Ok(tokens)
    }

    /// Appends the ids of `text` to `out`. Special tokens that stand in the text become their ids; none is added before or behind it, so a caller
    /// appends T5's end itself.
    ///
    /// A text from outside that must not steer the prompt is to be searched for special tokens before: here they count.
    ///
    /// # Errors
    /// `Input` for a text that the tokenizer's rules fail on; `out` is then as it was.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let refuse = |source| Error::new(ErrorKind::Input, "a text without tokens").at("tokenizer.json").caused_by(source);
        out.extend_from_slice(self.0.encode_fast(text, false).map_err(refuse)?.get_ids());
        Ok(())
    }

    /// The text of `ids`, special tokens included. Bytes that are no UTF-8, as of an answer that was cut within a character, become U+FFFD.
    ///
    /// # Errors
    /// `Output` for an id without a token: a model's vocabulary may be larger than its tokenizer's.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|id| self.0.id_to_token(**id).is_none()) {
            return Err(Error::new(ErrorKind::Output, "an id without a token")
                .at("tokenizer.json")
                .got(id)
                .wanted(format!("one of {}", self.vocabulary())));
        }
        self.0
            .decode(ids, false)
            .map_err(|source| Error::new(ErrorKind::Output, "ids without a text").at("tokenizer.json").caused_by(source))
    }

    /// Entries of the vocabulary, special tokens included.
    pub fn vocabulary(&self) -> usize {
        self.0.get_vocab_size(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when bytes that are no tokenizer open, or are refused without saying what they were to be.
    #[test]
    fn garbage_is_refused_in_words() {
        for bytes in [&b""[..], b"\xff\xfe", b"{}", b"{\"model\": {\"type\": \"BPE\"}}", b"[1, 2]"] {
            let error = Tokens::from_bytes(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Manifest);
            assert!(error.to_string().starts_with("manifest error at tokenizer.json: not a tokenizer: "), "{error}");
        }
    }
}
