//! What a file may make us spend.
//!
//! A length in a file is a claim: it is charged here before anything is allocated for it.

/// Bounds on memory and time, so that no file can exhaust the machine that reads it.
///
/// The defaults hold any MOJO that we know of; a service that reads strangers' files may tighten them.
///
/// ```
/// use cenote_mojo::Limits;
///
/// let limits = Limits { total_bytes: 64 << 20, nodes: 1_000_000, ..Limits::default() };
/// assert_eq!(limits.entries, 1_000_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive itself, compressed (default 2 GiB).
    pub archive_bytes: u64,
    /// Entries of the archive, and places in the grid of trees (default 1,000,000).
    pub entries: u64,
    /// Bytes of one decompressed entry (default 1 GiB).
    pub entry_bytes: u64,
    /// Bytes of all entries read, decompressed (default 8 GiB).
    pub total_bytes: u64,
    /// Decompressed bytes for one compressed byte, in entries above 1 MiB (default 200; deflate reaches 1032).
    pub ratio: u64,
    /// Bytes of `experimental/modelDetails.json`, which takes up to some twenty times as much when parsed (default 64 MiB).
    pub metadata_bytes: u64,
    /// Columns of the model (default 1,000,000). `model.ini` may have four times as many lines, and a thousand.
    pub columns: u64,
    /// Levels of all categorical columns together (default 50,000,000; H2O allows a column ten million).
    pub levels: u64,
    /// Nodes, leaves included, of all trees together (default 100,000,000; each takes up to about 45 bytes).
    pub nodes: u64,
    /// Levels of one tree (default 65,536).
    pub depth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_bytes: 2 << 30,
            entries: 1_000_000,
            entry_bytes: 1 << 30,
            total_bytes: 8 << 30,
            ratio: 200,
            metadata_bytes: 64 << 20,
            columns: 1_000_000,
            levels: 50_000_000,
            nodes: 100_000_000,
            depth: 65_536,
        }
    }
}
