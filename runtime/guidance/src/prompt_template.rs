//! What the vision-language model is asked: a text with places for the two pictures and the route command.
//!
//! The text is configuration. How a picture is put into a prompt is the tokenizer's business, so that a template yields pieces.

use drivewam_core::dims::Command;
use drivewam_core::{Error, ErrorKind, Result};
use std::ops::Range;

/// A prompt in pieces, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Words; never none.
    Text(&'a str),
    /// The newest picture of the front camera.
    Camera,
    /// The bird's-eye plot of the past motion ([`crate::bev`]).
    Plot,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Range<usize>),
    Camera,
    Plot,
    Command,
}

impl Part {
    /// The placeholders, each of which a template names once.
    const PLACES: [(&'static str, Self); 3] = [("{camera}", Self::Camera), ("{plot}", Self::Plot), ("{command}", Self::Command)];
}

/// A prompt whose placeholders were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

impl Template {
    /// The prompt where the configuration gives no other. Its limits are those of [`crate::answer_check`].
    pub const DEFAULT: &'static str = "\
You are the navigation assistant of a car. You know the present and the past few seconds; you do not see the future.

You are given three things.
The newest picture of the front camera: {camera}
A bird's-eye plot of the car's own motion over the past four seconds, where up is forward, the red marker is the car now, and the \
colour of the path is the speed, from dark (standing) to bright yellow (fast): {plot}
The route command: {command}

Answer with exactly two sentences in the present tense, fewer than fifty words in all, as plain prose without labels, bullets or markdown. \
The first sentence gives the road context: the type of road, who else is on it, the state of the traffic light, the weather and the lighting. \
The second sentence guides the car in agreement with the route command: how cautious to be, and whether to yield, wait or merge. \
Speak of quality alone: no numbers, no units, no coordinates.";

    /// A template of a text that names `{camera}`, `{plot}` and `{command}` once each, in any order, and has no other braces.
    ///
    /// # Errors
    /// `Config`, with the placeholder, when one is missing, named twice or unknown, or when a brace is not closed or not opened.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what, got: &str| {
            let names = Part::PLACES.map(|(name, _)| name).join(", ");
            Err(Error::new(ErrorKind::Config, what).at("prompt").got(format!("{got:?}")).wanted(format!("each of {names} once")))
        };
        let mut parts = Vec::new();
        let mut from = 0;
        while let Some(open) = text[from..].find(['{', '}']).map(|at| from + at) {
            let rest = &text[open..];
            // A placeholder ends before the next one begins; else a missing brace would swallow the text up to there.
            let length = rest[1..].find(['{', '}']).map(|at| at + 2).filter(|end| rest.starts_with('{') && rest[..*end].ends_with('}'));
            let Some(length) = length else { return wrong("a brace of the prompt stands alone", &text[open..=open]) };
            let Some((name, part)) = Part::PLACES.into_iter().find(|(name, _)| *name == &rest[..length]) else {
                return wrong("the prompt has an unknown placeholder", &rest[..length]);
            };
            if parts.contains(&part) {
                return wrong("the prompt names a placeholder twice", name);
            }
            parts.extend([Part::Text(from..open), part]);
            from = open + length;
        }
        parts.push(Part::Text(from..text.len()));
        if let Some((name, _)) = Part::PLACES.iter().find(|(_, part)| !parts.contains(part)) {
            return Err(Error::new(ErrorKind::Config, "the prompt lacks a placeholder").at("prompt").got("none").wanted(name));
        }
        parts.retain(|part| !matches!(part, Part::Text(range) if range.is_empty()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The prompt for a command. Allocates nothing.
    pub fn pieces(&self, command: Command) -> impl Iterator<Item = Piece<'_>> {
        self.parts.iter().map(move |part| match part {
            Part::Text(range) => Piece::Text(&self.text[range.clone()]),
            Part::Camera => Piece::Camera,
            Part::Plot => Piece::Plot,
            Part::Command => Piece::Text(words_of(command)),
        })
    }
}

/// A command as a person would say it.
fn words_of(command: Command) -> &'static str {
    match command {
        Command::Left => "turn left",
        Command::Straight => "go straight",
        Command::Right => "turn right",
        Command::Unknown => "no route is known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(template: &Template, command: Command) -> String {
        let words = |piece| match piece {
            Piece::Text(text) => text,
            Piece::Camera => "<C>",
            Piece::Plot => "<P>",
        };
        template.pieces(command).map(words).collect()
    }

    /// Breaks if a piece is lost, doubled or out of order, or if there is a piece without words.
    #[test]
    fn the_pieces_are_the_text_with_its_places_filled() {
        let template = Template::parse("{plot}wär' so {command}: {camera}").unwrap();
        let pieces: Vec<_> = template.pieces(Command::Left).collect();
        let wanted = [Piece::Plot, Piece::Text("wär' so "), Piece::Text("turn left"), Piece::Text(": "), Piece::Camera];
        assert_eq!(pieces, wanted);
        assert_eq!(told(&Template::parse("{camera}{plot}{command}").unwrap(), Command::Right), "<C><P>turn right");
    }

    /// Breaks if the default cannot be read, or lacks what the model must be told.
    #[test]
    fn the_default_prompt_tells_role_inputs_and_limits() {
        let template = Template::parse(Template::DEFAULT).unwrap();
        assert_eq!(template.pieces(Command::Straight).count(), 7);
        for (command, words) in [
            (Command::Left, "turn left"),
            (Command::Straight, "go straight"),
            (Command::Right, "turn right"),
            (Command::Unknown, "no route is known"),
        ] {
            let text = told(&template, command);
            for wanted in
                ["navigation assistant", "do not see the future", "<C>", "<P>", "exactly two sentences", "fewer than fifty words", words]
            {
                assert!(text.contains(wanted), "{wanted:?} is not in {text:?}");
            }
            assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text:?}");
        }
    }

    /// Breaks if a template that would leave the model without a picture, or show it a brace, is taken, or if the message does not say why.
    #[test]
    fn a_template_that_is_not_whole_is_refused_with_the_placeholder() {
        struct Case {
            text: &'static str,
            says: [&'static str; 2],
        }
        let cases = [
            Case { text: "", says: ["lacks", "{camera}"] },
            Case { text: "{camera} {command}", says: ["lacks", "{plot}"] },
            Case { text: "{camera} {plot}", says: ["lacks", "{command}"] },
            Case { text: "{camera} {plot} {command} {plot}", says: ["twice", "\"{plot}\""] },
            Case { text: "{camera} {plot} {command} {speed}", says: ["unknown", "\"{speed}\""] },
            Case { text: "{camera} {plot} {command} {}", says: ["unknown", "\"{}\""] },
            Case { text: "{Camera} {plot} {command}", says: ["unknown", "\"{Camera}\""] },
            Case { text: "{camera {plot} {command}", says: ["alone", "\"{\""] },
            Case { text: "{camera} {plot} {command} }", says: ["alone", "\"}\""] },
            Case { text: "{camera} {plot} {command} {", says: ["alone", "\"{\""] },
            Case { text: "{{camera}} {plot} {command}", says: ["alone", "\"{\""] },
            Case { text: "{ü", says: ["alone", "\"{\""] },
        ];
        for Case { text, says } in cases {
            let error = Template::parse(text).unwrap_err();
            assert_eq!((error.kind(), error.place()), (ErrorKind::Config, Some("prompt")), "{text:?}");
            let message = error.to_string();
            assert!(says.iter().all(|word| message.contains(word)) && message.contains("wanted"), "{text:?}: {message}");
        }
    }
}
