//! Captions: two sentences on what the picture shows and what the ego should do, and the facts that they are made from and read back into.
//!
//! The grammar is small and fixed, so that a small model can learn it and its answers can be judged fact by fact. The same facts always give the
//! same words. The first sentence holds what the picture can show ([`crate::sight`]), the second what the expert does in the next 4 s.

use crate::expert::{self, Reason};
use crate::sight::{RoadAhead, Sight};
use crate::{AHEAD_TICKS, Light, World};
use drivewam_core::dims::Command;

/// Below this speed a car stands, m/s.
const STANDING_MPS: f64 = 0.3;
/// A change of speed in the ticks ahead that is worth a word, m/s.
const CHANGE_MPS: f64 = 1.0;

const LIGHTS: [(Light, &str); 3] = [(Light::Red, "red light"), (Light::Amber, "amber light"), (Light::Green, "green light")];
const ZONES: [&str; 3] = ["slow", "medium", "fast"];

/// What a caption says of the lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadAhead {
    /// The way is free.
    None,
    /// Ahead.
    Ahead,
    /// Close ahead.
    Close,
}

/// What the ego should do with its speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stand.
    Wait,
    /// Come to a stop.
    Stop,
    /// Become slower.
    Slow,
    /// Go on as it is.
    Keep,
    /// Become faster.
    SpeedUp,
}

/// Whom the action is owed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Nobody in the picture.
    Road,
    /// The lead.
    Lead,
    /// The light.
    Light,
    /// The pedestrian.
    Pedestrian,
}

/// What a caption says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The road ahead.
    pub road: RoadAhead,
    /// The light in the picture.
    pub light: Option<Light>,
    /// Whether that light is close.
    pub light_close: bool,
    /// Whether a pedestrian is in the picture.
    pub pedestrian: bool,
    /// The lead in the picture.
    pub lead: LeadAhead,
    /// Whether its brake lamps glow.
    pub braking: bool,
    /// Class of the limit sign in the picture, 0 to 2.
    pub sign: Option<usize>,
    /// The route command.
    pub command: Command,
    /// What to do.
    pub action: Action,
    /// Whom for.
    pub because: Because,
}

impl World {
    /// What a caption says now under `command`.
    pub fn facts(&self, command: Command) -> Facts {
        let sight = Sight::new(self);
        let (light, lead, pedestrian) = (sight.light(), sight.lead(), sight.pedestrian());
        let (action, reason) = self.guidance();
        let because = match reason {
            Reason::Lead if lead.is_some() => Because::Lead,
            Reason::Line if light.is_some() => Because::Light,
            Reason::Pedestrian if pedestrian => Because::Pedestrian,
            _ => Because::Road,
        };
        Facts {
            road: sight.road(),
            light: light.map(|l| l.shows),
            light_close: light.is_some_and(|l| l.is_close),
            pedestrian,
            lead: lead.map_or(LeadAhead::None, |l| if l.is_close { LeadAhead::Close } else { LeadAhead::Ahead }),
            braking: lead.is_some_and(|l| l.is_braking),
            sign: sight.sign(),
            command,
            action,
            because,
        }
    }

    /// What the expert does in the ticks ahead if nobody changes what they do now, and what holds it back.
    fn guidance(&self) -> (Action, Reason) {
        let now_mps = self.ego().speed_mps;
        let mut twin = self.without_foresight();
        for _ in 0..AHEAD_TICKS {
            twin.step(twin.expert());
        }
        let then_mps = twin.ego().speed_mps;
        let action = match then_mps - now_mps {
            _ if then_mps < STANDING_MPS && now_mps < STANDING_MPS => Action::Wait,
            _ if then_mps < STANDING_MPS => Action::Stop,
            change if change < -CHANGE_MPS => Action::Slow,
            change if change > CHANGE_MPS => Action::SpeedUp,
            _ => Action::Keep,
        };
        (action, expert::decide(&twin).1)
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

    /// Reads back what `text` says; what it does not mention is absent. Words that are no caption give some facts all the same: compare, do not trust.
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
