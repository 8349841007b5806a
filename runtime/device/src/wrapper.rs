//! Devices that wrap another one and replace its KV memory, for studies and tests.

use crate::copy::StridedCopy;
use crate::device::{Device, DeviceMemory, ImageOps, SolverOps, Traffic};
use crate::gpu::Gpu;
use crate::host_memory::HostMemory;
use crate::picture::Pictures;
use crate::resample::ResampleWeights;
use drivewam_core::Result;
use drivewam_core::arena::{ArenaPlan, Region};
use drivewam_core::flow::solver::SolverStep;

/// A device around another one. It gets every trait of [`Device`] but [`crate::KvMemory`] from the
/// inner device, and implements [`crate::KvMemory`] itself.
pub trait DeviceWrapper {
    /// The inner device.
    fn inner(&self) -> &dyn Device;

    /// The inner device, mutable.
    fn inner_mut(&mut self) -> &mut dyn Device;
}

impl<W: DeviceWrapper> DeviceMemory for W {
    fn describe(&self) -> String {
        self.inner().describe()
    }

    fn plan(&self) -> &ArenaPlan {
        self.inner().plan()
    }

    fn host_arena(&mut self) -> Option<&mut dyn HostMemory> {
        self.inner_mut().host_arena()
    }

    fn gpu(&mut self) -> Option<&mut dyn Gpu> {
        self.inner_mut().gpu()
    }

    fn upload(&mut self, to: Region, data: &[f32]) -> Result<()> {
        self.inner_mut().upload(to, data)
    }

    fn download(&mut self, from: Region, out: &mut [f32]) -> Result<()> {
        self.inner_mut().download(from, out)
    }

    fn copy(&mut self, from: Region, to: Region, rows: StridedCopy) -> Result<()> {
        self.inner_mut().copy(from, to, rows)
    }

    fn fill(&mut self, region: Region, value: f32) -> Result<()> {
        self.inner_mut().fill(region, value)
    }

    fn synchronize(&mut self) -> Result<()> {
        self.inner_mut().synchronize()
    }

    fn traffic(&self) -> Traffic {
        self.inner().traffic()
    }
}

impl<W: DeviceWrapper> ImageOps for W {
    fn open_camera(&mut self, pictures: Pictures, columns: ResampleWeights, rows: ResampleWeights) -> Result<()> {
        self.inner_mut().open_camera(pictures, columns, rows)
    }

    fn resample(&mut self, picture: &[u8], to: Region) -> Result<()> {
        self.inner_mut().resample(picture, to)
    }
}

impl<W: DeviceWrapper> SolverOps for W {
    fn solve(
        &mut self,
        step: &SolverStep,
        x: Region,
        velocity: Region,
        history: &[Region],
        width: usize,
        channels: &[usize],
    ) -> Result<()> {
        self.inner_mut().solve(step, x, velocity, history, width, channels)
    }
}
