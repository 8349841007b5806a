//! Launches `kernels/image.cu`.

#![expect(unsafe_code, reason = "a launch is a promise about its parameters")]

use super::Address;
use super::driver::{Driver, Kernel};
use crate::picture::{Pictures, PixelFormat};
use crate::shape;
use crate::taps::Taps;
use bytemuck::{Pod, Zeroable};
use drivewam_core::{Error, ErrorKind, Result};

/// Red, green, blue.
const CHANNELS: usize = 3;

/// `Image` of `image.cu`, field by field.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
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
    most_columns: u32,
    most_rows: u32,
    format: u32,
    reserved: u32,
}

/// `image.cu` says the same of its own.
const _: () = assert!(size_of::<Params>() == 96);

/// One camera's taps and its place for a picture, on the device.
#[derive(Debug)]
pub(super) struct Camera {
    params: Params,
    /// Bytes of a picture.
    bytes: usize,
    /// Numbers of an output.
    outputs: usize,
}

/// Copies a table to memory of its own.
fn table<T: Pod>(driver: &mut dyn Driver, values: &[T]) -> Result<Address> {
    let at = driver.allocate(size_of_val(values))?;
    driver.write(at, bytemuck::cast_slice(values))?;
    Ok(at)
}

impl Camera {
    /// Warm.
    pub(super) fn open(driver: &mut dyn Driver, pictures: Pictures, columns: &Taps, rows: &Taps) -> Result<Self> {
        let bytes = shape::camera(&pictures, columns, rows)?;
        let space = || Error::new(ErrorKind::Capacity, "no work space for pictures of this size").at("camera").got(format!("{pictures:?}"));
        let outputs = columns.outputs().checked_mul(rows.outputs()).and_then(|n| n.checked_mul(CHANNELS)).ok_or_else(space)?;
        let narrow = |n: usize| u32::try_from(n).map_err(|e| space().caused_by(e));
        narrow(outputs)?;
        let params = Params {
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
            most_columns: narrow(columns.most)?,
            most_rows: narrow(rows.most)?,
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

    /// See [`crate::Device::resample`]; `to` has room for `len` numbers.
    pub(super) fn resample(&self, driver: &mut dyn Driver, picture: &[u8], to: Address, len: usize) -> Result<()> {
        if picture.len() != self.bytes || len != self.outputs {
            let Params { width, height, columns, rows, .. } = self.params;
            return Err(Error::new(ErrorKind::Usage, "a picture or its region of the wrong size")
                .at("camera")
                .got(format!("{} bytes to {len} numbers", picture.len()))
                .wanted(format!("{} bytes, {width} x {height}, to [3, {rows}, {columns}] of the open camera", self.bytes)));
        }
        if len == 0 {
            return Ok(());
        }
        driver.write(self.params.picture, picture)?;
        let params = Params { to, ..self.params };
        // SAFETY: the parameters are those of `image`; taps read inside the picture (`shape::camera`), and `to` has room for all outputs.
        unsafe { driver.launch(Kernel::Image, super::solver::blocks(len / CHANNELS)?, bytemuck::bytes_of(&params)) }
    }
}
