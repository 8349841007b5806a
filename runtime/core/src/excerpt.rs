//! Foreign text in messages: at most a line of it, without control characters.
//!
//! A file may hold anything, a line of a gigabyte or an escape sequence included. A message that
//! repeats what it found does so through this module.

use std::fmt::{self, Write};

/// The longest excerpt, characters.
pub const MAX_CHARS: usize = 120;

/// `text` in quotes, escaped as a string of Rust; after [`MAX_CHARS`] characters it is cut, and its
/// length follows.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], text.len()),
    }
}

/// What `message` displays as one line of at most twice [`MAX_CHARS`] characters, spaces and
/// control characters drawn together: a parser's error, which may show lines of its input.
pub fn one_line(message: impl fmt::Display) -> String {
    let mut line = Line(String::new(), 0);
    // An error says that the line is full; what it has is the result.
    let _ = write!(line, "{message}");
    line.0
}

/// `text` with every character escaped that would not be shown but obeyed by a terminal: control
/// characters, and those that turn the direction of writing.
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            _ if letter.is_control() => shown.extend(letter.escape_default()),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => shown.extend(letter.escape_unicode()),
            _ => shown.push(letter),
        }
    }
    shown
}

/// A line under construction, and its characters.
struct Line(String, usize);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let letter = if letter.is_control() { ' ' } else { letter };
            if letter == ' ' && self.0.ends_with(' ') {
                continue;
            }
            if self.1 == 2 * MAX_CHARS {
                self.0.push_str("...");
                return Err(fmt::Error);
            }
            self.0.push(letter);
            self.1 += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when a message can be made as long as a file, or carries its escape sequences.
    #[test]
    fn an_excerpt_is_short_and_has_no_control_characters() {
        assert_eq!(quoted("a\"b\u{1b}[2J"), "\"a\\\"b\\u{1b}[2J\"");
        let long = quoted(&"é".repeat(1_000_000));
        assert!(long.chars().count() < 150 && long.ends_with("... (2000000 bytes)"), "{long}");
        assert_eq!(printable("é a\u{1b}[2J\u{9b}1m\u{202e}\n\""), "é a\\u{1b}[2J\\u{9b}1m\\u{202e}\\n\"");
        assert_eq!(one_line("first\u{1b}[2J\n   second"), "first [2J second");
        assert_eq!(one_line("x".repeat(1_000_000)).len(), 2 * MAX_CHARS + 3);
    }
}
