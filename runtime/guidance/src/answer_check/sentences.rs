//! Where sentences end: at a full stop before white space or the end of the text, unless the full
//! stop belongs to an abbreviation.

/// Abbreviations that do not end a sentence.
const NEVER_END: [&str; 12] = ["e.g.", "i.e.", "vs.", "cf.", "viz.", "approx.", "incl.", "mr.", "mrs.", "ms.", "dr.", "st."];
/// Abbreviations that end a sentence where the next word is capitalised. An ellipsis behaves alike.
const MAY_END: [&str; 9] = ["etc.", "ave.", "rd.", "blvd.", "hwy.", "jct.", "a.m.", "p.m.", "esp."];
/// Characters that may follow the end of a sentence before the white space.
const CLOSERS: [char; 8] = ['"', '\'', '”', '’', '»', ')', ']', '`'];
const ENDS: [char; 8] = ['.', '!', '?', '…', '。', '！', '？', '．'];

/// A piece of text between white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Index of the byte after it.
    pub(super) end: usize,
    /// First of the text or of a line.
    pub(super) opens_line: bool,
    /// First of the text or of a sentence.
    pub(super) opens_sentence: bool,
    /// The sentence contains a word and ends here.
    pub(super) ends_sentence: bool,
}

/// The index of the byte after sentence `number` (from 1), if that many sentences end.
pub(super) fn end_of_sentences(text: &str, number: usize) -> Option<usize> {
    tokens(text).filter(|token| token.ends_sentence).nth(number.checked_sub(1)?).map(|token| token.end)
}

/// A text's tokens, in order. Each character is visited a fixed number of times.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let (mut at, mut opens_sentence, mut has_word) = (0, true, false);
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let word = rest.split_whitespace().next()?;
        let gap = rest.len() - rest.trim_start().len();
        let opens_line = at == 0 || rest[..gap].contains(is_line_break);
        at += gap + word.len();
        has_word |= word.contains(char::is_alphanumeric);
        let ends_sentence = has_word && ends_sentence(word, &text[at..]);
        let token = Token { text: word, end: at, opens_line, opens_sentence, ends_sentence };
        opens_sentence = ends_sentence;
        has_word &= !ends_sentence;
        Some(token)
    })
}

fn ends_sentence(word: &str, rest: &str) -> bool {
    let word = word.trim_end_matches(CLOSERS);
    if !word.ends_with(ENDS) {
        return false;
    }
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric() && !ENDS.contains(&c));
    let is_one_of = |list: &[&str]| list.iter().any(|abbreviation| abbreviation.eq_ignore_ascii_case(word));
    if is_one_of(&NEVER_END) {
        return rest.trim_start().is_empty();
    }
    if is_one_of(&MAY_END) || word.ends_with("..") || word.ends_with('…') {
        let next = rest.split_whitespace().next().and_then(|next| next.chars().find(|c| c.is_alphanumeric()));
        return next.is_none_or(char::is_uppercase);
    }
    true
}

/// A word without surrounding punctuation.
pub(super) fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if a full stop within a sentence ends it, or a full stop at its end does not.
    #[test]
    fn sentences_end_where_a_reader_says() {
        struct Case {
            text: &'static str,
            /// The last token of each sentence.
            ends: &'static [&'static str],
        }
        let cases = [
            Case { text: "The road is dry. Keep going.", ends: &["dry.", "going."] },
            Case { text: "Is it dry? Yes! Go on…", ends: &["dry?", "Yes!", "on…"] },
            Case { text: "Watch for others, e.g. cyclists. Yield.", ends: &["cyclists.", "Yield."] },
            Case { text: "Watch (i.e. Yield) now. Go.", ends: &["now.", "Go."] },
            Case { text: "Cars, vans, etc. are parked. Go.", ends: &["parked.", "Go."] },
            Case { text: "It has cars, vans, etc. Keep right.", ends: &["etc.", "right."] },
            Case { text: "Wait... then go. Done", ends: &["go."] },
            Case { text: "Wait... Then go.", ends: &["Wait...", "go."] },
            Case { text: "He says \"stop.\" (So wait.) Go?!", ends: &["\"stop.\"", "wait.)", "Go?!"] },
            Case { text: "Near St. Mary it rains. Slow at i.e.", ends: &["rains.", "i.e."] },
            Case { text: "At 9 a.m. the light is low.", ends: &["low."] },
            Case { text: "The road is wet.Slow down.", ends: &["down."] },
            Case { text: ". . Dry ! Go", ends: &["!"] },
            Case { text: "no end", ends: &[] },
            Case { text: "", ends: &[] },
        ];
        for Case { text, ends } in cases {
            let got: Vec<_> = tokens(text).filter(|token| token.ends_sentence).collect();
            assert_eq!(got.iter().map(|token| token.text).collect::<Vec<_>>(), ends, "{text:?}");
            for (number, token) in got.iter().enumerate() {
                assert_eq!(end_of_sentences(text, number + 1), Some(token.end));
                assert!(text[..token.end].ends_with(token.text));
            }
            assert_eq!(end_of_sentences(text, got.len() + 1), None);
        }
    }
}
