//! An SVG builder. It escapes all text; CSS classes must be trusted.

use super::html::escape;
use super::scale::Scale;
use std::fmt::Write as _;

/// Width of every chart in px: fits a landscape page.
pub(super) const WIDTH: f64 = 960.0;

/// Coordinates in px: right, down.
pub(super) type At = (f64, f64);

/// An unfinished drawing.
pub(super) struct Svg {
    id: &'static str,
    height: f64,
    body: String,
}

/// Edges of the plot area of a chart, px.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Svg {
    /// An empty drawing with the HTML id `id`.
    pub(super) fn new(id: &'static str, height: f64) -> Self {
        Self { id, height, body: String::new() }
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    pub(super) fn line(&mut self, class: &str, from: At, to: At) {
        self.push(format_args!(r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#, from.0, from.1, to.0, to.1));
    }

    /// A rectangle with a tooltip.
    pub(super) fn rect(&mut self, class: &str, at: At, size: At, tip: &str) {
        self.push(format_args!(
            r#"<rect class="{class}" x="{:.2}" y="{:.1}" width="{:.2}" height="{:.1}">{}</rect>"#,
            at.0,
            at.1,
            size.0.max(0.0),
            size.1.max(0.0),
            titled(tip)
        ));
    }

    pub(super) fn dot(&mut self, class: &str, at: At, radius: f64, tip: &str) {
        self.push(format_args!(r#"<circle class="{class}" cx="{:.1}" cy="{:.1}" r="{radius:.1}">{}</circle>"#, at.0, at.1, titled(tip)));
    }

    /// A polyline through `points`, or a polygon if `closed`.
    pub(super) fn path(&mut self, class: &str, points: impl IntoIterator<Item = At>, closed: bool, tip: &str) {
        let mut d = String::new();
        for (i, (x, y)) in points.into_iter().enumerate() {
            let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        if closed {
            d.push('Z');
        }
        self.push(format_args!(r#"<path class="{class}" d="{d}">{}</path>"#, titled(tip)));
    }

    /// Text. The class aligns it: it begins at `at`, or with `mid` or `end` is centred or ends
    /// there.
    pub(super) fn text(&mut self, class: &str, at: At, text: &str) {
        self.push(format_args!(r#"<text class="{class}" x="{:.1}" y="{:.1}">{}</text>"#, at.0, at.1, escape(text)));
    }

    /// Grid, ticks and titles of both axes around `frame`.
    pub(super) fn axes(&mut self, frame: Frame, x: (&Scale, &str), y: (&Scale, &str)) {
        for (value, label) in x.0.ticks() {
            let at = x.0.at(value);
            self.line("grid", (at, frame.top), (at, frame.bottom));
            self.text("tick mid", (at, frame.bottom + 16.0), &label);
        }
        for (value, label) in y.0.ticks() {
            let at = y.0.at(value);
            self.line("grid", (frame.left, at), (frame.right, at));
            self.text("tick end", (frame.left - 6.0, at + 4.0), &label);
        }
        self.line("axis", (frame.left, frame.bottom), (frame.right, frame.bottom));
        self.text("name end", (frame.right, frame.bottom + 34.0), x.1);
        self.text("name", (4.0, frame.top - 10.0), y.1);
    }

    /// The finished drawing. A screen reader reads `title` and `desc`.
    pub(super) fn finish(self, title: &str, desc: &str) -> String {
        let Self { id, height, body } = self;
        format!(
            r#"<div class="wide"><svg id="{id}" role="img" aria-labelledby="{id}-title {id}-desc" width="{WIDTH}" height="{height:.0}" viewBox="0 0 {WIDTH} {height:.0}">
<title id="{id}-title">{}</title>
<desc id="{id}-desc">{}</desc>
{body}</svg></div>
"#,
            escape(title),
            escape(desc)
        )
    }
}

fn titled(tip: &str) -> String {
    if tip.is_empty() { String::new() } else { format!("<title>{}</title>", escape(tip)) }
}

#[cfg(test)]
mod tests {
    use super::Svg;

    /// Breaks if an element does not escape its text.
    #[test]
    fn no_text_leaves_its_element() {
        let mut svg = Svg::new("chart-test", 10.0);
        let hostile = "</text></svg><script>hit()</script>\" onload=\"hit()";
        svg.rect("o0", (0.0, 0.0), (1.0, 1.0), hostile);
        svg.dot("o0", (0.0, 0.0), 1.0, hostile);
        svg.path("o0", [(0.0, 0.0), (1.0, 1.0)], true, hostile);
        svg.text("tick", (0.0, 0.0), hostile);
        let page = svg.finish(hostile, hostile);
        assert!(!page.contains("<script") && !page.contains("\" onload"), "{page}");
        assert_eq!(page.matches("</svg>").count(), 1);
    }
}
