//! HTML building blocks: escaped text, sections and placeholders.

/// Escapes text for HTML content and quoted attributes. Control characters and characters that
/// change the writing direction become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A section of the page: title, introduction and content. `name` and `lead` are text, `body` is
/// HTML.
pub(super) fn html_section(name: &str, lead: &str, body: &str) -> String {
    let lead = if lead.is_empty() { String::new() } else { format!("<p class=\"lead\">{}</p>\n", escape(lead)) };
    format!("<section>\n<h2>{}</h2>\n{lead}{body}</section>\n", escape(name))
}

/// Stands in for a chart without data.
pub(super) fn placeholder(why: &str) -> String {
    format!("<p class=\"absent\">{}</p>\n", escape(why))
}
