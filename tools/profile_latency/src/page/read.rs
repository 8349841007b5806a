//! Reads and formats fields of an untrusted report: a field may be missing, null, of another type
//! or absurd.

use serde_json::Value;

/// Largest plausible number. Larger ones would overflow the arithmetic of a chart.
const LARGEST: f64 = 1e15;

/// Stands for a missing value.
pub(super) const ABSENT: &str = "-";

/// The value as a plausible number.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|n| n.abs() <= LARGEST)
}

/// The value as a plausible number that is not negative: a time or a size.
pub(super) fn non_negative(value: &Value) -> Option<f64> {
    number(value).filter(|n| *n >= 0.0)
}

/// A string, number or Boolean as unescaped text.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// The value as unescaped text, or [`ABSENT`].
pub(super) fn text_or_absent(value: &Value) -> String {
    as_text(value).unwrap_or_else(|| ABSENT.to_owned())
}

/// "not measured", with the reason if the report has one; unescaped.
pub(super) fn not_measured(value: &Value) -> String {
    let why = match value {
        Value::String(why) => Some(why.as_str()),
        Value::Object(fields) => ["not_measured", "why", "reason"].iter().find_map(|key| fields.get(*key)).and_then(Value::as_str),
        _ => None,
    };
    why.map_or_else(|| "not measured".to_owned(), |why| format!("not measured: {why}"))
}

/// Formats a number, for example milliseconds, with about four significant digits.
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

/// The value formatted by [`figure`], or [`ABSENT`].
pub(super) fn ms(value: &Value) -> String {
    number(value).map_or_else(|| ABSENT.to_owned(), figure)
}

/// The value formatted by [`grouped`], or [`ABSENT`].
pub(super) fn integer(value: &Value) -> String {
    number(value).map_or_else(|| ABSENT.to_owned(), grouped)
}

/// Formats an integer with thousands separators.
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

/// Formats bytes with a binary unit.
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

/// The value formatted by [`size`], or [`ABSENT`].
pub(super) fn bytes(value: &Value) -> String {
    non_negative(value).map_or_else(|| ABSENT.to_owned(), size)
}

/// Shortens text to at most `most` characters, with an ellipsis.
pub(super) fn truncate(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The elements of an array; none for other values.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The fields of an object; none for other values.
pub(super) fn fields(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::{bytes, figure, grouped, integer, ms, not_measured, number, size, truncate};
    use serde_json::json;

    /// Breaks if small times lose digits or large ones get too many.
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

    /// Breaks if a missing or absurd field becomes a number.
    #[test]
    fn a_missing_value_is_shown_as_missing() {
        for value in [json!(null), json!("57"), json!([1]), json!({}), json!(1e300)] {
            assert_eq!((number(&value), ms(&value).as_str(), integer(&value).as_str()), (None, "-", "-"), "{value}");
        }
        assert_eq!(bytes(&json!(-5)), "-");
        assert_eq!(not_measured(&json!(null)), "not measured");
        assert_eq!(not_measured(&json!("no sensor")), "not measured: no sensor");
        assert_eq!(not_measured(&json!({"why": "no sensor"})), "not measured: no sensor");
    }

    /// Breaks if text is cut at bytes, which would split a character.
    #[test]
    fn long_words_are_cut_between_letters() {
        assert_eq!(truncate("größer", 6), "größer");
        assert_eq!(truncate("größere", 4), "grö…");
    }
}
