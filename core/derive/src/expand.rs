//! From a struct to the implementation of `FeatureRow`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, Ident, LitStr, Result, Type};

use crate::attributes::{self, OfField, OfStruct};

/// A field with what its attributes say.
struct Field<'a> {
    ident: &'a Ident,
    ty: &'a Type,
    says: OfField,
}

impl Field<'_> {
    /// The column's name.
    fn name(&self) -> LitStr {
        let plain = || LitStr::new(self.ident.to_string().trim_start_matches("r#"), self.ident.span());
        self.says.name.clone().unwrap_or_else(plain)
    }

    /// The column's type, as an expression.
    fn column_type(&self) -> TokenStream {
        let ty = self.ty;
        match &self.says.ty {
            Some(name) => quote!(::cenote::store::Type::named(#name).expect("the macro knows the names")),
            None => quote!(<#ty as ::cenote::store::FeatureType>::TYPE),
        }
    }
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let refuse = |what| Err(Error::new(input.ident.span(), what));
    let Data::Struct(data) = &input.data else {
        return refuse("a row of a view is a struct");
    };
    let Fields::Named(named) = &data.fields else {
        return refuse("a row of a view has named fields");
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a row of a view has no parameters"));
    }
    let of_struct = attributes::of_struct(&input.attrs)?;
    let Some(view) = &of_struct.view else {
        return refuse("the view's name is missing: #[row(view = \"name\")]");
    };
    let (mut keys, mut events, mut features) = (Vec::new(), Vec::new(), Vec::new());
    for field in &named.named {
        let ident = field.ident.as_ref().expect("the fields are named");
        let field = Field { ident, ty: &field.ty, says: attributes::of_field(&field.attrs)? };
        if let Some(entity) = field.says.entity.as_ref().filter(|_| field.says.key.is_none()) {
            return Err(Error::new(entity.span(), "only a key names an entity"));
        }
        match (field.says.key, field.says.event_ts, field.says.of_feature) {
            (Some(_), Some(span), _) => {
                return Err(Error::new(span, "a field is a key or the event time, not both"));
            }
            (None, None, _) => features.push(field),
            (_, _, Some((span, what))) => {
                return Err(Error::new(span, format!("only a feature has a {what}")));
            }
            (Some(_), None, None) => keys.push(field),
            (None, Some(_), None) => events.push(field),
        }
    }
    if keys.is_empty() {
        return refuse("no field is a key: #[row(key)]");
    }
    if features.is_empty() {
        return refuse("no field is a feature: a view has at least one");
    }
    let [event] = events.as_slice() else {
        let what = "exactly one field is the event time: #[row(event_ts)]";
        return match events.get(1) {
            Some(second) => Err(Error::new(second.ident.span(), what)),
            None => refuse(what),
        };
    };
    Ok(implementation(&input.ident, &of_struct, view, &keys, event, &features))
}

fn implementation(
    name: &Ident,
    says: &OfStruct,
    view: &LitStr,
    keys: &[Field<'_>],
    event: &Field<'_>,
    features: &[Field<'_>],
) -> TokenStream {
    let definition = definition(says, view, keys, event, features);
    let key_types: Vec<_> = keys.iter().map(|key| key.ty).collect();
    let key_fields: Vec<_> = keys.iter().map(|key| key.ident).collect();
    let key_names: Vec<_> = (0..keys.len()).map(|place| format_ident!("key_{place}")).collect();
    // One key is itself, several are a tuple.
    let (key_type, key_pattern) = match (key_types.as_slice(), key_names.as_slice()) {
        ([ty], [name]) => (quote!(#ty), quote!(#name)),
        _ => (quote!((#(#key_types,)*)), quote!((#(#key_names,)*))),
    };
    let (event_field, event_type) = (event.ident, event.ty);
    let (feature_fields, feature_types): (Vec<_>, Vec<_>) =
        features.iter().map(|feature| (feature.ident, feature.ty)).unzip();
    let feature_names = features.iter().map(Field::name);
    let count = features.len();
    quote! {
        #[automatically_derived]
        impl ::cenote::store::FeatureRow for #name {
            type Key = #key_type;

            fn view() -> ::core::result::Result<::cenote::store::View, ::cenote::store::Error> {
                #definition
            }

            fn key(key: &Self::Key) -> ::cenote::store::Key {
                let #key_pattern = ::core::clone::Clone::clone(key);
                ::cenote::store::Key::new([#(::cenote::store::FeatureType::into_value(#key_names)),*])
            }

            fn into_record(self) -> ::cenote::store::Record {
                let event_ts: ::cenote::store::Timestamp = ::core::convert::Into::into(self.#event_field);
                let values: [::cenote::store::Value; #count] =
                    [#(::cenote::store::FeatureType::into_value(self.#feature_fields)),*];
                let key = ::cenote::store::Key::new([#(::cenote::store::FeatureType::into_value(self.#key_fields)),*]);
                ::cenote::store::Record::new(key, event_ts, values)
            }

            fn from_values(
                key: &Self::Key,
                event_ts: ::cenote::store::Timestamp,
                values: ::std::vec::Vec<::cenote::store::Value>,
            ) -> ::core::result::Result<Self, &'static str> {
                let #key_pattern = ::core::clone::Clone::clone(key);
                let event_ts: #event_type = ::core::convert::From::from(event_ts);
                let mut values = values.into_iter();
                ::core::result::Result::Ok(Self {
                    #(#key_fields: #key_names,)*
                    #event_field: event_ts,
                    #(#feature_fields: values
                        .next()
                        .and_then(<#feature_types as ::cenote::store::FeatureType>::from_value)
                        .ok_or(#feature_names)?,)*
                })
            }
        }
    }
}

/// The expression that builds the view.
fn definition(
    says: &OfStruct,
    view: &LitStr,
    keys: &[Field<'_>],
    event: &Field<'_>,
    features: &[Field<'_>],
) -> TokenStream {
    let mut out = quote!(::cenote::store::View::builder(#view));
    if let Some(version) = &says.version {
        out.extend(quote!(.version(#version)));
    }
    for key in keys {
        let (name, ty) = (key.name(), key.column_type());
        out.extend(match &key.says.entity {
            Some(entity) => quote!(.role(#name, #entity, #ty)),
            None => quote!(.key(#name, #ty)),
        });
    }
    for feature in features {
        let (name, ty) = (feature.name(), feature.column_type());
        let mut one = quote!(::cenote::store::Feature::new(#name, #ty));
        if let Some(levels) = feature.says.category.as_ref().filter(|levels| !levels.is_empty()) {
            one.extend(quote!(.with_levels([#(#levels),*])));
        }
        if let Some(default) = &feature.says.default {
            one.extend(quote!(.with_default(#default)));
        }
        if let Some(text) = &feature.says.description {
            one.extend(quote!(.with_description(#text)));
        }
        out.extend(quote!(.push(#one)));
    }
    if let Some(seconds) = says.ttl {
        out.extend(quote!(.ttl(::core::time::Duration::from_secs(#seconds))));
    }
    if let Some(retention) = says.history {
        let history = match retention {
            Some(days) => {
                quote!(::cenote::store::History { retention_days: ::core::option::Option::Some(#days) })
            }
            None => quote!(::core::default::Default::default()),
        };
        out.extend(quote!(.history(#history)));
    }
    let event_time = event.name();
    if event_time.value() != "event_ts" {
        let name = LitStr::new(&event_time.value(), Span::call_site());
        out.extend(quote!(.event_time(#name)));
    }
    if let Some(text) = &says.description {
        out.extend(quote!(.description(#text)));
    }
    if let Some(text) = &says.owner {
        out.extend(quote!(.owner(#text)));
    }
    quote!(#out.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(item: &str) -> String {
        expand(&syn::parse_str(item).unwrap()).expect_err(item).to_string()
    }

    #[test]
    fn what_is_wrong_is_said() {
        let of = |attributes: &str, fields: &str| format!("#[row({attributes})] struct S {{ {fields} }}");
        let key = "#[row(key)] id: i64,";
        let event = "#[row(event_ts)] at: Timestamp,";
        let whole = format!("{key} {event} x: Option<f64>");
        let cases = [
            ("enum E {}".to_owned(), "is a struct"),
            ("struct S(i64);".to_owned(), "named fields"),
            ("struct S<T> { x: T }".to_owned(), "no parameters"),
            ("struct S { x: f64 }".to_owned(), "view's name is missing"),
            (of("view = 7", &whole), "expected string literal"),
            (of("view = \"v\", view = \"w\"", &whole), "said twice"),
            (of("view = \"v\", version = 0", &whole), "from 1"),
            (of("view = \"v\", ttl = \"30\"", &whole), "s, m, h or d"),
            (of("view = \"v\", ttl = \"0d\"", &whole), "s, m, h or d"),
            (of("view = \"v\", history = \"5h\"", &whole), "at least a day"),
            (of("view = \"v\", retention = 5", &whole), "a view has: view"),
            (of("view = \"v\"", &format!("{event} x: f64")), "no field is a key"),
            (of("view = \"v\"", &format!("{key} x: f64")), "exactly one field is the event time"),
            (
                of("view = \"v\"", &format!("{key} {event} #[row(event_ts)] b: Timestamp, x: f64")),
                "exactly one",
            ),
            (of("view = \"v\"", &format!("{key} {event}")), "no field is a feature"),
            (of("view = \"v\"", &format!("{whole}, #[row(key, event_ts)] y: i64")), "not both"),
            (
                of("view = \"v\"", &format!("{whole}, #[row(key, default = 1)] y: i64")),
                "only a feature has a default",
            ),
            (of("view = \"v\"", &format!("{whole}, #[row(entity = \"e\")] y: i64")), "only a key names"),
            (of("view = \"v\"", &format!("{whole}, #[row(kee)] y: i64")), "a field has: key"),
            (of("view = \"v\"", &format!("{whole}, #[row(type = \"float\")] y: f64")), "no type of a column"),
            (
                of("view = \"v\"", &format!("{whole}, #[row(category(\"a\", \"a\"))] y: String")),
                "stands twice",
            ),
            (of("view = \"v\"", &format!("{whole}, #[row(default = 'c')] y: f64")), "a number, a text"),
        ];
        for (item, expected) in cases {
            let error = error(&item);
            assert!(error.contains(expected), "{item}: {error} should say {expected}");
        }
    }

    #[test]
    fn a_row_is_expanded() {
        let item = "#[row(view = \"v\", version = 2, ttl = \"30d\", history = \"730d\", owner = \"o\")] struct S { \
                    #[row(key, entity = \"airport\")] origin: String, #[row(key)] r#type: i32, \
                    #[row(event_ts)] at: Timestamp, #[row(category(\"a\"), default = \"a\")] x: Option<String> }";
        let code = expand(&syn::parse_str(item).unwrap()).unwrap().to_string();
        for part in [
            "(String , i32 ,)",
            "2592000u64",
            "730u32",
            "role (\"origin\" , \"airport\"",
            "event_time (\"at\")",
            "\"type\"",
        ] {
            assert!(code.contains(part), "{part} is not in {code}");
        }
        syn::parse_str::<syn::File>(&code).unwrap();
    }
}
