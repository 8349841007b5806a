//! Captions: two sentences about what the image shows and what the ego should do, and the facts
//! that they state.
//!
//! The grammar is small and fixed, so that a small model can learn it and its answers can be judged
//! fact by fact. Equal facts give equal text. The first sentence states what the image can show
//! ([`crate::visibility`]), the second what the expert does in the next 4 s.

use crate::expert::{self, Reason};
use crate::scene::Light;
use crate::tick::PLAN_TICKS;
use crate::visibility::{RoadAhead, Visibility};
use crate::world::World;
use drivewam_core::dims::Command;

/// Below this speed a car stands, m/s.
const STANDING_MPS: f64 = 0.3;
/// Smallest change of speed in the next 4 s that a caption states, m/s.
const CHANGE_MPS: f64 = 1.0;

const LIGHTS: [(Light, &str); 3] = [(Light::Red, "red light"), (Light::Amber, "amber light"), (Light::Green, "green light")];
const ZONES: [&str; 3] = ["slow", "medium", "fast"];

/// The lead as a caption states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadAhead {
    /// No lead in the image.
    None,
    /// Ahead.
    Ahead,
    /// Close ahead.
    Close,
}

/// What the ego should do with its speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stay at a standstill.
    Wait,
    /// Come to a stop.
    Stop,
    /// Slow down.
    Slow,
    /// Keep the speed.
    Keep,
    /// Speed up.
    SpeedUp,
}

/// The reason of the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Nothing of the others in the image.
    Road,
    /// The lead.
    Lead,
    /// The light.
    Light,
    /// The pedestrian.
    Pedestrian,
}

/// The facts that a caption states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The road ahead.
    pub road: RoadAhead,
    /// The traffic light in the image.
    pub light: Option<Light>,
    /// Whether that light is close.
    pub light_close: bool,
    /// Whether a pedestrian is in the image.
    pub pedestrian: bool,
    /// The lead in the image.
    pub lead: LeadAhead,
    /// Whether the lead's brake lamps are on.
    pub braking: bool,
    /// Class of the speed limit sign in the image, 0 to 2.
    pub sign: Option<usize>,
    /// The route command.
    pub command: Command,
    /// What to do.
    pub action: Action,
    /// Why.
    pub because: Because,
}

impl World {
    /// The facts of this tick, with `command` as the route command.
    pub fn facts(&self, command: Command) -> Facts {
        let visibility = Visibility::new(self);
        let (light, lead, pedestrian) = (visibility.light(), visibility.lead(), visibility.pedestrian());
        let (action, reason) = self.advice();
        let because = match reason {
            Reason::Lead if lead.is_some() => Because::Lead,
            Reason::Line if light.is_some() => Because::Light,
            Reason::Pedestrian if pedestrian => Because::Pedestrian,
            _ => Because::Road,
        };
        Facts {
            road: visibility.road(),
            light: light.map(|l| l.shows),
            light_close: light.is_some_and(|l| l.is_close),
            pedestrian,
            lead: lead.map_or(LeadAhead::None, |l| if l.is_close { LeadAhead::Close } else { LeadAhead::Ahead }),
            braking: lead.is_some_and(|l| l.is_braking),
            sign: visibility.sign(),
            command,
            action,
            because,
        }
    }

    /// What the expert does in the next 4 s if nobody changes what they do now, and what limits it
    /// at their end.
    fn advice(&self) -> (Action, Reason) {
        let now_mps = self.ego().speed_mps;
        let mut ahead = self.without_foresight();
        for _ in 0..PLAN_TICKS {
            ahead.step(ahead.expert());
        }
        let then_mps = ahead.ego().speed_mps;
        let action = match then_mps - now_mps {
            _ if then_mps < STANDING_MPS && now_mps < STANDING_MPS => Action::Wait,
            _ if then_mps < STANDING_MPS => Action::Stop,
            change if change < -CHANGE_MPS => Action::Slow,
            change if change > CHANGE_MPS => Action::SpeedUp,
            _ => Action::Keep,
        };
        (action, expert::decide(&ahead).1)
    }
}

impl Facts {
    /// The two sentences.
    pub fn caption(&self) -> String {
        format!("{}. {}.", self.scene(), self.advice())
    }

    fn scene(&self) -> String {
        let road = match self.road {
            RoadAhead::Straight => "The road is straight",
            RoadAhead::Left => "The road bends left",
            RoadAhead::Right => "The road bends right",
            RoadAhead::Junction => "A junction lies ahead",
        };
        let mut seen = Vec::new();
        if let Some((_, words)) = LIGHTS.iter().find(|(light, _)| Some(*light) == self.light) {
            seen.push(format!("a {words}{}", if self.light_close { " close by" } else { "" }));
        }
        if self.pedestrian {
            seen.push("a pedestrian on the road".to_owned());
        }
        let braking = if self.braking { "braking " } else { "" };
        match self.lead {
            LeadAhead::None => {}
            LeadAhead::Ahead => seen.push(format!("a {braking}car ahead")),
            LeadAhead::Close => seen.push(format!("a {braking}car close ahead")),
        }
        if let Some(zone) = self.sign.and_then(|sign| ZONES.get(sign)) {
            seen.push(format!("a {zone} zone sign"));
        }
        match seen.split_last() {
            None => format!("{road} and the way is free"),
            Some((last, [])) => format!("{road} with {last}"),
            Some((last, others)) => format!("{road} with {} and {last}", others.join(", ")),
        }
    }

    fn advice(&self) -> String {
        let is_junction = self.road == RoadAhead::Junction;
        let route = match self.command {
            Command::Left if is_junction => "Turn left at the junction",
            Command::Left => "Prepare to turn left",
            Command::Right if is_junction => "Turn right at the junction",
            Command::Right => "Prepare to turn right",
            Command::Straight if is_junction => "Go straight at the junction",
            Command::Straight => "Follow the road",
            Command::Unknown => "Keep to the lane",
        };
        let bends = matches!(self.road, RoadAhead::Left | RoadAhead::Right);
        let action = match (self.action, self.because) {
            (Action::Wait, Because::Light) => "wait for green",
            (Action::Wait, Because::Pedestrian) => "wait for the pedestrian",
            (Action::Wait, Because::Lead) => "wait behind the car",
            (Action::Wait, Because::Road) => "wait",
            (Action::Stop, Because::Light) => "stop for the light",
            (Action::Stop, Because::Pedestrian) => "yield to the pedestrian",
            (Action::Stop, Because::Lead) => "stop behind the car",
            (Action::Stop, Because::Road) => "stop",
            (Action::Slow, Because::Light) => "slow down for the light",
            (Action::Slow, Because::Pedestrian) => "slow down for the pedestrian",
            (Action::Slow, Because::Lead) => "slow down behind the car",
            (Action::Slow, Because::Road) if bends => "slow down for the bend",
            (Action::Slow, Because::Road) => "slow down",
            (Action::Keep, Because::Light) => "keep the speed towards the light",
            (Action::Keep, Because::Pedestrian) => "keep the speed towards the pedestrian",
            (Action::Keep, Because::Lead) => "follow the car",
            (Action::Keep, Because::Road) => "keep the speed",
            (Action::SpeedUp, Because::Light) => "speed up towards the light",
            (Action::SpeedUp, Because::Pedestrian) => "speed up towards the pedestrian",
            (Action::SpeedUp, Because::Lead) => "speed up behind the car",
            (Action::SpeedUp, Because::Road) => "speed up",
        };
        let care = if self.pedestrian || matches!(self.light, Some(Light::Red | Light::Amber)) {
            ", with great care"
        } else if self.lead != LeadAhead::None || is_junction || bends {
            ", with care"
        } else {
            ""
        };
        format!("{route} and {action}{care}")
    }

    /// Reads the facts back from `text`; a fact that the text does not mention is absent. Text that
    /// is no caption gives facts all the same: compare them, do not rely on them.
    pub fn read(text: &str) -> Self {
        let (scene, advice) = text.split_once(". ").unwrap_or((text, ""));
        let first = |words: &[&str]| words.iter().position(|w| advice.contains(w));
        Self {
            road: match scene {
                _ if scene.contains("junction") => RoadAhead::Junction,
                _ if scene.contains("bends left") => RoadAhead::Left,
                _ if scene.contains("bends right") => RoadAhead::Right,
                _ => RoadAhead::Straight,
            },
            light: LIGHTS.iter().find(|(_, words)| scene.contains(words)).map(|(light, _)| *light),
            light_close: scene.contains("light close"),
            pedestrian: scene.contains("pedestrian"),
            lead: match scene {
                _ if scene.contains("car close") => LeadAhead::Close,
                _ if scene.contains("car ahead") => LeadAhead::Ahead,
                _ => LeadAhead::None,
            },
            braking: scene.contains("braking"),
            sign: ZONES.iter().position(|zone| scene.contains(&format!("{zone} zone"))),
            command: match first(&["turn left", "Turn left", "turn right", "Turn right", "straight", "Follow the road"]) {
                Some(0 | 1) => Command::Left,
                Some(2 | 3) => Command::Right,
                Some(_) => Command::Straight,
                None => Command::Unknown,
            },
            action: match first(&["wait", "stop", "yield", "slow down", "speed up"]) {
                Some(0) => Action::Wait,
                Some(1 | 2) => Action::Stop,
                Some(3) => Action::Slow,
                Some(_) => Action::SpeedUp,
                None => Action::Keep,
            },
            because: match first(&["the car", "green", "the light", "the pedestrian"]) {
                Some(0) => Because::Lead,
                Some(1 | 2) => Because::Light,
                Some(_) => Because::Pedestrian,
                None => Because::Road,
            },
        }
    }
}

#[cfg(test)]
mod tests;
