//! Accepted texts are short plain prose, and no text breaks the check.

use super::*;
use proptest::prelude::*;

const GOOD: &str =
    "A wet city street carries two cars and a cyclist under a green light at dusk. Turn left with care and yield to the cyclist.";

fn rejected(text: &str) -> Option<FormatViolation> {
    match check(text) {
        Checked::Rejected(reason) => Some(reason),
        _ => None,
    }
}

/// Breaks if plain prose is changed or rejected.
#[test]
fn two_plain_sentences_go_on_as_they_are() {
    for text in [
        GOOD,
        "The road is dry. Go.",
        "It's a rural road, e.g. without markings; nobody else is about. I'm to keep a steady pace, and/or wait!",
        "Is the second lane free? Merge (slowly) behind the bus on St. James Road.",
        "The sign says \"stop\". Wait behind the \"bus.\"",
        "Die Straße ist naß. Langsam weiter.",
        "The light has turned red: two people cross. Caution is high and the car must wait: nobody yields.",
    ] {
        assert_eq!(check(text), Checked::AsIs(text));
    }
}

/// Breaks if a trim removes too little or too much.
#[test]
fn what_surrounds_the_two_sentences_is_trimmed() {
    struct Case {
        text: &'static str,
        wanted: &'static str,
    }
    let cases = [
        Case { text: "  The road is dry. Go on.\n", wanted: "The road is dry. Go on." },
        Case { text: "The  road\tis\u{a0}dry.\r\nGo\u{2028}on.", wanted: "The road is dry. Go on." },
        Case { text: "\"The road is dry. Go on.\"", wanted: "The road is dry. Go on." },
        Case { text: "“ 'The road is dry. Go on.' ”", wanted: "The road is dry. Go on." },
        Case { text: "The road is dry. Go on. The end.", wanted: "The road is dry. Go on." },
        Case { text: "The road is dry. Go on. 3 cars * # are", wanted: "The road is dry. Go on." },
        Case { text: "\"The road is dry. Go on.\" I hope that helps!", wanted: "The road is dry. Go on." },
        Case { text: "The road is dry. Go on. \u{0}", wanted: "The road is dry. Go on." },
    ];
    for Case { text, wanted } in cases {
        assert_eq!(check(text), Checked::Trimmed(wanted.to_owned()), "{text:?}");
        assert_eq!(check(wanted), Checked::AsIs(wanted));
    }
}

/// Breaks if a text that the prompt forbids is accepted, or another reason is reported.
#[test]
fn what_the_prompt_forbids_is_refused_with_the_reason() {
    let cases: [(FormatViolation, &[&str]); 6] = [
        (FormatViolation::Empty, &["", " \n ", "\"\"", "...", "\"", "\u{0}", "🚗. 🚗."]),
        (
            FormatViolation::OneSentence,
            &["The road is dry.", "The road is dry. Go", "no end", "The road is dry.Go on.", "Cars, e.g. vans."],
        ),
        (
            FormatViolation::Control,
            &[
                "The \u{0}road is dry. Go.",
                "The road\u{202e} is dry. Go.",
                "The ro\u{200b}ad. Go.",
                "\u{feff}A road. Go.",
                "A \u{fffd}. Go.",
                "A\u{1b}. B.",
            ],
        ),
        (
            FormatViolation::Markup,
            &[
                "Sentence 1: the road is dry. Sentence 2: go.",
                "Context: the road is dry. Go.",
                "The road is dry. Guidance for the ego: go.",
                "Context：dry. Go.",
                "- The road is dry.\n- Go on.",
                "-The road is dry. Go on.",
                "The road is dry\n+ and empty. Go on.",
                "1. The road is dry. 2. Go on.",
                "a) The road is dry. b) Go on.",
                "(ii) The road is dry. Go on.",
                "The road is dry. – Go on.",
                "**The road is dry.** Go on.",
                "# Road\nThe road is dry. Go on.",
                "• The road is dry. Go on.",
                "`The road is dry. Go on.`",
                "The road is dry. Go on.<|im_end|>",
                "The road is [dry](x). Go on.",
            ],
        ),
        (
            FormatViolation::Digits,
            &[
                "There are 2 cars. Go.",
                "Dry road. Go at 3.5 m/s.",
                "There are ٣ cars. Go.",
                "A ２ lane road. Go.",
                "Half ½ way. Go.",
                "The car² waits. Go.",
            ],
        ),
        (
            FormatViolation::Units,
            &[
                "Dry road. Go at ten m/s.",
                "Dry road. Go at ten km/h.",
                "Dry road. Go at ten MPH!",
                "Dry road. Wait a few metres ahead.",
                "Dry road. Keep a two-meter gap.",
                "Dry road. Turn by ten degrees.",
                "Dry road. Turn by ten°.",
                "Dry road, ten percent. Go.",
                "Dry road. Go at ten ㎞.",
                "Dry road for ten (metres). Go.",
            ],
        ),
    ];
    for (reason, texts) in cases {
        for text in texts {
            assert_eq!(rejected(text), Some(reason), "{text:?}");
        }
    }
}

/// Breaks if a limit is off by one.
#[test]
fn the_limits_are_the_last_that_is_accepted() {
    let of_words = |words: usize| format!("Wet. {}.", vec!["go"; words - 1].join(" "));
    assert!(check(&of_words(MAX_WORDS)).text().is_some());
    assert_eq!(rejected(&of_words(MAX_WORDS + 1)), Some(FormatViolation::TooManyWords { got: MAX_WORDS + 1 }));
    let of_characters = |characters: usize| format!("Wet. {}.", "ü".repeat(characters - 6));
    assert!(check(&of_characters(MAX_CHARACTERS)).text().is_some());
    assert_eq!(rejected(&of_characters(MAX_CHARACTERS + 1)), Some(FormatViolation::TooManyCharacters { got: MAX_CHARACTERS + 1 }));
}

/// Breaks if a message lacks the value that was found, or two reasons share a name.
#[test]
fn reasons_have_words_of_their_own() {
    let all = [
        FormatViolation::Empty,
        FormatViolation::Control,
        FormatViolation::Markup,
        FormatViolation::Digits,
        FormatViolation::Units,
        FormatViolation::OneSentence,
        FormatViolation::TooManyWords { got: 71 },
        FormatViolation::TooManyCharacters { got: 701 },
    ];
    let words: std::collections::BTreeSet<_> = all.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), all.len());
    assert_eq!(all[6].to_string(), "the answer is too long (got 71 words, limit 50)");
    assert_eq!(all[7].to_string(), "the answer is too long (got 701 characters, limit 600)");
}

/// Breaks if the check takes more than a few passes: a quadratic one does not finish a million
/// characters.
#[test]
fn megabytes_are_checked_in_a_few_passes() {
    let long = |piece: &str| piece.repeat((1 << 20) / piece.len());
    for piece in [
        "a",
        " ",
        "\n",
        "\"",
        "'",
        "“",
        "(",
        ".",
        "…",
        "a ",
        "etc. ",
        "etc. (((",
        "... ",
        "e.g. ",
        ". ",
        "\" ",
        "a\" ",
        "a: ",
        "(a) ",
        "- ",
        "a\n",
        "ü’",
        "\u{0}",
        "㎞",
        "ENG.\u{2029}",
    ] {
        for text in [long(piece), format!("\"A. {}. B.\"", long(piece)), format!("A. {}", long(piece)), format!("A. B.{}", long(piece))] {
            let checked = check(&text);
            assert!(checked.text().is_none_or(|text| text.chars().count() <= MAX_CHARACTERS), "{piece:?}");
        }
    }
}

/// Texts in which the characters and words that the check looks for are frequent.
fn texts() -> impl Strategy<Value = String> {
    const PIECES: [&str; 39] = [
        "The", "road", "wet", "Go", "etc.", "e.g.", "a", "I'm", ".", "!", "?", "…", "..", "\"", "'", "“", "”", "’", "(", ")", "-", ":",
        "*", "3", "m", "m/s", " ", "  ", "\n", "\t", "\u{a0}", "\u{200b}", "\u{0}", ". ", ". The ", " go. ", "ü", "中。", "🚗",
    ];
    let mixed = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|pieces| pieces.concat());
    // An acceptable text with one piece inserted.
    let spoilt =
        (0..GOOD.len(), prop::sample::select(&PIECES[..])).prop_map(|(at, piece)| format!("{}{piece}{}", &GOOD[..at], &GOOD[at..]));
    const ENDS: [&str; 9] = ["", " ", "\"", "'", "”", "\n", " And so on.", " etc.", "…"];
    let tame =
        prop::collection::vec(prop::sample::select(&["wet ", "Go. ", "etc. ", "\"", "'", "a… ", "road  ", "(so) ", "Yield! "][..]), 0..70);
    let around = (prop::sample::select(&ENDS[..5]), tame, prop::sample::select(&ENDS[..]))
        .prop_map(|(a, tame, b)| format!("{a}{}{b}", tame.concat()));
    prop_oneof![any::<String>(), mixed, spoilt, around]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Breaks if an accepted text is not accepted again unchanged, exceeds a limit, or is not a
    /// part of the generated text.
    #[test]
    fn what_goes_on_is_accepted_as_it_is_and_keeps_the_limits(text in texts()) {
        let checked = check(&text);
        if let Checked::AsIs(same) = &checked {
            prop_assert_eq!(*same, text.as_str());
        }
        if let Some(kept) = checked.text() {
            prop_assert_eq!(check(kept), Checked::AsIs(kept));
            prop_assert!(kept.split(' ').filter(|word| word.contains(char::is_alphanumeric)).count() <= MAX_WORDS);
            prop_assert!(kept.chars().count() <= MAX_CHARACTERS);
            prop_assert_eq!(tokens(kept).filter(|token| token.ends_sentence).count(), SENTENCES);
            prop_assert!(!kept.contains(char::is_numeric) && !kept.contains(char::is_control) && !kept.contains("  "));
            let generated = text.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert!(generated.contains(kept), "{:?} of {:?}", kept, generated);
        }
    }
}
