//! A feature view: the keys that name an entity, and its features, typed.
//!
//! In flows a builder or JSON; out flows a [`View`], checked whole: names are distinct and fit PostgreSQL, keys have types
//! that name an entity. A view says nothing of any server: what its tables are is `ddl`'s, its statements `read`'s and `write`'s.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Error, ErrorKind};
use super::value::{Type, Value};
use super::wire;

/// A key column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    /// Its type; not a floating one.
    #[serde(rename = "type")]
    pub ty: Type,
    /// The kind of entity that it names, where its name is a role: `origin` and `destination` are both an `airport`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
}

impl KeyColumn {
    /// The kind of entity that the column names: its own name if it has no role.
    pub fn entity(&self) -> &str {
        self.entity.as_deref().unwrap_or(&self.name)
    }
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
    /// What stands in rows that were written without the feature: those that were there before it was added to the view, and
    /// those of a batch that lacks the column. A JSON boolean, number or text that its type can hold. A cell that is written
    /// as missing stays missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// What it means, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Feature {
    /// A feature without known levels.
    pub fn new(name: impl Into<String>, ty: Type) -> Self {
        Self { name: name.into(), ty, levels: None, default: None, description: String::new() }
    }

    /// The same with [`levels`](Self::levels).
    #[must_use]
    pub fn with_levels<L: Into<String>>(self, levels: impl IntoIterator<Item = L>) -> Self {
        Self { levels: Some(levels.into_iter().map(Into::into).collect()), ..self }
    }

    /// The same with a [`description`](Self::description).
    #[must_use]
    pub fn with_description(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// The same with a [`default`](Self::default).
    #[must_use]
    pub fn with_default(self, default: impl Into<serde_json::Value>) -> Self {
        Self { default: Some(default.into()), ..self }
    }

    /// The default as a value of the feature's type; `Err` says what it is instead.
    pub(crate) fn default_value(&self) -> Result<Option<Value>, &'static str> {
        use serde_json::Value as Json;
        let value = match (&self.default, self.ty) {
            (None, _) => return Ok(None),
            (Some(_), Type::List(_) | Type::Vector | Type::Json) => {
                return Err("a default of a list or a document");
            }
            (Some(Json::Bool(value)), _) => Value::Bool(*value),
            (Some(Json::Number(number)), _) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Value::Int(value),
                (None, Some(value)) => Value::Float(value),
                (None, None) => return Err("a number out of range"),
            },
            (
                Some(Json::String(text)),
                Type::Bool | Type::I16 | Type::I32 | Type::I64 | Type::F32 | Type::F64,
            ) => {
                let _ = text;
                return Err("text");
            }
            (Some(Json::String(text)), ty) => Value::parse(text, ty).map_err(|mismatch| mismatch.found)?,
            (Some(_), _) => return Err("no boolean, number or text"),
        };
        let mut bytes = BytesMut::new();
        wire::encode(&value, self.ty, &mut bytes).map_err(|mismatch| mismatch.found)?;
        Ok(Some(value))
    }

    /// A category: text that takes one of `levels`.
    pub fn category<L: Into<String>>(name: impl Into<String>, levels: impl IntoIterator<Item = L>) -> Self {
        Self::new(name, Type::Text).with_levels(levels)
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

/// The documents that a view's features are made from, kept beside them: a third table, of JSON documents by key and event time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDocuments {
    /// Whether what documents contain is indexed (`jsonb_path_ops`): finding is then quick, and writing 17 to 30 times slower.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gin: bool,
    /// Members whose text is indexed, each by the way to it: `["customer", "country"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Vec<String>>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw: Option<RawDocuments>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_time: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    owner: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
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
    /// The JSON Schema (draft 2020-12) of a view's JSON form. What it cannot say, such as that no two columns have one name,
    /// [`from_json`](Self::from_json) checks.
    pub const JSON_SCHEMA: &str = include_str!("view.schema.json");

    /// Begins a view called `name`, version 1.
    pub fn builder(name: impl Into<String>) -> ViewBuilder {
        let definition = Definition {
            name: name.into(),
            version: first_version(),
            keys: Vec::new(),
            features: Vec::new(),
            ttl: None,
            history: None,
            raw: None,
            event_time: None,
            description: String::new(),
            owner: String::new(),
            tags: BTreeMap::new(),
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

    /// The documents that are kept beside the features, if any.
    pub fn raw(&self) -> Option<&RawDocuments> {
        self.definition.raw.as_ref()
    }

    /// What batches, files and tables of this view call the time at which a row holds true: `event_ts` if it has no other name.
    /// The tables' own column is always `event_ts`.
    pub fn event_time(&self) -> &str {
        self.definition.event_time.as_deref().unwrap_or("event_ts")
    }

    /// Names with values, for people and programs.
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.definition.tags
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

    /// The name of the table of its documents, without the schema.
    pub fn raw_table(&self) -> String {
        format!("{}_raw", self.table())
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
        self.definition.keys.push(KeyColumn { name: name.into(), ty, entity: None });
        self
    }

    /// Adds a key column whose name is a role of an entity: `("origin", "airport")`.
    #[must_use]
    pub fn role(mut self, name: impl Into<String>, entity: impl Into<String>, ty: Type) -> Self {
        self.definition.keys.push(KeyColumn { name: name.into(), ty, entity: Some(entity.into()) });
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

    /// Keeps the documents that features are made from.
    #[must_use]
    pub fn raw(mut self, raw: RawDocuments) -> Self {
        self.definition.raw = Some(raw);
        self
    }

    /// What batches and files call the time at which a row holds true.
    #[must_use]
    pub fn event_time(mut self, name: impl Into<String>) -> Self {
        self.definition.event_time = Some(name.into());
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.definition.tags.insert(name.into(), value.into());
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
    /// table's own (`event_ts`, `written_at`, `written_xid`, `extra`) or the view's name of the event time, a key's type cannot
    /// name one, levels are not text or stand twice, a default is none of its feature's type or levels, a path of documents is
    /// empty, or the ttl is not whole seconds.
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
        let mut seen = HashSet::from(["event_ts", "written_at", "written_xid", "extra"]);
        if let Some(name) = &definition.event_time
            && name != "event_ts"
            && (name.is_empty() || !seen.insert(name))
        {
            return refuse(format!("event time {name:?}: a column of that name is the table's own"));
        }
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
            if let Err(found) = feature.default_value() {
                return refuse(format!(
                    "column {:?}: the default is {found}, not {}",
                    feature.name, feature.ty
                ));
            }
            let Some(levels) = &feature.levels else { continue };
            if feature.ty != Type::Text {
                return refuse(format!("column {:?}: levels are for text, not {}", feature.name, feature.ty));
            }
            let mut seen = HashSet::new();
            if let Some(level) = levels.iter().find(|level| !seen.insert(*level)) {
                return refuse(format!("column {:?}: level {level:?} stands twice", feature.name));
            }
            if let Some(serde_json::Value::String(default)) = &feature.default
                && !levels.contains(default)
            {
                return refuse(format!("column {:?}: the default {default:?} is no level", feature.name));
            }
        }
        if definition.raw.as_ref().is_some_and(|raw| raw.paths.iter().any(Vec::is_empty)) {
            return refuse("a path of raw documents names at least one member".to_owned());
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
            (builder().feature("written_xid", Type::F32), "stands twice"),
            (builder().event_time("x"), "stands twice"),
            (builder().event_time("extra"), "table's own"),
            (
                builder().push(Feature::new("n", Type::I16).with_default(40_000)),
                "a number out of range, not smallint",
            ),
            (builder().push(Feature::new("n", Type::I16).with_default(0.5)), "a number that is not whole"),
            (builder().push(Feature::new("n", Type::F64).with_default("0")), "is text, not double"),
            (builder().push(Feature::new("n", Type::Json).with_default("{}")), "a list or a document"),
            (builder().push(Feature::new("n", Type::Date).with_default("soon")), "not date"),
            (builder().push(Feature::category("n", ["a"]).with_default("b")), "is no level"),
            (builder().raw(RawDocuments { gin: false, paths: vec![vec![]] }), "at least one member"),
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
        let whole = builder()
            .role("origin", "airport", Type::Text)
            .push(Feature::new("n", Type::Date).with_default("2026-11-25"))
            .raw(RawDocuments { gin: true, paths: vec![vec!["a".into(), "b".into()]] })
            .event_time("departed_at")
            .tag("team", "pricing")
            .build()
            .unwrap();
        let json_of_whole = r#"{"name":"v","version":1,"keys":[{"name":"id","type":"i64"},{"name":"origin","type":"text","entity":"airport"}],"features":[{"name":"x","type":"f64"},{"name":"n","type":"date","default":"2026-11-25"}],"raw":{"gin":true,"paths":[["a","b"]]},"event_time":"departed_at","tags":{"team":"pricing"}}"#;
        assert_eq!(whole.to_json(), json_of_whole);
        assert_eq!(View::from_json(json_of_whole).unwrap(), whole);
        assert!(
            View::from_json(&json.replace("ttl_seconds", "tll")).is_err(),
            "a misspelt member is refused"
        );
    }
}
