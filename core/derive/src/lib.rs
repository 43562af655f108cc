//! `#[derive(FeatureRow)]`: a Rust struct as a row of a feature view.
//!
//! In flows a struct with `#[row(...)]` attributes; out flows the view that it is, and the way from the struct to a record and
//! back. Procedural macros need a crate of their own; users have this one through `cenote::store::FeatureRow`. Whatever can be wrong
//! with the attributes is said at their place when the program is compiled.

mod attributes;
mod expand;

use proc_macro::TokenStream;

/// Makes a struct a row of a feature view; see `cenote::store::FeatureRow`.
///
/// On the struct: `#[row(view = "name")]`, and of `version = 2`, `ttl = "30d"` (`s`, `m`, `h`, `d`), `history` or
/// `history = "730d"` (its retention), `description = "..."`, `owner = "..."` what is wanted. On a field: `key`, with
/// `entity = "airport"` if its name is a role; `event_ts`, on exactly one; else it is a feature, with `category("a", "b")`,
/// `default = 0`, `type = "numeric"` or `description = "..."`; `name = "..."` where the column has another name than the field.
#[proc_macro_derive(FeatureRow, attributes(row))]
pub fn feature_row(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
