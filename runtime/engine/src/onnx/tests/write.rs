//! Writes ONNX files field by field, faulty ones too.

/// A field of bytes: a text, a message.
pub(crate) fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(content.len() as u64), content].concat()
}

/// A field of an integer.
pub(crate) fn int(number: u8, value: i64) -> Vec<u8> {
    // Fields from 16 on take a second byte.
    let tag = varint(u64::from(number) << 3);
    [tag, varint(value.cast_unsigned())].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut all = Vec::new();
    while value > 0x7f {
        all.push(value as u8 | 0x80);
        value >>= 7;
    }
    all.push(value as u8);
    all
}

/// A message of the fields `parts`.
pub(crate) fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// A `TensorProto` with raw data.
pub(crate) fn tensor(name: &str, dtype: i64, dims: &[i64], raw: &[u8]) -> Vec<u8> {
    let dims = dims.iter().flat_map(|&len| int(1, len)).collect();
    join(&[dims, int(2, dtype), bytes(8, name.as_bytes()), bytes(9, raw)])
}

/// A `TensorProto` of 64-bit integers.
pub(crate) fn ints(name: &str, dims: &[i64], values: &[i64]) -> Vec<u8> {
    tensor(name, 7, dims, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

/// An `AttributeProto` of an integer.
pub(crate) fn setting(name: &str, value: i64) -> Vec<u8> {
    join(&[bytes(1, name.as_bytes()), int(3, value)])
}

/// A `NodeProto`.
pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let texts = |number: u8, names: &[&str]| names.iter().flat_map(|name| bytes(number, name.as_bytes())).collect::<Vec<u8>>();
    join(&[
        texts(1, inputs),
        texts(2, outputs),
        bytes(3, format!("made {}", outputs.first().unwrap_or(&"nothing")).as_bytes()),
        bytes(4, operator.as_bytes()),
        attributes.iter().flat_map(|attribute| bytes(5, attribute)).collect(),
    ])
}

/// A node that makes a constant of 64-bit integers.
pub(crate) fn constant(name: &str, dims: &[i64], values: &[i64]) -> Vec<u8> {
    let value = join(&[bytes(1, b"value"), bytes(5, &ints("", dims, values))]);
    node("Constant", &[], &[name], &[value])
}

/// A `ValueInfoProto` of f32.
pub(crate) fn value(name: &str, dims: &[i64]) -> Vec<u8> {
    let shape: Vec<u8> = dims.iter().flat_map(|&len| bytes(1, &int(1, len))).collect();
    let kind = bytes(1, &join(&[int(1, 1), bytes(2, &shape)]));
    join(&[bytes(1, name.as_bytes()), bytes(2, &kind)])
}

/// A `GraphProto` from `x` f32 [4] to `y` f32 [4].
pub(crate) fn graph(nodes: &[Vec<u8>], initializers: &[Vec<u8>]) -> Vec<u8> {
    join(&[
        nodes.iter().flat_map(|node| bytes(1, node)).collect(),
        initializers.iter().flat_map(|weight| bytes(5, weight)).collect(),
        bytes(11, &value("x", &[4])),
        bytes(12, &value("y", &[4])),
    ])
}

/// A `ModelProto` of opset 18 with a graph; `more` are further fields.
pub(crate) fn model(graph: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    join(&[int(1, 8), bytes(7, graph), bytes(8, &int(2, 18)), join(more)])
}
