//! What H2O keeps beside a tree: a `trees/tCC_GGG_aux.bin` entry, of one record a split.
//!
//! The records are three times as large as the trees and only explanations read them, so they stay packed until asked for.
//! Mirrors `SharedTreeMojoModel.AuxInfo`.

use crate::error::Error;
use crate::packed::Packed;

const RECORD_BYTES: usize = 40;

/// A split's statistics from training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AuxNode {
    /// H2O's id of the split node.
    pub id: i32,
    /// How many inner nodes its left subtree has; negative or a parent id in old files.
    pub left_inner_nodes: i32,
    /// Sum of weights of the training rows that went left and right.
    pub weights: [f32; 2],
    /// Predictions of the children.
    pub predictions: [f32; 2],
    /// Squared errors of the children.
    pub squared_errors: [f32; 2],
    /// H2O's ids of the children.
    pub children: [i32; 2],
}

/// The auxiliary records of a tree, packed as they are in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Aux(Packed);

impl Aux {
    /// Takes an entry that is said to hold a record for each of `splits`.
    pub(super) fn new(packed: Packed, splits: usize) -> Result<Self, Error> {
        if packed.size() != splits * RECORD_BYTES {
            let message = format!("{} bytes for {splits} splits of {RECORD_BYTES} bytes each", packed.size());
            return Err(Error::malformed(message).in_entry(packed.name()));
        }
        Ok(Aux(packed))
    }

    /// Packs records, for a tree that comes from no file.
    pub fn from_records(records: &[AuxNode]) -> Self {
        Aux(Packed::stored("aux", records.iter().flat_map(|record| record.to_bytes()).collect()))
    }

    /// Unpacks the records: one a split, in the order of the splits in [`Tree::nodes`](super::Tree::nodes). Each call unpacks
    /// anew.
    ///
    /// # Errors
    ///
    /// If the entry's bytes are broken, which only unpacking tells.
    pub fn records(&self) -> Result<Vec<AuxNode>, Error> {
        let bytes = self.0.unpack()?;
        Ok(bytes.as_chunks().0.iter().map(AuxNode::from_bytes).collect())
    }
}

impl AuxNode {
    fn from_bytes(record: &[u8; RECORD_BYTES]) -> Self {
        let word = |i: usize| [record[4 * i], record[4 * i + 1], record[4 * i + 2], record[4 * i + 3]];
        let int = |i| i32::from_le_bytes(word(i));
        let float = |i| f32::from_le_bytes(word(i));
        AuxNode {
            id: int(0),
            left_inner_nodes: int(1),
            weights: [float(2), float(3)],
            predictions: [float(4), float(5)],
            squared_errors: [float(6), float(7)],
            children: [int(8), int(9)],
        }
    }

    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let ints = |a: i32, b: i32| [a.to_le_bytes(), b.to_le_bytes()];
        let floats = |[a, b]: [f32; 2]| [a.to_le_bytes(), b.to_le_bytes()];
        let words = [
            ints(self.id, self.left_inner_nodes),
            floats(self.weights),
            floats(self.predictions),
            floats(self.squared_errors),
            ints(self.children[0], self.children[1]),
        ];
        let mut record = [0; RECORD_BYTES];
        for (bytes, word) in record.chunks_exact_mut(4).zip(words.as_flattened()) {
            bytes.copy_from_slice(word);
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: i32) -> AuxNode {
        AuxNode {
            id,
            left_inner_nodes: -1,
            weights: [1.5, 2.5],
            predictions: [f32::MIN_POSITIVE, -0.0],
            squared_errors: [0.25, 1e30],
            children: [id + 1, i32::MAX],
        }
    }

    #[test]
    fn records_are_packed_and_unpacked() {
        let records = [node(0), node(7)];
        assert_eq!(Aux::from_records(&records).records().unwrap(), records);
        assert_eq!(Aux::from_records(&[]).records().unwrap(), []);
    }

    #[test]
    fn a_size_that_does_not_fit_the_tree_is_refused() {
        let error = Aux::new(Packed::stored("t_aux.bin", vec![0; 41]), 1).unwrap_err();
        assert_eq!(error.to_string(), "t_aux.bin: 41 bytes for 1 splits of 40 bytes each");
    }

    #[test]
    fn broken_bytes_are_told_when_unpacked() {
        for packed in [
            Packed::new("t", vec![0; 40].into(), false, 40, 1),
            Packed::new("t", vec![0xFF; 9].into(), true, 40, 0),
            Packed::new("t", vec![3, 0].into(), true, 40, 0),
        ] {
            let error = Aux::new(packed, 1).unwrap().records().unwrap_err();
            assert_eq!(error.entry(), Some("t"));
        }
    }
}
