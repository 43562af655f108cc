//! A feature view: the keys that name an entity, and its features, typed.
//!
//! In flows a builder or JSON; out flows a [`View`], checked whole: names are distinct and fit PostgreSQL, keys have types
//! that name an entity. A view says nothing of any server: what its tables are is `ddl`'s, its statements `read`'s and `write`'s.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Error, ErrorKind};
use super::value::Type;

/// A key column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    /// Its type; not a floating one.
    #[serde(rename = "type")]
    pub ty: Type,
}

/// A feature column. A cell of it may always be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: Type,
    /// The levels a category may take, where they are known: a model is bound only if it knows them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<Vec<String>>,
    /// What it means, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Feature {
    /// A feature without known levels.
    pub fn new(name: impl Into<String>, ty: Type) -> Self {
        Self { name: name.into(), ty, levels: None, description: String::new() }
    }

    /// A category: text that takes one of `levels`.
    pub fn category<L: Into<String>>(name: impl Into<String>, levels: impl IntoIterator<Item = L>) -> Self {
        Self { levels: Some(levels.into_iter().map(Into::into).collect()), ..Self::new(name, Type::Text) }
    }
}

/// What is kept of the past: every row ever written, by event time and by the time it became known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// How many days of events are kept; for ever if not given. Whole months are dropped, once all of a month is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    name: String,
    #[serde(default = "first_version")]
    version: u32,
    keys: Vec<KeyColumn>,
    features: Vec<Feature>,
    #[serde(default, rename = "ttl_seconds", with = "ttl_seconds", skip_serializing_if = "Option::is_none")]
    ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<History>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    owner: String,
}

/// A feature view: immutable, cheap to clone.
///
/// ```
/// use cenote::store::{Type, View};
/// use std::time::Duration;
///
/// let view = View::builder("flight_stats")
///     .key("carrier", Type::Text)
///     .key("flight", Type::I32)
///     .feature("mean_delay", Type::F64)
///     .ttl(Duration::from_secs(24 * 3600))
///     .build()?;
/// assert_eq!(View::from_json(&view.to_json())?, view);
/// # Ok::<(), cenote::store::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    definition: Arc<Definition>,
}

/// Builds a [`View`]; nothing is checked before [`build`](Self::build).
#[derive(Debug, Clone)]
pub struct ViewBuilder {
    definition: Definition,
}

impl View {
    /// Begins a view called `name`, version 1.
    pub fn builder(name: impl Into<String>) -> ViewBuilder {
        let definition = Definition {
            name: name.into(),
            version: first_version(),
            keys: Vec::new(),
            features: Vec::new(),
            ttl: None,
            history: None,
            description: String::new(),
            owner: String::new(),
        };
        ViewBuilder { definition }
    }

    /// Reads a view from its JSON form.
    ///
    /// # Errors
    /// If the JSON has not that form, or the view contradicts itself as in [`ViewBuilder::build`].
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let definition = serde_json::from_str(json)
            .map_err(|error| Error::from(ErrorKind::View { view: String::new(), what: error.to_string() }))?;
        ViewBuilder { definition }.build()
    }

    /// The view's JSON form, the same text for the same view.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&*self.definition).expect("a definition has only texts, numbers and lists")
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// The version: two versions have tables side by side.
    pub fn version(&self) -> u32 {
        self.definition.version
    }

    /// The key columns in order.
    pub fn keys(&self) -> &[KeyColumn] {
        &self.definition.keys
    }

    /// The features in order.
    pub fn features(&self) -> &[Feature] {
        &self.definition.features
    }

    /// How old a row's event may be to count as fresh; `None` for ever.
    pub fn ttl(&self) -> Option<Duration> {
        self.definition.ttl
    }

    /// What is kept of the past, if anything.
    pub fn history(&self) -> Option<&History> {
        self.definition.history.as_ref()
    }

    /// What the view is, for people.
    pub fn description(&self) -> &str {
        &self.definition.description
    }

    /// Whom to ask about it.
    pub fn owner(&self) -> &str {
        &self.definition.owner
    }

    /// SHA-256 of the JSON form, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(self.to_json()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The name of its online table, without the schema.
    pub fn table(&self) -> String {
        format!("{}_v{}", self.name(), self.version())
    }

    /// The name of its history table, without the schema.
    pub fn history_table(&self) -> String {
        format!("{}_history", self.table())
    }
}

impl ViewBuilder {
    /// The version, 1 if not given.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.definition.version = version;
        self
    }

    /// Adds a key column.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>, ty: Type) -> Self {
        self.definition.keys.push(KeyColumn { name: name.into(), ty });
        self
    }

    /// Adds a feature.
    #[must_use]
    pub fn feature(self, name: impl Into<String>, ty: Type) -> Self {
        self.push(Feature::new(name, ty))
    }

    /// Adds a category with its levels.
    #[must_use]
    pub fn category<L: Into<String>>(
        self,
        name: impl Into<String>,
        levels: impl IntoIterator<Item = L>,
    ) -> Self {
        self.push(Feature::category(name, levels))
    }

    /// Adds a feature that was made beforehand.
    #[must_use]
    pub fn push(mut self, feature: Feature) -> Self {
        self.definition.features.push(feature);
        self
    }

    /// How old a row's event may be to count as fresh: whole seconds. Exactly this old is still fresh.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.definition.ttl = Some(ttl);
        self
    }

    /// Keeps the past too, so that features can be joined as they were known at a time.
    #[must_use]
    pub fn history(mut self, history: History) -> Self {
        self.definition.history = Some(history);
        self
    }

    /// What the view is, for people.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.definition.description = description.into();
        self
    }

    /// Whom to ask about it.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.definition.owner = owner.into();
        self
    }

    /// Checks the view whole.
    ///
    /// # Errors
    /// If the name is not lower-case letters, digits and `_` (at most 40, a letter first), the version is 0, there is no key or
    /// no feature, a column's name is empty, too long for PostgreSQL (63 bytes), holds a NUL, stands twice or is one of the
    /// table's own (`event_ts`, `written_at`, `extra`), a key's type cannot name one, levels are not text or stand twice, or
    /// the ttl is not whole seconds.
    pub fn build(self) -> Result<View, Error> {
        let definition = self.definition;
        let refuse = |what: String| Err(ErrorKind::View { view: definition.name.clone(), what }.into());
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !definition.name.starts_with(|c: char| c.is_ascii_lowercase())
            || !definition.name.chars().all(fits)
            || definition.name.len() > 40
        {
            return refuse(
                "a name is up to 40 lower-case letters, digits and '_', a letter first".to_owned(),
            );
        }
        if definition.version == 0 {
            return refuse("versions begin at 1".to_owned());
        }
        if definition.keys.is_empty() || definition.features.is_empty() {
            return refuse("a view has at least one key and one feature".to_owned());
        }
        if definition.ttl.is_some_and(|ttl| ttl.is_zero() || ttl.subsec_nanos() != 0) {
            return refuse("a ttl is whole seconds, at least one".to_owned());
        }
        let mut seen = HashSet::from(["event_ts", "written_at", "extra"]);
        let columns = definition.keys.iter().map(|key| &key.name);
        for name in columns.chain(definition.features.iter().map(|feature| &feature.name)) {
            if name.is_empty() || name.len() > 63 || name.contains('\0') {
                return refuse(format!("column {name:?}: a name is 1 to 63 bytes without NUL"));
            }
            if !seen.insert(name) {
                return refuse(format!("column {name:?} stands twice, or is one of the table's own"));
            }
        }
        for key in &definition.keys {
            if !key.ty.is_key() {
                return refuse(format!("column {:?}: {} cannot name an entity", key.name, key.ty));
            }
        }
        for feature in &definition.features {
            let Some(levels) = &feature.levels else { continue };
            if feature.ty != Type::Text {
                return refuse(format!("column {:?}: levels are for text, not {}", feature.name, feature.ty));
            }
            let mut seen = HashSet::new();
            if let Some(level) = levels.iter().find(|level| !seen.insert(*level)) {
                return refuse(format!("column {:?}: level {level:?} stands twice", feature.name));
            }
        }
        Ok(View { definition: Arc::new(definition) })
    }
}

fn first_version() -> u32 {
    1
}

mod ttl_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(ttl: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
        ttl.map(|ttl| ttl.as_secs()).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(input)?.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ViewBuilder {
        View::builder("v").key("id", Type::I64).feature("x", Type::F64)
    }

    #[test]
    fn contradictions_are_refused() {
        let cases = [
            (View::builder("V").key("id", Type::I64).feature("x", Type::F64), "lower-case"),
            (View::builder("v").feature("x", Type::F64), "at least one key"),
            (builder().version(0), "begin at 1"),
            (builder().feature("x", Type::F32), "stands twice"),
            (builder().feature("event_ts", Type::F32), "stands twice"),
            (builder().feature("", Type::F32), "1 to 63 bytes"),
            (builder().feature("a\0b", Type::F32), "1 to 63 bytes"),
            (builder().key("f", Type::F64), "cannot name an entity"),
            (builder().category("c", ["a", "b", "a"]), "stands twice"),
            (builder().ttl(Duration::from_millis(1500)), "whole seconds"),
        ];
        for (builder, reason) in cases {
            let error = builder.clone().build().expect_err(reason).to_string();
            assert!(error.contains(reason), "{error} should say {reason}");
        }
    }

    #[test]
    fn json_says_the_same_view() {
        let view = builder().category("c", ["a", "ü"]).ttl(Duration::from_secs(60)).build().unwrap();
        let json = view.to_json();
        assert_eq!(
            json,
            r#"{"name":"v","version":1,"keys":[{"name":"id","type":"i64"}],"features":[{"name":"x","type":"f64"},{"name":"c","type":"text","levels":["a","ü"]}],"ttl_seconds":60}"#
        );
        assert_eq!(View::from_json(&json).unwrap(), view);
        assert!(
            View::from_json(&json.replace("ttl_seconds", "tll")).is_err(),
            "a misspelt member is refused"
        );
    }
}
