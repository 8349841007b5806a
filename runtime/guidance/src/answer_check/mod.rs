//! What the vision-language model may answer: two short sentences of plain prose without numbers. All else is refused, with the reason.
//!
//! The text is hostile: any characters, of any length. Every check is one pass over it, nothing is searched twice, and what is kept in memory
//! is no longer than [`CHARACTERS`].

mod sentences;

use sentences::{bare, end_of_sentences, tokens};
use std::fmt;

/// Sentences of an answer, no more and no fewer.
pub const SENTENCES: usize = 2;
/// Most words of an answer. A word has a letter in it; blanks part words.
pub const WORDS: usize = 50;
/// Most characters of an answer: what fifty long words take. Without it one word could be a book.
pub const CHARACTERS: usize = 600;

/// Marks that surround an answer in quotes.
const QUOTES: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’'), ('«', '»')];
/// Characters of markdown, tags, special tokens and bullets; prose has none of them.
const MARKUP: &str = "*#`_<>|[]{}\\~^=•‣◦▪●■►→";
/// What a line of a list begins with.
const BULLETS: [char; 7] = ['-', '–', '—', '−', '‐', '+', '·'];
/// A colon within the first so many words of a sentence ends a label.
const LABEL_WORDS: usize = 4;
/// Words that measure.
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
/// Signs that measure.
const UNIT_SIGNS: &str = "°%‰′″";

/// Why an answer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was said: no letter and no digit.
    Empty,
    /// A character that is not seen, or stands for a broken one.
    Control,
    /// A bullet, a label, markdown, a tag.
    Markup,
    /// A digit, of any script.
    Digits,
    /// A unit of measure.
    Units,
    /// Fewer than two sentences came to an end.
    OneSentence,
    /// The two sentences are too long.
    TooManyWords {
        /// Words of the two.
        got: usize,
    },
    /// The words are too long.
    TooManyCharacters {
        /// Characters of the two sentences.
        got: usize,
    },
}

impl Reason {
    /// The word that reports count by.
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "the answer says nothing"),
            Self::Control => write!(f, "the answer has a character that is not seen"),
            Self::Markup => write!(f, "the answer has a bullet, a label or markup"),
            Self::Digits => write!(f, "the answer has a digit"),
            Self::Units => write!(f, "the answer has a unit of measure"),
            Self::OneSentence => write!(f, "the answer has fewer than {SENTENCES} sentences that end"),
            Self::TooManyWords { got } => write!(f, "the answer is too long (got {got} words, limit {WORDS})"),
            Self::TooManyCharacters { got } => write!(f, "the answer is too long (got {got} characters, limit {CHARACTERS})"),
        }
    }
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<'a> {
    /// It goes on as it is.
    AsIs(&'a str),
    /// This goes on: without surrounding blanks and quotes, without what followed the second sentence, with one blank between words. It
    /// would be accepted as it is.
    Trimmed(String),
    /// Nothing goes on.
    Refused(Reason),
}

impl Checked<'_> {
    /// The guidance, where there is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::AsIs(text) => Some(text),
            Self::Trimmed(text) => Some(text),
            Self::Refused(_) => None,
        }
    }
}

/// Checks an answer. Of several reasons to refuse it the first of [`Reason`] is told; what is cut off is not judged.
pub fn check(text: &str) -> Checked<'_> {
    let whole = unquoted(text);
    if !whole.contains(char::is_alphanumeric) {
        return Checked::Refused(Reason::Empty);
    }
    let end = end_of_sentences(whole, SENTENCES);
    let kept = unquoted(&whole[..end.unwrap_or(whole.len())]);
    let refused = words_fault(kept).or(end.is_none().then_some(Reason::OneSentence)).or_else(|| length_fault(kept));
    if let Some(reason) = refused {
        return Checked::Refused(reason);
    }
    let mut plain = String::with_capacity(kept.len().min(4 * CHARACTERS));
    for word in kept.split_whitespace() {
        plain.push_str(if plain.is_empty() { "" } else { " " });
        plain.push_str(word);
    }
    if plain == text { Checked::AsIs(text) } else { Checked::Trimmed(plain) }
}

/// Without the blanks around it, and without quotes that surround all of it and are not used within.
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

fn words_fault(text: &str) -> Option<Reason> {
    if text.contains(is_unseen) {
        Some(Reason::Control)
    } else if text.contains(|c| MARKUP.contains(c)) || has_label_or_list(text) {
        Some(Reason::Markup)
    } else if text.contains(char::is_numeric) {
        Some(Reason::Digits)
    } else {
        has_unit(text).then_some(Reason::Units)
    }
}

fn length_fault(text: &str) -> Option<Reason> {
    let words = text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    if words > WORDS {
        return Some(Reason::TooManyWords { got: words });
    }
    let characters = text.split_whitespace().map(|word| word.chars().count() + 1).sum::<usize>().saturating_sub(1);
    (characters > CHARACTERS).then_some(Reason::TooManyCharacters { got: characters })
}

/// Controls that are no blanks; marks of direction, joiners, tags and other characters without a shape; what stands for a broken character.
fn is_unseen(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

/// Whether a sentence begins with a label ("Context:"), or a sentence or a line with a bullet or a number of a list.
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
    // Compatibility squares such as ㎞ and ㎧ stand for units in one character.
    let is_sign = |c: char| UNIT_SIGNS.contains(c) || matches!(c, '\u{3371}'..='\u{33df}');
    // An apostrophe and a full stop hold a word together: "I'm" and "a.m." are no metres.
    let parts = |c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '’' | '.');
    text.contains(is_sign) || text.split(parts).map(bare).any(|word| UNITS.iter().any(|unit| unit.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests;
