//! Captions of many worlds: their form, and that they agree with the labels.

use super::Facts;
use crate::options::{Kind, Options};
use crate::scene::Light;
use crate::world::World;
use drivewam_core::dims::Command;
use std::collections::BTreeMap;

/// Calls `see` for every second of the worlds of `seeds`.
fn each_second(seeds: std::ops::Range<u64>, mut see: impl FnMut(&World)) {
    for seed in seeds {
        let mut world = World::new(seed, Options { kind: Kind::Mixed, disturb: seed % 2 == 0, ..Options::default() });
        for tick in 0..600 {
            if tick % 10 == 0 {
                see(&world);
            }
            world.step(world.expert());
        }
    }
}

/// Breaks when a phrase contains a full stop or a digit, or when a caption grows.
#[test]
fn a_caption_has_two_sentences_few_words_and_no_digits() {
    let (mut words, mut captions, mut longest) = (BTreeMap::<String, usize>::new(), 0, 0);
    each_second(0..60, |world| {
        let text = world.facts(world.command()).caption();
        let sentences: Vec<&str> = text.split_inclusive(". ").collect();
        assert!(sentences.len() == 2 && text.ends_with('.') && text.matches('.').count() == 2, "{text}");
        assert!(text.chars().all(|c| c.is_ascii_alphabetic() || " ,.".contains(c)), "{text}");
        assert!(sentences.iter().all(|s| s.starts_with(|c: char| c.is_ascii_uppercase())), "{text}");
        longest = longest.max(text.split(' ').count());
        captions += 1;
        for word in text.split(' ') {
            *words.entry(word.trim_matches([',', '.']).to_owned()).or_default() += 1;
        }
    });
    println!("{captions} captions, {} words, at most {longest} in one", words.len());
    assert!(longest < 50 && words.len() < 80);
}

/// Breaks when two facts share words, or `read` misses a phrase.
#[test]
fn facts_read_back_are_the_facts() {
    each_second(100..160, |world| {
        for command in [world.command(), Command::Unknown] {
            let facts = world.facts(command);
            assert_eq!(Facts::read(&facts.caption()), facts, "{}", facts.caption());
        }
    });
}

/// Breaks when visibility contradicts the labels: what a caption states must be there, and what is
/// near must be stated.
#[test]
fn captions_say_what_the_labels_know() {
    let (mut seen, mut lights, mut counts) = ([0; 3], 0, BTreeMap::<String, usize>::new());
    each_second(200..260, |world| {
        let (labels, facts) = (world.labels(), world.facts(world.command()));
        if let Some(light) = facts.light {
            assert_eq!(Some(light), labels.light);
        }
        lights += usize::from(labels.light.is_some());
        seen[0] += usize::from(facts.light.is_some());
        assert!(!facts.pedestrian || labels.pedestrian);
        assert!(labels.lead_gap_m.is_some() || facts.lead == super::LeadAhead::None);
        seen[1] += usize::from(facts.pedestrian);
        seen[2] += usize::from(facts.lead != super::LeadAhead::None);
        if facts.light == Some(Light::Red) && facts.light_close && world.ego().speed_mps < 0.3 {
            assert!(matches!(facts.action, super::Action::Wait | super::Action::SpeedUp | super::Action::Stop), "{}", facts.caption());
        }
        *counts.entry(format!("{:?} {:?}", facts.action, facts.because)).or_default() += 1;
    });
    println!("seconds with a light {} of {lights} labels, a pedestrian {}, a lead {}; {counts:#?}", seen[0], seen[1], seen[2]);
    assert!(seen.iter().all(|&n| n > 40) && seen[0] * 3 > lights, "{seen:?} {lights}");
}
