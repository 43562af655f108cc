//! What the `#[row(...)]` attributes say, checked where each stands.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Lit, LitInt, LitStr, Result, Token};

/// The types of a column that can be named, in the view's JSON form.
const TYPES: [&str; 20] = [
    "bool",
    "i16",
    "i32",
    "i64",
    "f32",
    "f64",
    "text",
    "timestamp",
    "date",
    "numeric",
    "uuid",
    "json",
    "bool[]",
    "i16[]",
    "i32[]",
    "i64[]",
    "f32[]",
    "f64[]",
    "text[]",
    "vector",
];

/// What stands on the struct.
#[derive(Default)]
pub(crate) struct OfStruct {
    pub(crate) view: Option<LitStr>,
    pub(crate) version: Option<LitInt>,
    /// Seconds.
    pub(crate) ttl: Option<u64>,
    /// Days of its retention, if there is one.
    pub(crate) history: Option<Option<u32>>,
    pub(crate) description: Option<LitStr>,
    pub(crate) owner: Option<LitStr>,
}

/// What stands on a field.
#[derive(Default)]
pub(crate) struct OfField {
    pub(crate) key: Option<Span>,
    pub(crate) entity: Option<LitStr>,
    pub(crate) event_ts: Option<Span>,
    pub(crate) category: Option<Vec<LitStr>>,
    pub(crate) default: Option<Lit>,
    pub(crate) ty: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) description: Option<LitStr>,
    /// What only a feature may have, for messages.
    pub(crate) of_feature: Option<(Span, &'static str)>,
}

pub(crate) fn of_struct(attributes: &[Attribute]) -> Result<OfStruct> {
    let mut all = OfStruct::default();
    each(attributes, |meta| {
        let path = &meta.path;
        if path.is_ident("view") {
            once(&mut all.view, meta, |meta| meta.value()?.parse())
        } else if path.is_ident("version") {
            once(&mut all.version, meta, |meta| {
                let version: LitInt = meta.value()?.parse()?;
                match version.base10_parse::<u32>() {
                    Ok(1..) => Ok(version),
                    _ => Err(Error::new(version.span(), "a version is a whole number from 1")),
                }
            })
        } else if path.is_ident("ttl") {
            once(&mut all.ttl, meta, |meta| seconds(&meta.value()?.parse()?))
        } else if path.is_ident("history") {
            once(&mut all.history, meta, |meta| {
                if !meta.input.peek(Token![=]) {
                    return Ok(None);
                }
                let text: LitStr = meta.value()?.parse()?;
                match u32::try_from(seconds(&text)? / 86_400) {
                    Ok(days @ 1..) => Ok(Some(days)),
                    _ => Err(Error::new(text.span(), "a retention is at least a day: \"730d\"")),
                }
            })
        } else if path.is_ident("description") {
            once(&mut all.description, meta, |meta| meta.value()?.parse())
        } else if path.is_ident("owner") {
            once(&mut all.owner, meta, |meta| meta.value()?.parse())
        } else {
            Err(meta.error("a view has: view, version, ttl, history, description, owner"))
        }
    })?;
    Ok(all)
}

pub(crate) fn of_field(attributes: &[Attribute]) -> Result<OfField> {
    let mut all = OfField::default();
    each(attributes, |meta| {
        let path = meta.path.clone();
        let span = path.get_ident().map_or_else(Span::call_site, syn::Ident::span);
        let mut of_feature = |what| all.of_feature = all.of_feature.or(Some((span, what)));
        if path.is_ident("key") {
            once(&mut all.key, meta, |_| Ok(span))
        } else if path.is_ident("entity") {
            once(&mut all.entity, meta, |meta| meta.value()?.parse())
        } else if path.is_ident("event_ts") {
            once(&mut all.event_ts, meta, |_| Ok(span))
        } else if path.is_ident("category") {
            of_feature("category");
            once(&mut all.category, meta, |meta| {
                if !meta.input.peek(syn::token::Paren) {
                    return Ok(Vec::new());
                }
                let inner;
                syn::parenthesized!(inner in meta.input);
                let levels: Punctuated<LitStr, Token![,]> = Punctuated::parse_terminated(&inner)?;
                for (place, level) in levels.iter().enumerate() {
                    if levels.iter().take(place).any(|other| other.value() == level.value()) {
                        return Err(Error::new(level.span(), "this level stands twice"));
                    }
                }
                Ok(levels.into_iter().collect())
            })
        } else if path.is_ident("default") {
            of_feature("default");
            once(&mut all.default, meta, |meta| {
                let value = meta.value()?;
                if value.peek(Token![-]) {
                    return Err(value
                        .error("a negative default is given as text of a numeric, or in the view's JSON"));
                }
                let literal: Lit = value.parse()?;
                match literal {
                    Lit::Str(_) | Lit::Int(_) | Lit::Float(_) | Lit::Bool(_) => Ok(literal),
                    other => Err(Error::new(other.span(), "a default is a number, a text, true or false")),
                }
            })
        } else if path.is_ident("type") {
            once(&mut all.ty, meta, |meta| {
                let name: LitStr = meta.value()?.parse()?;
                if TYPES.contains(&name.value().as_str()) {
                    return Ok(name);
                }
                Err(Error::new(name.span(), format!("no type of a column; there are {}", TYPES.join(", "))))
            })
        } else if path.is_ident("name") {
            once(&mut all.name, meta, |meta| meta.value()?.parse())
        } else if path.is_ident("description") {
            of_feature("description");
            once(&mut all.description, meta, |meta| meta.value()?.parse())
        } else {
            Err(meta.error("a field has: key, entity, event_ts, category, default, type, name, description"))
        }
    })?;
    Ok(all)
}

fn each(attributes: &[Attribute], mut read: impl FnMut(&ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    let ours = attributes.iter().filter(|attribute| attribute.path().is_ident("row"));
    for attribute in ours {
        attribute.parse_nested_meta(|meta| read(&meta))?;
    }
    Ok(())
}

fn once<T>(
    slot: &mut Option<T>,
    meta: &ParseNestedMeta<'_>,
    read: impl FnOnce(&ParseNestedMeta<'_>) -> Result<T>,
) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error("this is said twice"));
    }
    *slot = Some(read(meta)?);
    Ok(())
}

/// Seconds of a duration such as `90s`, `15m`, `6h`, `30d`.
fn seconds(text: &LitStr) -> Result<u64> {
    let value = text.value();
    let wrong = || Error::new(text.span(), "a duration is a whole number and s, m, h or d: \"30d\"");
    let unit = match value.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = value[..value.len() - 1].parse().map_err(|_| wrong())?;
    count.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or_else(wrong)
}
