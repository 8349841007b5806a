//! The bits of a JPEG's entropy-coded data, and Huffman codes among them (ITU-T T.81, annex F.2.2).

/// Why a block cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The data ends before the block does.
    Bits,
    /// The bits are no code of the table, or lead out of the block.
    Code,
}

/// A Huffman table.
#[derive(Debug, Clone)]
pub(crate) struct Huffman {
    /// Per code length 1 to 16: the first 16 bits that are no code of this length or a shorter one.
    limits: [u32; 16],
    /// Per code length: the index of its first value less its first code.
    offsets: [i32; 16],
    values: Vec<u8>,
}

impl Huffman {
    /// Reads a table: 16 counts and the values. Returns it with its length in bytes; `None` if it
    /// is no table.
    pub(crate) fn read(content: &[u8]) -> Option<(Self, usize)> {
        let counts = content.get(..16)?;
        let (mut limits, mut offsets) = ([0; 16], [0; 16]);
        let (mut code, mut values) = (0u32, 0usize);
        for (i, &count) in counts.iter().enumerate() {
            offsets[i] = i32::try_from(values).ok()? - i32::try_from(code).ok()?;
            code += u32::from(count);
            values += usize::from(count);
            if code > 2 << i {
                return None;
            }
            limits[i] = code << (15 - i);
            code <<= 1;
        }
        let values = content.get(16..16 + values)?.to_vec();
        let len = 16 + values.len();
        Some((Self { limits, offsets, values }, len))
    }
}

/// Bits from a place of a file on, up to the next marker.
#[derive(Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bits that were read ahead, the next one on top.
    held: u64,
    /// Their number.
    left: u32,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, left: 0 }
    }

    fn fill(&mut self) {
        while self.left <= 56 {
            let byte = match self.bytes.get(self.at..) {
                Some([0xff, 0, ..]) => {
                    self.at += 1;
                    0xff
                }
                // A marker or the end.
                Some([0xff, ..] | []) | None => return,
                Some([byte, ..]) => *byte,
            };
            self.at += 1;
            self.held |= u64::from(byte) << (56 - self.left);
            self.left += 8;
        }
    }

    fn drop_bits(&mut self, count: u32) -> Result<(), Missing> {
        if count > self.left {
            return Err(Missing::Bits);
        }
        self.held <<= count;
        self.left -= count;
        Ok(())
    }

    /// The next `count` bits, at most 16, as a number.
    pub(crate) fn take(&mut self, count: u32) -> Result<u32, Missing> {
        if count == 0 {
            return Ok(0);
        }
        self.fill();
        let value = (self.held >> 48) as u32 >> 16u32.saturating_sub(count);
        self.drop_bits(count)?;
        Ok(value)
    }

    /// The value of the next code.
    pub(crate) fn decode(&mut self, table: &Huffman) -> Result<u8, Missing> {
        self.fill();
        let next = (self.held >> 48) as u32;
        let length =
            table.limits.iter().position(|limit| next < *limit).ok_or(if self.left < 16 { Missing::Bits } else { Missing::Code })?;
        self.drop_bits(length as u32 + 1)?;
        let index = (next >> (15 - length)) as i32 + table.offsets.get(length).copied().ok_or(Missing::Code)?;
        let value = usize::try_from(index).ok().and_then(|index| table.values.get(index)).copied().ok_or(Missing::Code)?;
        Ok(value)
    }

    /// The next code as a run of zeros and the size of the coefficient after it.
    pub(crate) fn run_and_size(&mut self, table: &Huffman) -> Result<(usize, u32), Missing> {
        let value = self.decode(table)?;
        Ok((usize::from(value >> 4), u32::from(value & 15)))
    }

    /// Drops the bits up to the next marker, and passes it.
    pub(crate) fn pass_marker(&mut self) -> Option<u8> {
        self.at = self.next_marker();
        let code = self.bytes.get(self.at + 1).copied()?;
        self.at += 2;
        (self.held, self.left) = (0, 0);
        Some(code)
    }

    /// Where the next marker is, or the end. Bytes before it that nobody asked for are passed.
    pub(crate) fn next_marker(&self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.windows(2).position(|w| matches!(w, [0xff, code] if !matches!(code, 0 | 0xff))).map_or(self.bytes.len(), |i| self.at + i)
    }
}
