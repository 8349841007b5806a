//! `plots.rgb`: the bird's-eye plot of the past path beside each frame, at the frame's size.

use crate::output::Output;
use drivewam_core::Result;
use drivewam_guidance::bev::{BevPlot, PathSample};
use drivewam_guidance::model::PATH_SAMPLES;
use std::path::Path;

/// The file, and the newest ticks of the drive.
pub(crate) struct PlotWriter {
    plot: BevPlot,
    output: Output,
    /// The newest ticks in the world's plane, oldest first.
    past: Vec<PathSample>,
    /// The same in the frame of the newest.
    relative: Vec<PathSample>,
}

impl PlotWriter {
    /// Creates the file in `folder`, for plots of `height` x `width` pixels.
    ///
    /// # Errors
    /// `Io` if the file cannot be created; those of [`BevPlot::new`].
    pub(crate) fn create(folder: &Path, height: usize, width: usize) -> Result<Self> {
        let output = Output::create(folder.join("plots.rgb"))?;
        Ok(Self { plot: BevPlot::new(height, width)?, output, past: Vec::new(), relative: Vec::new() })
    }

    /// Adds the newest tick and drops the oldest one beyond the plot's length.
    pub(crate) fn push(&mut self, newest: PathSample) {
        if self.past.len() == PATH_SAMPLES {
            self.past.remove(0);
        }
        self.past.push(newest);
    }

    /// Writes the plot of the newest ticks.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&mut self) -> Result<()> {
        let Some(newest) = self.past.last().map(|sample| sample.pose) else { return Ok(()) };
        self.relative.clear();
        self.relative.extend(self.past.iter().map(|sample| PathSample { pose: sample.pose.relative_to(&newest), ..*sample }));
        self.output.write(self.plot.draw(&self.relative))
    }

    /// Flushes the file.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn finish(self) -> Result<()> {
        self.output.finish()
    }
}
