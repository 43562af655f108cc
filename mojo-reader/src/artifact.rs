//! A whole model as plain data.

use std::fmt;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use crate::algo::{Drf, Gbm, Glm};
use crate::archive::Archive;
use crate::error::Error;
use crate::limits::Limits;
use crate::schema::Schema;

/// What kind of answer a model gives. Mirrors `hex.ModelCategory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are H2O's")]
#[non_exhaustive]
pub enum Category {
    Regression,
    Binomial,
    Multinomial,
    Ordinal,
}

/// The version of a MOJO's algorithm format, such as 1.40.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MojoVersion {
    /// The number before the point.
    pub major: u32,
    /// Hundredths after the point: 1.4 and 1.40 are both 40.
    pub hundredths: u32,
}

impl fmt::Display for MojoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.major, self.hundredths)
    }
}

/// The `[info]` section: who made the model and what it answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The short name of the algorithm, such as `gbm`.
    pub algo: String,
    /// The long name of the algorithm.
    pub algorithm: String,
    /// The release that wrote the file.
    pub h2o_version: String,
    /// The version of the algorithm's format.
    pub mojo_version: MojoVersion,
    /// The model's uuid, as written.
    pub uuid: String,
    /// What the model answers.
    pub category: Category,
    /// 1 for regression, else the number of classes.
    pub n_classes: usize,
    /// Whether classes were balanced in training, so that probabilities are corrected.
    pub balance_classes: bool,
    /// The probability at and above which the second of two classes is predicted.
    pub default_threshold: f64,
    /// Class shares in the training data, if the file has them.
    pub prior_class_distribution: Option<Vec<f64>>,
    /// Class shares after balancing, if the file has them.
    pub model_class_distribution: Option<Vec<f64>>,
    /// Every key of the section, as written, in file order.
    pub info: Vec<(String, String)>,
}

/// What the algorithm learned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Body {
    /// A gradient boosting machine.
    Gbm(Gbm),
    /// A distributed random forest.
    Drf(Drf),
    /// A generalised linear model.
    Glm(Glm),
}

/// A model as plain data: everything the file says, checked, and nothing that predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Who made the model and what it answers.
    pub manifest: Manifest,
    /// What the model expects of a row.
    pub schema: Schema,
    /// What the algorithm learned.
    pub body: Body,
}

impl Artifact {
    /// Opens a MOJO: a zip file, or the folder of an unzipped one. ([`Archive`] reads its metadata too.)
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a MOJO or contradicts itself, asks for more than the default [`Limits`], or
    /// holds an algorithm or version that is not supported (the error names it).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &Limits::default())
    }

    /// [`open`](Self::open) within limits of the caller's.
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, Error> {
        Archive::open_with(path, limits)?.artifact()
    }

    /// Reads a MOJO from the bytes of its zip. Errors as [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &Limits::default())
    }

    /// [`from_bytes`](Self::from_bytes) within limits of the caller's.
    pub fn from_bytes_with(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        Self::from_reader_with(Cursor::new(bytes), limits)
    }

    /// Reads a MOJO zip from anywhere that can seek; only the entries needed are read. Errors as [`open`](Self::open).
    pub fn from_reader(reader: impl Read + Seek) -> Result<Self, Error> {
        Self::from_reader_with(reader, &Limits::default())
    }

    /// [`from_reader`](Self::from_reader) within limits of the caller's.
    pub fn from_reader_with(reader: impl Read + Seek, limits: &Limits) -> Result<Self, Error> {
        Archive::from_reader_with(reader, limits)?.artifact()
    }
}
