//! What a model expects of a row: its columns, their types and levels, and the roles beside the features.
//!
//! In flow the `[columns]` and `[domains]` sections and the encoding keys; out flows [`Schema`]. Columns stand in
//! the order of `model.ini`, so that index `i` here is index `i` of the `double[]` that H2O's scorer reads.

use std::collections::HashSet;
use std::sync::Arc;

/// The levels of a categorical column, in H2O's order: the code of a level is its index.
pub type Domain = Arc<[String]>;

/// One column of the model: a name, and its levels if it is categorical.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The name as Java reads it: a line of `[columns]` less the blanks at its ends.
    ///
    /// It may be empty: Java takes a line that begins with `#` for a comment, so later names move up and the last is null
    /// there. No cell can be given for such a column, it is always missing. Two columns may have one name; Java then
    /// gives cells to the later one.
    pub name: String,
    /// The levels in code order, or `None` for a numeric column.
    pub domain: Option<Domain>,
}

/// How categorical columns were turned into model columns when the model was trained.
///
/// Mirrors `hex.genmodel.CategoricalEncoding` and the `_genmodel_encoding` key of tree models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CategoricalEncoding {
    /// A level is its code (H2O's `AUTO`, `Enum` and `SortByResponse`).
    Enum,
    /// A 0/1 column a level and one for missing, after the numeric columns.
    OneHotExplicit,
    /// The bits of `code + 1`, lowest first, after the numeric columns; 0 is missing.
    Binary,
    /// Like [`Enum`](Self::Enum) over the most frequent levels, the rest folded into `other`.
    EnumLimited,
    /// A level is its projection on the first eigenvector, rounded to `f32`.
    Eigen,
    /// A level is its number when its text is one, else its code.
    LabelEncoder,
}

/// The columns as the caller knows them, where the encoding made other columns of them.
///
/// What they encode to is not checked against the features: where it is wider, Java throws for the rows that reach past the
/// last feature, and scores the others.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginalColumns {
    /// Columns before encoding, in training order, without the response. Mirrors `GenModel.getOrigNumCols`, so for
    /// one-hot and binary encoding columns of offsets and weights stand here where H2O wrote them, and shift what follows. Their names and levels are trimmed, as Java does.
    pub columns: Vec<Column>,
    /// The projection of each level, concatenated over the categorical columns; at least that long for Eigen.
    pub projection: Vec<f64>,
}

/// The response column of a supervised model.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The name of the column.
    pub name: String,
    /// The class labels, or `None` for regression (and for a quasibinomial response without labels).
    pub domain: Option<Domain>,
}

/// A model's input contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// The columns the scorer reads, in its order. `len()` is `n_features`.
    pub features: Vec<Column>,
    /// The response, if the model is supervised.
    pub response: Option<Response>,
    /// The column whose value is added on the link scale, if the model was trained with one.
    pub offset_column: Option<String>,
    /// The cross-validation fold column, if any; scoring ignores it.
    pub fold_column: Option<String>,
    /// How [`original`](Self::original) becomes [`features`](Self::features).
    pub encoding: CategoricalEncoding,
    /// The caller's columns, where they differ from `features`.
    pub original: Option<OriginalColumns>,
}

impl Schema {
    /// The columns a caller supplies: the original ones where an encoding intervenes, else the features.
    pub fn input_columns(&self) -> &[Column] {
        match &self.original {
            Some(original) => &original.columns,
            None => &self.features,
        }
    }

    /// The names of input columns that the model reads but that a caller's table cannot be asked for; H2O takes them as
    /// missing, and so may a scorer without being told to. Two kinds of file have such names:
    ///
    /// - A MOJO before 1.40 does not say how its categorical columns were encoded. It names what the encoding made:
    ///   `x.Eigen`; `x.a`, `x.b` and `x.missing(NA)`; `x:0` and `x:1`.
    /// - A column whose name begins with `#` is a comment to H2O's reader (`ModelMojoReader.parseModelInfo`). The names after
    ///   it move up by one, the last is lost, and none of them can be relied on.
    pub fn unsuppliable(&self) -> HashSet<&str> {
        let names: HashSet<&str> = self.input_columns().iter().map(|column| column.name.as_str()).collect();
        if names.contains("") || self.response.as_ref().is_some_and(|response| response.name.is_empty()) {
            return names;
        }
        if self.original.is_some() {
            return HashSet::new();
        }
        let made = |name: &&str| {
            let one_hot = name
                .match_indices('.')
                .any(|(at, _)| names.contains(format!("{}.missing(NA)", &name[..at]).as_str()));
            let bit = name.rsplit_once(':').is_some_and(|(column, bit)| {
                bit.parse::<u32>().is_ok()
                    && [0, 1].iter().all(|k| names.contains(format!("{column}:{k}").as_str()))
            });
            name.ends_with(".Eigen") || one_hot || bit
        };
        names.iter().copied().filter(made).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(names: &[&str], response: &str) -> Schema {
        let columns = names.iter().map(|name| Column { name: (*name).to_owned(), domain: None });
        Schema {
            features: columns.collect(),
            response: Some(Response { name: response.to_owned(), domain: None }),
            offset_column: None,
            fold_column: None,
            encoding: CategoricalEncoding::Enum,
            original: None,
        }
    }

    #[test]
    fn what_an_undescribed_encoding_made_is_not_the_callers() {
        let old = schema(&["a.Eigen", "b.x", "b.missing(NA)", "c:0", "c:1", "d.x", "e:1", "f"], "y");
        let mut made: Vec<&str> = old.unsuppliable().into_iter().collect();
        made.sort_unstable();
        assert_eq!(made, ["a.Eigen", "b.missing(NA)", "b.x", "c:0", "c:1"]);
    }

    #[test]
    fn names_that_moved_up_cannot_be_relied_on() {
        assert_eq!(schema(&["a", "b"], "").unsuppliable().len(), 2);
        assert!(schema(&["a", "b"], "y").unsuppliable().is_empty());
    }
}
