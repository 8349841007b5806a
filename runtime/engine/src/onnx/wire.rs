//! Reads protobuf's wire format, one message at a time. Borrows from the bytes, copies nothing and
//! does not descend: the caller opens each nested message by name, so a file cannot choose how deep
//! the reader goes.

use drivewam_core::excerpt::quoted;
use drivewam_core::{Error, ErrorKind, Result};

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// An integer of variable length.
    Varint(u64),
    /// A number of 4 or 8 bytes.
    Fixed(&'a [u8]),
    /// Bytes, a text, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields that a message may have. Others are refused, and so is a second `single` one, which
/// parsers of different libraries read differently: some take the last, some join both.
#[derive(Debug)]
pub(super) struct Schema {
    /// The message's name, for errors.
    pub name: &'static str,
    pub single: &'static [u32],
    pub repeated: &'static [u32],
}

impl Schema {
    /// Gives every field of the message to `each`, in the order of the file.
    pub(super) fn read<'a>(&self, bytes: &'a [u8], mut each: impl FnMut(u32, Value<'a>) -> Result<()>) -> Result<()> {
        let (mut rest, mut seen) = (bytes, 0u32);
        while !rest.is_empty() {
            let (number, value) = field(&mut rest).map_err(|what| broken().at(self.name).got(what))?;
            if self.single.contains(&number) {
                let bit = 1u32.checked_shl(number).unwrap_or(0);
                if seen & bit != 0 {
                    return Err(broken().at(self.name).got(format!("field {number} twice")).wanted("once"));
                }
                seen |= bit;
            } else if !self.repeated.contains(&number) {
                return Err(broken()
                    .at(self.name)
                    .got(format!("field {number}"))
                    .wanted(format!("the fields that the exporter writes: {:?}", [self.single, self.repeated].concat())));
            }
            each(number, value).map_err(|e| e.at(self.name))?;
        }
        Ok(())
    }
}

/// The error for bytes that are no ONNX model.
pub(super) fn broken() -> Error {
    Error::new(ErrorKind::Manifest, "not an ONNX model")
}

/// Takes the next field off `rest`. Group fields are refused: they are the only ones without a
/// length, and ONNX has none.
fn field<'a>(rest: &mut &'a [u8]) -> std::result::Result<(u32, Value<'a>), &'static str> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0).ok_or("a field number out of range")?;
    let value = match tag & 7 {
        0 => Value::Varint(varint(rest)?),
        1 => Value::Fixed(take(rest, 8)?),
        2 => {
            let len = varint(rest)?;
            Value::Bytes(take(rest, len)?)
        }
        5 => Value::Fixed(take(rest, 4)?),
        3 | 4 => return Err("a group"),
        _ => return Err("a wire type that does not exist"),
    };
    Ok((number, value))
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> std::result::Result<&'a [u8], &'static str> {
    let split = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
    let (taken, after) = split.ok_or("a field that reaches beyond the end")?;
    *rest = after;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> std::result::Result<u64, &'static str> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let [byte, after @ ..] = *rest else { return Err("an integer that is cut off") };
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err("an integer of more than 64 bits");
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("an integer of more than 64 bits")
}

impl<'a> Value<'a> {
    pub(super) fn integer(self) -> Result<i64> {
        match self {
            Self::Varint(number) => Ok(number.cast_signed()),
            _ => Err(broken().got("a field of another type").wanted("an integer")),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(broken().got("a field of another type").wanted("bytes")),
        }
    }

    /// A text of at most [`MAX_TEXT`] bytes.
    pub(super) fn text(self) -> Result<&'a str> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|e| broken().at("a text that is not UTF-8").caused_by(e))?;
        if text.len() > MAX_TEXT {
            return Err(broken().got(format!("a name {}", quoted(text))).wanted(format!("at most {MAX_TEXT} bytes")));
        }
        Ok(text)
    }

    /// Adds the integers of a repeated field, packed or not, to `to`, which may grow to `max`.
    pub(super) fn integers(self, to: &mut Vec<i64>, max: usize) -> Result<()> {
        let (mut rest, one) = match self {
            Self::Bytes(packed) => (packed, None),
            _ => (&[][..], Some(self.integer()?)),
        };
        to.extend(one);
        while !rest.is_empty() && to.len() <= max {
            to.push(varint(&mut rest).map_err(|what| broken().got(what))?.cast_signed());
        }
        if to.len() > max {
            return Err(Error::new(ErrorKind::Manifest, "the graph has a list that is too long")
                .got(format!("more than {max} integers"))
                .wanted(format!("at most {max}")));
        }
        Ok(())
    }
}

/// Longest name, bytes. The exporter's have at most 74.
const MAX_TEXT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Schema = Schema { name: "Any", single: &[1], repeated: &[2, 3] };

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>> {
        let mut all = Vec::new();
        ANY.read(bytes, |number, value| {
            all.push((number, value));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn fields_of_every_wire_type_are_read() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x15, 1, 2, 3, 4, 0x19, 1, 2, 3, 4, 5, 6, 7, 8];
        let wanted = [
            (1, Value::Varint(150)),
            (2, Value::Bytes(b"hi")),
            (2, Value::Fixed(&[1, 2, 3, 4])),
            (3, Value::Fixed(&[1, 2, 3, 4, 5, 6, 7, 8])),
        ];
        assert_eq!(read(&bytes).unwrap(), wanted);
        let mut all = Vec::new();
        Value::Bytes(&[1, 0x96, 1]).integers(&mut all, 3).unwrap();
        Value::Varint(u64::MAX).integers(&mut all, 3).unwrap();
        assert_eq!(all, [1, 150, -1]);
        assert!(Value::Varint(1).integers(&mut all, 3).unwrap_err().to_string().contains("more than 3"));
    }

    /// Breaks when the reader goes beyond the end, loops, or lets two parsers read two meanings.
    #[test]
    fn bytes_that_are_no_message_are_refused_with_what_is_wrong() {
        let long = [&[0x08][..], &[0xff; 9], &[0x02]].concat();
        let cases: [(&[u8], &str); 10] = [
            (&[0x08], "cut off"),
            (&[0x08, 0x80], "cut off"),
            (&long, "more than 64 bits"),
            (&[0x12, 5, 1, 2], "beyond the end"),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "beyond the end"),
            (&[0x13], "a group"),
            (&[0x16], "does not exist"),
            (&[0x00, 1], "out of range"),
            (&[0x08, 1, 0x08, 2], "field 1 twice"),
            (&[0x22, 0], "field 4"),
        ];
        for (bytes, words) in cases {
            let said = read(bytes).unwrap_err().to_string();
            assert!(said.contains(words) && said.contains("Any"), "{words}: {said}");
        }
    }
}
