//! Whether the scans of a JPEG file are whole.
//!
//! Decoders show what they can. Where a scan ends early or an interval between restart markers is
//! lost, those in Rust, the strict mode of `zune-jpeg` included, fill in zeros and report nothing.
//! [`check`] reads the entropy-coded data and makes no pixel: it demands every block of every scan,
//! the restart markers in order, each coefficient down to its last bit, and the end marker. What
//! follows the end marker is not looked at. The letters are those of ITU-T T.81.

use crate::jpeg_bits::{Bits, Huffman, Missing};
use drivewam_core::{Error, ErrorKind, Result};

/// Most scans of an image; `zune-jpeg` has the same limit. Each scan visits every block.
const MAX_SCANS: usize = 100;
/// A coefficient mask with all 64 set.
const ALL: u64 = u64::MAX;

/// Proves that the JPEG file `bytes` is whole. The caller has checked its size in pixels.
///
/// # Errors
/// `Input`: a scan, a restart interval or the end marker is missing, or a code is none of its
/// table's; also for an image that is neither baseline nor progressive.
pub(crate) fn check(bytes: &[u8]) -> Result<()> {
    let mut reader = Reader { bytes, at: 2, frame: None, dc: Default::default(), ac: Default::default(), interval: 0, scans: 0 };
    loop {
        match reader.marker()? {
            0xd9 => break,
            0x01 | 0xd0..=0xd8 => {}
            0xc0..=0xc2 => reader.start_of_frame()?,
            0xc4 => reader.huffman_tables()?,
            code @ (0xc3 | 0xc5..=0xcf) => {
                return Err(corrupt("not a baseline or progressive JPEG").got(format!("marker ff{code:02x}")));
            }
            0xdd => {
                let segment = reader.segment()?;
                reader.interval = usize::from(word(segment, 0)?);
            }
            0xda => reader.scan()?,
            _ => reader.segment().map(drop)?,
        }
    }
    let frame = reader.frame.ok_or_else(|| corrupt("the image is corrupt").got("no frame"))?;
    match frame.components.iter().find(|component| component.pending != 0) {
        Some(component) => Err(cut_short().got(format!("no last scan of component {}", component.id))),
        None => Ok(()),
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Input, what)
}

fn cut_short() -> Error {
    corrupt("the image is cut short")
}

fn malformed(what: &str) -> Error {
    corrupt("the image is corrupt").got(what)
}

fn byte(segment: &[u8], at: usize) -> Result<u8> {
    segment.get(at).copied().ok_or_else(|| malformed("a segment that is too short"))
}

fn word(segment: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_be_bytes([byte(segment, at)?, byte(segment, at + 1)?]))
}

/// A component of the frame.
struct Component {
    id: u8,
    /// Sampling factors H and V.
    sampling: (usize, usize),
    /// Coefficients whose last bit has not been coded.
    pending: u64,
    /// Progressive: which coefficients of each block are not zero, row by row.
    nonzero: Vec<u64>,
    /// Blocks in a row of `nonzero`.
    stride: usize,
}

struct Frame {
    is_progressive: bool,
    width: usize,
    height: usize,
    /// Hmax and Vmax.
    most: (usize, usize),
    components: Vec<Component>,
}

/// What a scan codes: Ss, Se, Ah, Al.
#[derive(Clone, Copy)]
struct Band {
    first: usize,
    last: usize,
    high: u8,
    low: u8,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    frame: Option<Frame>,
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// MCUs between restart markers; 0 for none.
    interval: usize,
    scans: usize,
}

impl<'a> Reader<'a> {
    /// The next marker.
    fn marker(&mut self) -> Result<u8> {
        loop {
            match self.bytes.get(self.at..) {
                Some([0xff, code, ..]) if !matches!(code, 0 | 0xff) => {
                    self.at += 2;
                    return Ok(*code);
                }
                Some([_, _, ..]) => self.at += 1,
                _ => return Err(cut_short().got(format!("{} bytes without an end marker", self.bytes.len()))),
            }
        }
    }

    /// The content of the segment that begins here.
    fn segment(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = usize::from(word(rest, 0)?);
        let content = rest.get(2..len).ok_or_else(|| cut_short().got("a segment beyond the end of the file"))?;
        self.at += len;
        Ok(content)
    }

    fn start_of_frame(&mut self) -> Result<()> {
        let code = self.bytes.get(self.at - 1).copied();
        let segment = self.segment()?;
        if self.frame.is_some() {
            return Err(malformed("two frames"));
        }
        let (height, width, count) = (usize::from(word(segment, 1)?), usize::from(word(segment, 3)?), byte(segment, 5)?);
        let mut components = Vec::new();
        for i in 0..usize::from(count) {
            let (id, factors) = (byte(segment, 6 + 3 * i)?, byte(segment, 7 + 3 * i)?);
            let sampling = (usize::from(factors >> 4), usize::from(factors & 15));
            if !(1..=4).contains(&sampling.0) || !(1..=4).contains(&sampling.1) {
                return Err(malformed("a sampling factor that is not 1 to 4"));
            }
            components.push(Component { id, sampling, pending: ALL, nonzero: Vec::new(), stride: 0 });
        }
        if width == 0 || height == 0 || !(1..=4).contains(&count) {
            return Err(malformed("a frame without pixels or components"));
        }
        let most = components.iter().fold((1, 1), |most, c| (most.0.max(c.sampling.0), most.1.max(c.sampling.1)));
        let is_progressive = code == Some(0xc2);
        for component in components.iter_mut().filter(|_| is_progressive) {
            component.stride = width.div_ceil(8 * most.0) * component.sampling.0;
            component.nonzero = vec![0; component.stride * height.div_ceil(8 * most.1) * component.sampling.1];
        }
        self.frame = Some(Frame { is_progressive, width, height, most, components });
        Ok(())
    }

    fn huffman_tables(&mut self) -> Result<()> {
        let mut rest = self.segment()?;
        while let Some((&class, content)) = rest.split_first() {
            let (table, len) = Huffman::read(content).ok_or_else(|| malformed("a Huffman table that is none"))?;
            let tables = if class >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(class & 15)).ok_or_else(|| malformed("a Huffman table that is none"))? = Some(table);
            rest = content.get(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads a scan: its header, and all of its entropy-coded data.
    fn scan(&mut self) -> Result<()> {
        let header = self.segment()?;
        let frame = self.frame.as_mut().ok_or_else(|| malformed("a scan before the frame"))?;
        self.scans += 1;
        let count = usize::from(byte(header, 0)?);
        if self.scans > MAX_SCANS || !(1..=4).contains(&count) {
            return Err(malformed("too many scans or components"));
        }
        let (end, bits) = (byte(header, 2 * count + 2)?, byte(header, 2 * count + 3)?);
        let band = if frame.is_progressive {
            Band { first: usize::from(byte(header, 2 * count + 1)?), last: usize::from(end), high: bits >> 4, low: bits & 15 }
        } else {
            Band { first: 0, last: 63, high: 0, low: 0 }
        };
        let is_ac = frame.is_progressive && band.first > 0;
        if band.last > 63 || band.first > band.last || (frame.is_progressive && !is_ac && band.last > 0) || (is_ac && count > 1) {
            return Err(malformed("a scan of coefficients that do not go together"));
        }
        let mut parts = Vec::new();
        for i in 0..count {
            let (id, tables) = (byte(header, 1 + 2 * i)?, byte(header, 2 + 2 * i)?);
            let index = frame.components.iter().position(|c| c.id == id).ok_or_else(|| malformed("a scan of no component"))?;
            let table = |tables: &'_ [Option<Huffman>; 4], of: u8, is_used: bool| -> Result<Option<Huffman>> {
                let found = tables.get(usize::from(of)).and_then(Option::as_ref).cloned();
                if is_used && found.is_none() { Err(malformed("a scan without its Huffman table")) } else { Ok(found) }
            };
            let dc = table(&self.dc, tables >> 4, !is_ac && band.high == 0)?;
            let ac = table(&self.ac, tables & 15, is_ac || !frame.is_progressive)?;
            parts.push(Part { index, dc, ac });
        }
        let mut scan = Scan { bits: Bits::new(self.bytes, self.at), band, end_of_band_run: 0 };
        scan.read(frame, &parts, self.interval)?;
        self.at = scan.bits.next_marker();
        let coded = if band.last == 63 { ALL << band.first } else { (1 << (band.last + 1)) - (1 << band.first) };
        for part in parts.iter().filter(|_| band.low == 0) {
            if let Some(component) = frame.components.get_mut(part.index) {
                component.pending &= !coded;
            }
        }
        Ok(())
    }
}

/// A component of a scan, and its Huffman tables.
struct Part {
    index: usize,
    dc: Option<Huffman>,
    ac: Option<Huffman>,
}

/// The entropy-coded data of a scan.
struct Scan<'a> {
    bits: Bits<'a>,
    band: Band,
    /// EOBRUN: blocks without a further coefficient.
    end_of_band_run: u32,
}

impl Scan<'_> {
    fn read(&mut self, frame: &mut Frame, parts: &[Part], interval: usize) -> Result<()> {
        let (most, is_alone) = (frame.most, parts.len() == 1);
        let (columns, rows) = match parts {
            // One component alone has a block per MCU, and no blocks outside of the image.
            [part] => {
                let (h, v) = frame.components.get(part.index).map_or((1, 1), |c| c.sampling);
                ((frame.width * h).div_ceil(8 * most.0), (frame.height * v).div_ceil(8 * most.1))
            }
            _ => (frame.width.div_ceil(8 * most.0), frame.height.div_ceil(8 * most.1)),
        };
        for mcu in 0..columns * rows {
            if interval > 0 && mcu > 0 && mcu % interval == 0 {
                self.restart(mcu / interval - 1)?;
            }
            let (column, row) = (mcu % columns, mcu / columns);
            for part in parts {
                let Some(component) = frame.components.get_mut(part.index) else { continue };
                let (h, v) = if is_alone { (1, 1) } else { component.sampling };
                for block in 0..h * v {
                    let at = (row * v + block / h) * component.stride + column * h + block % h;
                    let missing = match component.nonzero.get_mut(at) {
                        Some(nonzero) => self.progressive(part, nonzero),
                        None => self.sequential(part),
                    };
                    missing.map_err(|missing| match missing {
                        Missing::Bits => cut_short().got(format!("data of {mcu} of {} blocks of a scan", columns * rows)),
                        Missing::Code => malformed("a code that is none of its table's"),
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Passes the restart marker after interval `index`.
    fn restart(&mut self, index: usize) -> Result<()> {
        let wanted = 0xd0 + (index % 8) as u8;
        match self.bits.pass_marker() {
            Some(code) if code == wanted => {
                self.end_of_band_run = 0;
                Ok(())
            }
            code => Err(cut_short()
                .at(format!("restart interval {}", index + 1))
                .got(code.map_or_else(|| "the end of the file".to_owned(), |code| format!("marker ff{code:02x}")))
                .wanted(format!("marker ff{wanted:02x}"))),
        }
    }

    /// A block of a sequential scan.
    fn sequential(&mut self, part: &Part) -> std::result::Result<(), Missing> {
        let (Some(dc), Some(ac)) = (&part.dc, &part.ac) else { return Err(Missing::Code) };
        let size = self.bits.decode(dc)?;
        self.bits.take(u32::from(size))?;
        let mut k = 1;
        while k < 64 {
            let (run, size) = self.bits.run_and_size(ac)?;
            match (run, size) {
                (15, 0) => k += 16,
                (_, 0) => break,
                _ => {
                    k += run + 1;
                    self.bits.take(size)?;
                }
            }
        }
        if k > 64 { Err(Missing::Code) } else { Ok(()) }
    }

    /// A block of a progressive scan, T.81 section G.1.2.
    fn progressive(&mut self, part: &Part, nonzero: &mut u64) -> std::result::Result<(), Missing> {
        let (is_dc, is_first) = (self.band.first == 0, self.band.high == 0);
        match (&part.dc, &part.ac) {
            (Some(dc), _) if is_dc && is_first => {
                let size = self.bits.decode(dc)?;
                self.bits.take(u32::from(size)).map(drop)
            }
            _ if is_dc => self.bits.take(1).map(drop),
            (_, Some(ac)) if is_first => self.first_band(ac, nonzero),
            (_, Some(ac)) => self.refined_band(ac, nonzero),
            _ => Err(Missing::Code),
        }
    }

    fn first_band(&mut self, ac: &Huffman, nonzero: &mut u64) -> std::result::Result<(), Missing> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let mut k = self.band.first;
        while k <= self.band.last {
            match self.bits.run_and_size(ac)? {
                (15, 0) => k += 16,
                (run, 0) => {
                    self.end_of_band_run = (1 << run) - 1 + self.bits.take(run as u32)?;
                    break;
                }
                (run, size) => {
                    k += run;
                    *nonzero |= 1u64.checked_shl(k as u32).filter(|_| k <= self.band.last).ok_or(Missing::Code)?;
                    self.bits.take(size)?;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// Coefficients that are not zero have a bit of correction each; those in between are new.
    fn refined_band(&mut self, ac: &Huffman, nonzero: &mut u64) -> std::result::Result<(), Missing> {
        let mut k = self.band.first;
        while self.end_of_band_run == 0 && k <= self.band.last {
            let (mut run, size) = self.bits.run_and_size(ac)?;
            if size == 0 && run < 15 {
                self.end_of_band_run = (1 << run) + self.bits.take(run as u32)?;
                break;
            }
            self.bits.take(size)?;
            while k <= self.band.last && (is_set(*nonzero, k) || run > 0) {
                if is_set(*nonzero, k) {
                    self.bits.take(1).map(drop)?
                } else {
                    run -= 1
                }
                k += 1;
            }
            if size > 0 {
                *nonzero |= 1u64.checked_shl(k as u32).filter(|_| k <= self.band.last).ok_or(Missing::Code)?;
            }
            k += 1;
        }
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            let rest = (self.band.first..=self.band.last).filter(|i| *i >= k && is_set(*nonzero, *i)).count();
            (0..rest).try_for_each(|_| self.bits.take(1).map(drop))?;
        }
        Ok(())
    }
}

fn is_set(mask: u64, bit: usize) -> bool {
    (mask >> bit) & 1 == 1
}
