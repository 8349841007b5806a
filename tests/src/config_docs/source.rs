//! What the sources of the configuration's types say: fields, choices, doc comments, ranges.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::BTreeMap;
use std::path::Path;
use syn::{Attribute, Expr, Fields, GenericArgument, Item, ItemEnum, ItemStruct, Lit, Meta, PathArguments, Type};

/// A key of a struct, or a choice of an enum.
#[derive(Debug, Clone)]
pub(super) struct Field {
    /// As YAML names it.
    pub(super) key: String,
    /// The name of its type, without `Option`.
    pub(super) kind: String,
    /// Whether it is an `Option`.
    pub(super) optional: bool,
    /// Its doc comment in one line.
    pub(super) doc: String,
}

/// The values of a type that is no enum.
fn plain_values(kind: &str) -> &'static str {
    match kind {
        "bool" => "`true`, `false`",
        "String" => "text",
        "usize" | "u64" | "u32" => "whole number",
        "f64" | "f32" => "number",
        kind if kind.starts_with("Vec") => "list",
        kind if kind.starts_with('[') => "list of fixed length",
        _ => "",
    }
}

/// The types below a folder, by name, and the ranges that are checked, by key.
pub(super) struct Types {
    structs: BTreeMap<String, ItemStruct>,
    enums: BTreeMap<String, ItemEnum>,
    ranges: BTreeMap<String, String>,
}

impl Types {
    pub(super) fn read(folder: &Path) -> Self {
        let mut types = Self { structs: BTreeMap::new(), enums: BTreeMap::new(), ranges: BTreeMap::new() };
        types.read_folder(folder);
        types
    }

    fn read_folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.read_folder(&path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                find_ranges(file.to_token_stream(), &mut self.ranges);
                for item in file.items {
                    match item {
                        Item::Struct(item) if reads(&item.attrs) => drop(self.structs.insert(item.ident.to_string(), item)),
                        Item::Enum(item) if reads(&item.attrs) => drop(self.enums.insert(item.ident.to_string(), item)),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Whether `kind` is a struct with named keys.
    pub(super) fn is_struct(&self, kind: &str) -> bool {
        self.structs.get(kind).is_some_and(|item| matches!(item.fields, Fields::Named(_)))
    }

    /// The keys of the struct `kind`, in order.
    pub(super) fn fields(&self, kind: &str) -> Vec<Field> {
        let Some(item) = self.structs.get(kind) else { panic!("no struct {kind} is read from YAML") };
        let field = |field: &syn::Field| {
            let (kind, optional) = type_name(&field.ty);
            let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            Field { key: renamed(&field.attrs).unwrap_or(name), kind, optional, doc: doc(&field.attrs) }
        };
        item.fields.iter().filter(|field| !is_skipped(&field.attrs)).map(field).collect()
    }

    /// The choices of the enum `kind`; none where it is no enum.
    pub(super) fn choices(&self, kind: &str) -> Vec<Field> {
        let Some(item) = self.enums.get(kind) else { return Vec::new() };
        let style = attribute(&item.attrs, "rename_all").unwrap_or_default();
        let choice = |variant: &syn::Variant| {
            let name = renamed(&variant.attrs).unwrap_or_else(|| styled(&variant.ident.to_string(), &style));
            Field { key: name, kind: String::new(), optional: false, doc: doc(&variant.attrs) }
        };
        if is_untagged(&item.attrs) { Vec::new() } else { item.variants.iter().map(choice).collect() }
    }

    /// The range of `key`, whose type is `kind`: what is checked of it, or of its elements; where
    /// nothing is checked, the values of the type.
    pub(super) fn range(&self, key: &str, kind: &str) -> String {
        if let Some(range) = self.ranges.get(key) {
            return range.clone();
        }
        let elements = self.ranges.iter().filter_map(|(checked, range)| {
            let element = checked.strip_prefix(key).filter(|rest| rest.starts_with('['))?;
            Some(format!("; `{element}`: {range}"))
        });
        self.values(kind) + &elements.collect::<String>()
    }

    /// The values of the type `kind`.
    fn values(&self, kind: &str) -> String {
        let Some(item) = self.enums.get(kind) else { return plain_values(kind).to_owned() };
        if is_untagged(&item.attrs) {
            let kinds = item.variants.iter().filter_map(|variant| variant.fields.iter().next()).map(|field| type_name(&field.ty).0);
            return kinds.map(|kind| self.values(&kind)).collect::<Vec<_>>().join(", or ");
        }
        self.choices(kind).iter().map(|choice| format!("`{}`", choice.key)).collect::<Vec<_>>().join(", ")
    }
}

/// Whether the choices of an enum are told apart by their type: they have no name in YAML.
fn is_untagged(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| a.to_token_stream().to_string().contains("untagged"))
}

/// Whether a type is read from YAML.
fn reads(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| a.path().is_ident("derive") && a.to_token_stream().to_string().contains("Deserialize"))
}

/// Whether serde leaves a field out: it is no key.
fn is_skipped(attributes: &[Attribute]) -> bool {
    let serde = attributes.iter().filter(|a| a.path().is_ident("serde"));
    serde.map(|a| a.to_token_stream().to_string()).any(|text| text.contains("(skip)"))
}

fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|a| match &a.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join(" ").trim().to_owned();
    // Links of rustdoc lead nowhere on the page.
    text.replace("[`", "`").replace("`]", "`")
}

/// The value of `name = "…"` in a `serde` attribute.
fn attribute(attributes: &[Attribute], name: &str) -> Option<String> {
    let serde = attributes.iter().filter(|a| a.path().is_ident("serde"));
    serde.map(|a| a.to_token_stream().to_string()).find_map(|text| {
        let (_, rest) = text.split_once(&format!("{name} = \""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    })
}

fn renamed(attributes: &[Attribute]) -> Option<String> {
    attribute(attributes, "rename")
}

/// A variant's name as serde's style writes it.
fn styled(name: &str, style: &str) -> String {
    let mut out = String::new();
    for (i, letter) in name.chars().enumerate() {
        if style == "snake_case" && letter.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    if style.is_empty() { name.to_owned() } else { out }
}

/// The last name of a type, and whether it stands in an `Option`.
fn type_name(kind: &Type) -> (String, bool) {
    if let Type::Path(path) = kind
        && let Some(last) = path.path.segments.last()
    {
        if last.ident == "Option"
            && let PathArguments::AngleBracketed(inner) = &last.arguments
            && let Some(GenericArgument::Type(inner)) = inner.args.first()
        {
            return (type_name(inner).0, true);
        }
        return (last.ident.to_string(), false);
    }
    (kind.to_token_stream().to_string(), false)
}

/// Finds the calls of `runtime/core/src/ranges.rs`: `within("key", value, low, high)`, `between`
/// and `inside` with the same arguments, `positive("key", value, high)`, and `above("key", value,
/// low)`.
fn find_ranges(tokens: TokenStream, ranges: &mut BTreeMap<String, String>) {
    let mut call = String::new();
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            let arguments = split(group.stream());
            let key = arguments.first().map(|first| first.trim_matches('"').to_owned()).unwrap_or_default();
            match (call.as_str(), arguments.as_slice()) {
                ("within" | "between", [_, _, low, high]) => drop(ranges.insert(key, format!("{low} to {high}"))),
                ("inside", [_, _, low, high]) => drop(ranges.insert(key, format!("above {low}, below {high}"))),
                ("above", [_, _, low]) => drop(ranges.insert(key, format!("above {low}"))),
                ("positive", [_, _, high]) => drop(ranges.insert(key, format!("above 0, at most {high}"))),
                _ => {}
            }
            find_ranges(group.stream(), ranges);
        }
        call = match token {
            TokenTree::Ident(ident) => ident.to_string(),
            _ => String::new(),
        };
    }
}

/// The arguments of a call, each as readable text.
fn split(tokens: TokenStream) -> Vec<String> {
    let mut arguments = vec![String::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(p) if p.as_char() == ',' => arguments.push(String::new()),
            _ => arguments.last_mut().unwrap().push_str(&token.to_string()),
        }
    }
    arguments.retain(|argument| !argument.is_empty());
    for argument in &mut arguments {
        *argument = match argument.as_str() {
            "isize::MAXasusize" => "the address space".to_owned(),
            "i64::MAXasusize" => "2^63 − 1".to_owned(),
            "period_ms+100" => "(time between frames + 100)".to_owned(),
            "model.video_tokens()" => "the video tokens of a chunk".to_owned(),
            "model.action_tokens()" => "the action tokens of a chunk".to_owned(),
            text if text.starts_with('"') => continue,
            other => match other.split_once("<<") {
                Some((one, shift)) => format!("{one}·2^{shift}").replace("1·", ""),
                None => other.trim_end_matches(".0").replace('_', ""),
            },
        };
    }
    arguments
}

/// `text` in lines of at most `columns` characters.
pub(super) fn wrap(text: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > columns {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out
}
