//! Plans of the expert: what it drives from here on.

use crate::world::World;
use drivewam_core::pose::Pose2;

impl World {
    /// The expert's plan without any disturbance: the poses of the next `ticks` ticks in the frame
    /// of the car now.
    pub fn plan(&self, ticks: usize) -> Vec<Pose2> {
        drive_expert(self.undisturbed(), ticks)
    }

    /// The same if nobody changes what they do now: lights stay, the lead keeps its speed, people
    /// walk on, nobody new appears. A driver who plans once for all these ticks cannot know more.
    /// The road ahead is known.
    pub fn plan_without_foresight(&self, ticks: usize) -> Vec<Pose2> {
        drive_expert(self.without_foresight(), ticks)
    }
}

/// Which plan stands beside a frame, as the label that training learns from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanLabels {
    /// Whether the plan knows what others will do. A plan that does is not a function of what can
    /// be seen, and its mean is to creep.
    pub foresight: bool,
    /// The plan stops this much sooner than the expert drives, metres. A policy stops a little
    /// farther on than its labels say.
    pub extra_margin_m: f64,
}

impl World {
    /// The expert's plan of `ticks` ticks as a label.
    pub(crate) fn label_plan(&self, labels: PlanLabels, ticks: usize) -> Vec<Pose2> {
        let world = if labels.foresight { self.undisturbed() } else { self.without_foresight() };
        drive_expert(world.with_margin(labels.extra_margin_m), ticks)
    }
}

fn drive_expert(mut world: World, ticks: usize) -> Vec<Pose2> {
    let from = world.ego().pose;
    (0..ticks)
        .map(|_| {
            world.step(world.expert());
            world.ego().pose.relative_to(&from)
        })
        .collect()
}
