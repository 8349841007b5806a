//! What a report says, read without trust: a field may be absent, null, of another type or absurd, and is then told as such.

use serde_json::Value;

/// Larger numbers than this are no measurement, and would leave the arithmetic of a chart.
const LARGEST: f64 = 1e15;

/// What stands where nothing is known.
pub(super) const ABSENT: &str = "-";

/// The number, where it is one that a chart can hold.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|n| n.abs() <= LARGEST)
}

/// The number, where it is one and is not negative: a time, a size.
pub(super) fn amount(value: &Value) -> Option<f64> {
    number(value).filter(|n| *n >= 0.0)
}

/// The value in words, not escaped: a string, a number or a truth value.
pub(super) fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(words) => Some(words.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// The value in words, or [`ABSENT`]. Not escaped.
pub(super) fn told(value: &Value) -> String {
    words(value).unwrap_or_else(|| ABSENT.to_owned())
}

/// Says that something was not measured, and why where the report knows. Not escaped.
pub(super) fn not_measured(value: &Value) -> String {
    let why = match value {
        Value::String(why) => Some(why.as_str()),
        Value::Object(fields) => ["not_measured", "why", "reason"].iter().find_map(|key| fields.get(*key)).and_then(Value::as_str),
        _ => None,
    };
    why.map_or_else(|| "not measured".to_owned(), |why| format!("not measured: {why}"))
}

/// Milliseconds, or any figure of that kind, with about four digits.
pub(super) fn figure(number: f64) -> String {
    match number.abs() {
        n if n.fract() == 0.0 => grouped(number),
        n if n < 0.001 => format!("{number:.5}"),
        n if n < 1.0 => format!("{number:.3}"),
        n if n < 100.0 => format!("{number:.2}"),
        n if n < 1000.0 => format!("{number:.1}"),
        _ => grouped(number),
    }
}

/// The field as [`figure`], or [`ABSENT`].
pub(super) fn ms(value: &Value) -> String {
    number(value).map_or_else(|| ABSENT.to_owned(), figure)
}

/// A whole number with its thousands apart, or [`ABSENT`].
pub(super) fn whole(value: &Value) -> String {
    number(value).map_or_else(|| ABSENT.to_owned(), grouped)
}

/// A whole number with its thousands apart.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut out = if number < 0.0 { "-".to_owned() } else { String::new() };
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes with a binary unit.
pub(super) fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let digits = if unit == "B" || value.fract() == 0.0 { 0 } else { 1 };
    format!("{value:.digits$} {unit}")
}

/// The field as [`size`], or [`ABSENT`].
pub(super) fn bytes(value: &Value) -> String {
    amount(value).map_or_else(|| ABSENT.to_owned(), size)
}

/// At most `most` characters; what is cut off is told by an ellipsis.
pub(super) fn short(words: &str, most: usize) -> String {
    if words.chars().count() <= most {
        return words.to_owned();
    }
    words.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The members of a list; of anything else, none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The fields of an object; of anything else, none.
pub(super) fn fields(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::{bytes, figure, grouped, ms, not_measured, number, short, size, whole};
    use serde_json::json;

    /// Broken by a format that loses digits of small times or writes a long row of digits for large ones.
    #[test]
    fn figures_keep_about_four_digits() {
        let cases = [
            (0.0, "0"),
            (0.00042, "0.00042"),
            (0.1234, "0.123"),
            (57.123, "57.12"),
            (80.0, "80"),
            (512.04, "512.0"),
            (1_234_567.0, "1,234,567"),
        ];
        for (number, wanted) in cases {
            assert_eq!(figure(number), wanted);
        }
        assert_eq!(grouped(-1000.0), "-1,000");
        assert_eq!([size(12.0), size(2048.0), size(2_022_400.0)], ["12 B", "2 KiB", "1.9 MiB"]);
    }

    /// Broken by a reader that takes a missing or absurd field for a number.
    #[test]
    fn what_is_not_there_is_told_as_such() {
        for value in [json!(null), json!("57"), json!([1]), json!({}), json!(1e300)] {
            assert_eq!((number(&value), ms(&value).as_str(), whole(&value).as_str()), (None, "-", "-"), "{value}");
        }
        assert_eq!(bytes(&json!(-5)), "-");
        assert_eq!(not_measured(&json!(null)), "not measured");
        assert_eq!(not_measured(&json!("no sensor")), "not measured: no sensor");
        assert_eq!(not_measured(&json!({"why": "no sensor"})), "not measured: no sensor");
    }

    /// Broken by cutting at bytes, which would split a letter.
    #[test]
    fn long_words_are_cut_between_letters() {
        assert_eq!(short("größer", 6), "größer");
        assert_eq!(short("größere", 4), "grö…");
    }
}
