//! What the registry knows of a version, and the verified models of this process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, PoisonError};

use tokio_postgres::Row;

use super::signing::PublicKey;
use crate::model::{Model, WeakModel};
use crate::store::{Error, Step, Timestamp, wire};

/// What the registry knows of one version of a model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelVersion {
    /// The model's name.
    pub name: String,
    /// Its version, from 1.
    pub version: i32,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// How many bytes the MOJO has.
    pub bytes: i64,
    /// H2O's short name of the algorithm, such as `gbm`.
    pub algorithm: String,
    /// The release of H2O that trained it.
    pub h2o_version: String,
    /// The columns it reads, in its order.
    pub inputs: Vec<String>,
    /// What each of them is: `numeric` or `categorical`.
    pub input_types: Vec<String>,
    /// The columns of its predictions.
    pub outputs: Vec<String>,
    /// The metrics by which it was judged.
    pub metrics: BTreeMap<String, f64>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Where it is in its life.
    pub stage: Stage,
    /// Who signed it.
    pub signed_by: Option<PublicKey>,
    /// How many golden rows it has.
    pub golden_rows: i32,
    /// When it was registered.
    pub created_at: Timestamp,
    /// The aliases that point at it, ascending.
    pub aliases: Vec<String>,
    pub(super) signature: Option<Vec<u8>>,
}

/// Where a version is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Nowhere yet.
    #[default]
    None,
    /// On trial.
    Staging,
    /// In use.
    Production,
    /// Done with: no alias may point at it.
    Archived,
}

impl Stage {
    const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// The stage in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Archived => "archived",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|stage| stage.name() == text);
        found.ok_or_else(|| Error::config("a stage is none, staging, production or archived"))
    }
}

impl ModelVersion {
    /// The columns of [`from_row`](Self::from_row), of the models `m` and their `aliases`.
    pub(super) fn columns(aliases: &str) -> String {
        format!(
            "m.name, m.version, m.sha256, octet_length(m.bytes)::bigint, m.algorithm, m.h2o_version, m.inputs, \
             m.input_types, m.outputs, m.metrics::text, m.tags::text, m.stage, m.public_key, m.signature, m.golden_rows, \
             m.created_at, (SELECT coalesce(array_agg(a.alias::text ORDER BY a.alias), '{{}}') FROM {aliases} a \
             WHERE a.name = m.name AND a.version = m.version)"
        )
    }

    pub(super) fn from_row(row: &Row) -> Result<Self, Error> {
        let wrong = |error| Error::database(Step::Registry, error);
        let unreadable = |_| Error::protocol(Step::Registry, "metrics or tags that are no flat JSON object");
        let (metrics, tags): (&str, &str) = (row.try_get(9).map_err(wrong)?, row.try_get(10).map_err(wrong)?);
        let stage: &str = row.try_get(11).map_err(wrong)?;
        let key: Option<&[u8]> = row.try_get(12).map_err(wrong)?;
        let created_at = wire::fixed(wire::cell(row, 15)?.unwrap_or_default())?;
        Ok(Self {
            name: row.try_get(0).map_err(wrong)?,
            version: row.try_get(1).map_err(wrong)?,
            sha256: row.try_get(2).map_err(wrong)?,
            bytes: row.try_get(3).map_err(wrong)?,
            algorithm: row.try_get(4).map_err(wrong)?,
            h2o_version: row.try_get(5).map_err(wrong)?,
            inputs: row.try_get(6).map_err(wrong)?,
            input_types: row.try_get(7).map_err(wrong)?,
            outputs: row.try_get(8).map_err(wrong)?,
            metrics: serde_json::from_str(metrics).map_err(unreadable)?,
            tags: serde_json::from_str(tags).map_err(unreadable)?,
            stage: stage.parse()?,
            signed_by: key.map(wire::fixed).transpose()?.map(PublicKey::from_bytes),
            signature: row.try_get(13).map_err(wrong)?,
            golden_rows: row.try_get(14).map_err(wrong)?,
            created_at: Timestamp::from_wire(i64::from_be_bytes(created_at)),
            aliases: row.try_get(16).map_err(wrong)?,
        })
    }
}

/// The models of this process that were verified, by digest, for as long as somebody has them: one digest is one model in
/// memory, however often it is loaded.
static VERIFIED: LazyLock<Mutex<HashMap<String, WeakModel>>> = LazyLock::new(Mutex::default);

/// The model of a digest, if somebody in this process has it.
pub(super) fn verified(sha256: &str) -> Option<Model> {
    VERIFIED.lock().unwrap_or_else(PoisonError::into_inner).get(sha256)?.upgrade()
}

/// Keeps a model whose bytes were verified; gives the one that came first, should there be two.
pub(super) fn keep(sha256: &str, model: Model) -> Model {
    let mut models = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
    models.retain(|_, model| model.upgrade().is_some());
    if let Some(first) = models.get(sha256).and_then(WeakModel::upgrade) {
        return first;
    }
    models.insert(sha256.to_owned(), WeakModel::new(&model));
    model
}
