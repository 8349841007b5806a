//! The check of a generated text: two short sentences of plain prose without numbers are accepted,
//! everything else is rejected with the reason.
//!
//! The text is untrusted: any characters, of any length. Every check is one pass over the text, and
//! the check keeps at most [`MAX_CHARACTERS`] of it.

mod sentences;

use sentences::{bare, end_of_sentences, tokens};
use std::fmt;

/// Sentences of an accepted answer.
pub const SENTENCES: usize = 2;
/// Most words of an answer. White space separates words; a word contains a letter or digit.
pub const MAX_WORDS: usize = 50;
/// Most characters of an answer, about fifty long words. Without it a word could be of any length.
pub const MAX_CHARACTERS: usize = 600;

/// Pairs of quotation marks that may surround an answer.
const QUOTES: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’'), ('«', '»')];
/// Characters of markdown, tags, special tokens and bullets, which prose does not contain.
const MARKUP: &str = "*#`_<>|[]{}\\~^=•‣◦▪●■►→";
/// Characters that begin a line of a list.
const BULLETS: [char; 7] = ['-', '–', '—', '−', '‐', '+', '·'];
/// A colon within this many first words of a sentence ends a label.
const LABEL_WORDS: usize = 4;
/// Units of measure that are words.
const UNITS: [&str; 34] = [
    "m",
    "km",
    "cm",
    "mm",
    "mi",
    "ft",
    "mph",
    "kph",
    "kmh",
    "kmph",
    "mps",
    "fps",
    "metre",
    "metres",
    "meter",
    "meters",
    "kilometre",
    "kilometres",
    "kilometer",
    "kilometers",
    "centimetres",
    "centimeters",
    "mile",
    "miles",
    "feet",
    "yards",
    "degree",
    "degrees",
    "radians",
    "percent",
    "seconds",
    "minutes",
    "knots",
    "hz",
];
/// Units of measure that are signs.
const UNIT_SIGNS: &str = "°%‰′″";

/// Why a text is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatViolation {
    /// No letter and no digit.
    Empty,
    /// An invisible character, or the replacement of a broken one.
    Control,
    /// A bullet, a label, markdown or a tag.
    Markup,
    /// A digit, of any script.
    Digits,
    /// A unit of measure.
    Units,
    /// Fewer than two complete sentences.
    OneSentence,
    /// More than [`MAX_WORDS`] words.
    TooManyWords {
        /// Words of the two sentences.
        got: usize,
    },
    /// More than [`MAX_CHARACTERS`] characters.
    TooManyCharacters {
        /// Characters of the two sentences.
        got: usize,
    },
}

impl FormatViolation {
    /// The name that reports count by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Control => "control",
            Self::Markup => "markup",
            Self::Digits => "digits",
            Self::Units => "units",
            Self::OneSentence => "one_sentence",
            Self::TooManyWords { .. } => "too_many_words",
            Self::TooManyCharacters { .. } => "too_many_characters",
        }
    }
}

impl fmt::Display for FormatViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "the answer has no letter and no digit"),
            Self::Control => write!(f, "the answer has an invisible character"),
            Self::Markup => write!(f, "the answer has a bullet, a label or markup"),
            Self::Digits => write!(f, "the answer has a digit"),
            Self::Units => write!(f, "the answer has a unit of measure"),
            Self::OneSentence => write!(f, "the answer has fewer than {SENTENCES} sentences that end"),
            Self::TooManyWords { got } => write!(f, "the answer is too long (got {got} words, limit {MAX_WORDS})"),
            Self::TooManyCharacters { got } => write!(f, "the answer is too long (got {got} characters, limit {MAX_CHARACTERS})"),
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<'a> {
    /// The text is accepted unchanged.
    AsIs(&'a str),
    /// A part of the text is accepted: without surrounding white space and quotation marks, without
    /// what follows the second sentence, with one space between words. A check of this part accepts
    /// it unchanged.
    Trimmed(String),
    /// The text is rejected.
    Rejected(FormatViolation),
}

impl Checked<'_> {
    /// The accepted text, if there is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::AsIs(text) => Some(text),
            Self::Trimmed(text) => Some(text),
            Self::Rejected(_) => None,
        }
    }
}

/// Checks a generated text. Of several violations it reports the first in the order of
/// [`FormatViolation`]; the part that is trimmed away is not checked.
pub fn check(text: &str) -> Checked<'_> {
    let whole = unquoted(text);
    if !whole.contains(char::is_alphanumeric) {
        return Checked::Rejected(FormatViolation::Empty);
    }
    let end = end_of_sentences(whole, SENTENCES);
    let kept = unquoted(&whole[..end.unwrap_or(whole.len())]);
    let violation = content_violation(kept).or(end.is_none().then_some(FormatViolation::OneSentence)).or_else(|| length_violation(kept));
    if let Some(violation) = violation {
        return Checked::Rejected(violation);
    }
    let mut plain = String::with_capacity(kept.len().min(4 * MAX_CHARACTERS));
    for word in kept.split_whitespace() {
        plain.push_str(if plain.is_empty() { "" } else { " " });
        plain.push_str(word);
    }
    if plain == text { Checked::AsIs(text) } else { Checked::Trimmed(plain) }
}

/// The text without surrounding white space, and without quotation marks that surround all of it
/// and do not occur inside.
fn unquoted(text: &str) -> &str {
    let inside = |text: &'_ str, (open, close): (char, char)| -> Option<usize> {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        (!inner.contains([open, close])).then_some(inner.len())
    };
    let mut text = text.trim();
    while let Some((open, length)) = QUOTES.into_iter().find_map(|pair| Some((pair.0, inside(text, pair)?))) {
        text = text[open.len_utf8()..open.len_utf8() + length].trim();
    }
    text
}

fn content_violation(text: &str) -> Option<FormatViolation> {
    if text.contains(is_invisible) {
        Some(FormatViolation::Control)
    } else if text.contains(|c| MARKUP.contains(c)) || has_label_or_list(text) {
        Some(FormatViolation::Markup)
    } else if text.contains(char::is_numeric) {
        Some(FormatViolation::Digits)
    } else {
        has_unit(text).then_some(FormatViolation::Units)
    }
}

fn length_violation(text: &str) -> Option<FormatViolation> {
    let words = text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    if words > MAX_WORDS {
        return Some(FormatViolation::TooManyWords { got: words });
    }
    let characters = text.split_whitespace().map(|word| word.chars().count() + 1).sum::<usize>().saturating_sub(1);
    (characters > MAX_CHARACTERS).then_some(FormatViolation::TooManyCharacters { got: characters })
}

/// Control characters other than white space; direction marks, joiners, tags and other characters
/// without a glyph; private use; the replacement character.
fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

/// Whether a sentence begins with a label ("Context:"), or a sentence or a line with a bullet or a
/// list number.
fn has_label_or_list(text: &str) -> bool {
    let mut words = 0;
    tokens(text).any(|token| {
        if token.opens_sentence {
            words = 0;
        }
        words += 1;
        let label = words <= LABEL_WORDS && token.text.contains([':', '：']);
        label || ((token.opens_sentence || token.opens_line) && is_list_mark(token.text))
    })
}

/// "-", "-word", "a)", "(a)", "iv.".
fn is_list_mark(word: &str) -> bool {
    let number = word.strip_prefix('(').unwrap_or(word).strip_suffix([')', '.']).unwrap_or_default();
    let is_number = |number: &str| {
        let roman = number.chars().all(|c| "ivx".contains(c));
        let digits = number.chars().all(char::is_numeric);
        !number.is_empty() && (roman || digits || (number.chars().nth(1).is_none() && number.contains(char::is_alphanumeric)))
    };
    word.starts_with(BULLETS) || !word.contains(char::is_alphanumeric) || is_number(number)
}

fn has_unit(text: &str) -> bool {
    // CJK compatibility characters such as ㎞ and ㎧ are units in one character.
    let is_sign = |c: char| UNIT_SIGNS.contains(c) || matches!(c, '\u{3371}'..='\u{33df}');
    // Apostrophes and full stops do not split words: "I'm" and "a.m." contain no metres.
    let parts = |c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '’' | '.');
    text.contains(is_sign) || text.split(parts).map(bare).any(|word| UNITS.iter().any(|unit| unit.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests;
