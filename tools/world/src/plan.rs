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

fn drive_expert(mut world: World, ticks: usize) -> Vec<Pose2> {
    let from = world.ego().pose;
    (0..ticks)
        .map(|_| {
            world.step(world.expert());
            world.ego().pose.relative_to(&from)
        })
        .collect()
}
