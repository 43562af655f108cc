//! A model as plain data: kept, or read again from its zip when someone asks.
//!
//! The nodes of trees take several times their bytes in the file, and scoring does not read them: so a forest that came as a
//! zip keeps the zip alone.

use std::borrow::Cow;
use std::sync::OnceLock;

use cenote_mojo::{Archive, Artifact, Bytes, Limits};

/// See the module.
#[derive(Debug)]
pub(crate) struct Plain {
    kept: OnceLock<Artifact>,
    /// The file, and the limits within which it was read.
    zip: Option<(Bytes, Limits)>,
}

impl Plain {
    /// A model that is kept.
    pub(crate) fn kept(artifact: Artifact) -> Self {
        Self { kept: OnceLock::from(artifact), zip: None }
    }

    /// A model that was read from `zip` within `limits`, which is not kept.
    pub(crate) fn packed(zip: Bytes, limits: Limits) -> Self {
        Self { kept: OnceLock::new(), zip: Some((zip, limits)) }
    }

    /// The model, for a while.
    pub(crate) fn lend(&self) -> Cow<'_, Artifact> {
        self.kept.get().map_or_else(|| Cow::Owned(self.read()), Cow::Borrowed)
    }

    /// The model, which is kept from now on.
    pub(crate) fn keep(&self) -> &Artifact {
        self.kept.get_or_init(|| self.read())
    }

    fn read(&self) -> Artifact {
        let (zip, limits) = self.zip.as_ref().expect("what is not kept came from a zip");
        let artifact = || Archive::from_shared_with(zip.clone(), limits)?.artifact();
        artifact().expect("the same bytes were read before")
    }
}
