//! The prompt template: a text with placeholders for the two images and the route command.
//!
//! The text comes from the configuration. The tokenizer defines how an image enters a prompt, so a
//! template yields pieces rather than a string.

use drivewam_core::dims::Command;
use drivewam_core::{Error, ErrorKind, Result};
use std::ops::Range;

/// A piece of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptPiece<'a> {
    /// Text; never empty.
    Text(&'a str),
    /// The newest image of the front camera.
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
    /// The placeholders; a template names each once.
    const PLACEHOLDERS: [(&'static str, Self); 3] = [("{camera}", Self::Camera), ("{plot}", Self::Plot), ("{command}", Self::Command)];
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTemplate {
    text: String,
    parts: Vec<Part>,
}

impl PromptTemplate {
    /// The template that is used where the configuration gives none. It asks for the form that
    /// [`crate::answer_check`] accepts.
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

    /// Parses a text that contains `{camera}`, `{plot}` and `{command}` once each, in any order,
    /// and no other braces.
    ///
    /// # Errors
    /// `Config`, naming the placeholder that is missing, repeated or unknown, or the brace without
    /// its counterpart.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what, got: &str| {
            let names = Part::PLACEHOLDERS.map(|(name, _)| name).join(", ");
            Err(Error::new(ErrorKind::Config, what).at("prompt").got(format!("{got:?}")).wanted(format!("each of {names} once")))
        };
        let mut parts = Vec::new();
        let mut from = 0;
        while let Some(open) = text[from..].find(['{', '}']).map(|at| from + at) {
            let rest = &text[open..];
            // A placeholder ends before the next brace opens; otherwise a missing brace would hide
            // the text up to the next one.
            let length = rest[1..].find(['{', '}']).map(|at| at + 2).filter(|end| rest.starts_with('{') && rest[..*end].ends_with('}'));
            let Some(length) = length else { return wrong("the prompt has a brace that stands alone", &text[open..=open]) };
            let Some((name, part)) = Part::PLACEHOLDERS.into_iter().find(|(name, _)| *name == &rest[..length]) else {
                return wrong("the prompt has an unknown placeholder", &rest[..length]);
            };
            if parts.contains(&part) {
                return wrong("the prompt names a placeholder twice", name);
            }
            parts.extend([Part::Text(from..open), part]);
            from = open + length;
        }
        parts.push(Part::Text(from..text.len()));
        if let Some((name, _)) = Part::PLACEHOLDERS.iter().find(|(_, part)| !parts.contains(part)) {
            return Err(Error::new(ErrorKind::Config, "the prompt lacks a placeholder").at("prompt").got("none").wanted(name));
        }
        parts.retain(|part| !matches!(part, Part::Text(range) if range.is_empty()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The pieces of the prompt for `command`, in order. Does not allocate.
    pub fn pieces(&self, command: Command) -> impl Iterator<Item = PromptPiece<'_>> {
        self.parts.iter().map(move |part| match part {
            Part::Text(range) => PromptPiece::Text(&self.text[range.clone()]),
            Part::Camera => PromptPiece::Camera,
            Part::Plot => PromptPiece::Plot,
            Part::Command => PromptPiece::Text(command_text(command)),
        })
    }
}

/// The text of a command.
fn command_text(command: Command) -> &'static str {
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

    fn rendered(template: &PromptTemplate, command: Command) -> String {
        let text = |piece| match piece {
            PromptPiece::Text(text) => text,
            PromptPiece::Camera => "<C>",
            PromptPiece::Plot => "<P>",
        };
        template.pieces(command).map(text).collect()
    }

    /// Breaks if a piece is lost, doubled, empty or out of order.
    #[test]
    fn the_pieces_are_the_text_with_its_places_filled() {
        let template = PromptTemplate::parse("{plot}wär' so {command}: {camera}").unwrap();
        let pieces: Vec<_> = template.pieces(Command::Left).collect();
        let wanted = [
            PromptPiece::Plot,
            PromptPiece::Text("wär' so "),
            PromptPiece::Text("turn left"),
            PromptPiece::Text(": "),
            PromptPiece::Camera,
        ];
        assert_eq!(pieces, wanted);
        assert_eq!(rendered(&PromptTemplate::parse("{camera}{plot}{command}").unwrap(), Command::Right), "<C><P>turn right");
    }

    /// Breaks if the default cannot be parsed, or lacks a fact that the model needs.
    #[test]
    fn the_default_prompt_tells_role_inputs_and_limits() {
        let template = PromptTemplate::parse(PromptTemplate::DEFAULT).unwrap();
        assert_eq!(template.pieces(Command::Straight).count(), 7);
        for (command, words) in [
            (Command::Left, "turn left"),
            (Command::Straight, "go straight"),
            (Command::Right, "turn right"),
            (Command::Unknown, "no route is known"),
        ] {
            let text = rendered(&template, command);
            for wanted in
                ["navigation assistant", "do not see the future", "<C>", "<P>", "exactly two sentences", "fewer than fifty words", words]
            {
                assert!(text.contains(wanted), "{wanted:?} is not in {text:?}");
            }
            assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text:?}");
        }
    }

    /// Breaks if a template that lacks an image or has a stray brace is accepted, or if the message
    /// does not say why.
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
            let error = PromptTemplate::parse(text).unwrap_err();
            assert_eq!((error.kind(), error.place()), (ErrorKind::Config, Some("prompt")), "{text:?}");
            let message = error.to_string();
            assert!(says.iter().all(|word| message.contains(word)) && message.contains("wanted"), "{text:?}: {message}");
        }
    }
}
