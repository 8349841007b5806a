//! Launches `kernels/image.cu`.

#![expect(unsafe_code, reason = "the caller of a launch guarantees its parameters")]

use super::driver::{Driver, Kernel, LaunchGrid};
use crate::checks;
use crate::gpu::Address;
use crate::picture::{Pictures, PixelFormat};
use crate::resample::ResampleWeights;
use bytemuck::{Pod, Zeroable};
use drivewam_core::{Error, ErrorKind, Result};

/// Red, green, blue.
const CHANNELS: usize = 3;

/// `Image` of `image.cu`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ImageParams {
    picture: Address,
    to: Address,
    first_column: Address,
    column_count: Address,
    first_row: Address,
    row_count: Address,
    column_weight: Address,
    row_weight: Address,
    width: u32,
    height: u32,
    columns: u32,
    rows: u32,
    max_columns: u32,
    max_rows: u32,
    format: u32,
    reserved: u32,
}

/// `image.cu` asserts the same size.
const _: () = assert!(size_of::<ImageParams>() == 96);

/// The weights of one camera and the buffer of a picture, on the device.
#[derive(Debug)]
pub(super) struct Resampler {
    params: ImageParams,
    /// Bytes of a picture.
    bytes: usize,
    /// Elements of an output.
    outputs: usize,
}

/// Allocates memory for a table and copies it there.
fn table<T: Pod>(driver: &mut dyn Driver, values: &[T]) -> Result<Address> {
    let at = driver.allocate(size_of_val(values))?;
    driver.write(at, bytemuck::cast_slice(values))?;
    Ok(at)
}

impl Resampler {
    /// Checks the weights and copies them to the device. Warm.
    pub(super) fn open(driver: &mut dyn Driver, pictures: Pictures, columns: &ResampleWeights, rows: &ResampleWeights) -> Result<Self> {
        let bytes = checks::camera(&pictures, columns, rows)?;
        let space = || {
            Error::new(ErrorKind::Capacity, "cannot allocate work space for pictures of this size")
                .at("camera")
                .got(format!("{pictures:?}"))
        };
        let outputs = columns.outputs().checked_mul(rows.outputs()).and_then(|n| n.checked_mul(CHANNELS)).ok_or_else(space)?;
        let narrow = |n: usize| u32::try_from(n).map_err(|e| space().caused_by(e));
        narrow(outputs)?;
        let params = ImageParams {
            picture: driver.allocate(bytes)?,
            to: 0,
            first_column: table(driver, &columns.first)?,
            column_count: table(driver, &columns.count)?,
            first_row: table(driver, &rows.first)?,
            row_count: table(driver, &rows.count)?,
            column_weight: table(driver, &columns.weight)?,
            row_weight: table(driver, &rows.weight)?,
            width: narrow(pictures.width)?,
            height: narrow(pictures.height)?,
            columns: narrow(columns.outputs())?,
            rows: narrow(rows.outputs())?,
            max_columns: narrow(columns.max_count)?,
            max_rows: narrow(rows.max_count)?,
            // `Format` of image.cu.
            format: match pictures.format {
                PixelFormat::Rgb8 => 0,
                PixelFormat::Nv12 => 1,
                PixelFormat::Yuyv => 2,
            },
            reserved: 0,
        };
        Ok(Self { params, bytes, outputs })
    }

    /// See [`crate::ImageOps::resample`]; `to` has room for `len` elements.
    pub(super) fn resample(&self, driver: &mut dyn Driver, picture: &[u8], to: Address, len: usize) -> Result<()> {
        if picture.len() != self.bytes || len != self.outputs {
            let ImageParams { width, height, columns, rows, .. } = self.params;
            return Err(Error::new(ErrorKind::Usage, "the picture or its region has the wrong size")
                .at("camera")
                .got(format!("{} bytes to {len} elements", picture.len()))
                .wanted(format!("{} bytes, {width} x {height}, to [3, {rows}, {columns}] of the open camera", self.bytes)));
        }
        if len == 0 {
            return Ok(());
        }
        driver.write(self.params.picture, picture)?;
        let params = ImageParams { to, ..self.params };
        // SAFETY: the parameters are those of `image`; the weights read inside the picture
        // (`checks::camera`), and `to` has room for all outputs.
        unsafe { driver.launch(Kernel::Image, LaunchGrid::of_elements(len / CHANNELS)?, bytemuck::bytes_of(&params)) }
    }
}
