//! From an archive to an [`Artifact`]: the keys that all models share, then the body by algorithm.
//!
//! Mirrors `ModelMojoReader.readAll` and `ModelMojoFactory.getMojoReader`.

use crate::algo::{self, PackedTrees};
use crate::archive::Archive;
use crate::artifact::{Artifact, Body, Category, Manifest, MojoVersion};
use crate::error::Error;
use crate::ini::{self, Ini, require};
use crate::schema::{CategoricalEncoding, Column, Domain, Response, Schema};
use crate::text;

/// What an algorithm's reader sees.
pub(crate) struct Source<'s, 'a> {
    pub(crate) archive: &'s mut Archive<'a>,
    pub(crate) ini: &'s Ini,
    pub(crate) manifest: &'s Manifest,
    /// The schema so far; readers of encoded models complete it.
    pub(crate) schema: &'s mut Schema,
    /// The trees, which readers of forests leave as they lie.
    pub(crate) trees: Option<PackedTrees>,
}

/// An algorithm of H2O: its long names in `model.ini`, and its reader if there is one yet.
struct Algorithm {
    short: &'static str,
    names: &'static [&'static str],
    read: Option<Reader>,
}

struct Reader {
    /// The newest version of the algorithm's format that it knows.
    newest: MojoVersion,
    body: fn(&mut Source<'_, '_>) -> Result<Body, Error>,
}

const ALGORITHMS: &[Algorithm] = &[
    Algorithm {
        short: "gbm",
        names: &["Gradient Boosting Machine", "Gradient Boosting Method"],
        read: Some(Reader { newest: MojoVersion { major: 1, hundredths: 40 }, body: algo::read_gbm }),
    },
    Algorithm {
        short: "drf",
        names: &["Distributed Random Forest"],
        read: Some(Reader { newest: MojoVersion { major: 1, hundredths: 40 }, body: algo::read_drf }),
    },
    Algorithm {
        short: "glm",
        names: &["Generalized Linear Modeling", "Generalized Linear Model"],
        read: Some(Reader { newest: MojoVersion { major: 1, hundredths: 0 }, body: algo::read_glm }),
    },
    Algorithm { short: "xgboost", names: &["XGBoost"], read: None },
    Algorithm { short: "isolationforest", names: &["Isolation Forest"], read: None },
    Algorithm { short: "extendedisolationforest", names: &["Extended Isolation Forest"], read: None },
    Algorithm { short: "upliftdrf", names: &["Uplift Distributed Random Forest"], read: None },
    Algorithm { short: "deeplearning", names: &["Deep Learning", "deep learning"], read: None },
    Algorithm { short: "stackedensemble", names: &["StackedEnsemble", "Stacked Ensemble"], read: None },
    Algorithm { short: "gam", names: &["Generalized Additive Model"], read: None },
    Algorithm { short: "coxph", names: &["Cox Proportional Hazards"], read: None },
    Algorithm { short: "rulefit", names: &["RuleFit"], read: None },
    Algorithm { short: "isotonicregression", names: &["Isotonic Regression"], read: None },
    Algorithm { short: "svm", names: &["Support Vector Machine (*Spark*)"], read: None },
    Algorithm { short: "kmeans", names: &["K-means"], read: None },
    Algorithm { short: "pca", names: &["Principal Components Analysis"], read: None },
    Algorithm {
        short: "glrm",
        names: &["Generalized Low Rank Modeling", "Generalized Low Rank Model"],
        read: None,
    },
    Algorithm { short: "targetencoder", names: &["TargetEncoder"], read: None },
    Algorithm { short: "word2vec", names: &["Word2Vec"], read: None },
    Algorithm { short: "klime", names: &["k-LIME"], read: None },
    Algorithm { short: "pipeline", names: &["MOJO Pipeline"], read: None },
];

/// Reads the whole model.
pub(crate) fn artifact(archive: &mut Archive<'_>) -> Result<Artifact, Error> {
    let (mut artifact, trees) = outline(archive)?;
    if let Some(trees) = trees {
        trees.unpack_into(&mut artifact)?;
    }
    Ok(artifact)
}

/// Reads all of the model but the trees of a forest, which it gives as they lie in the archive.
pub(crate) fn outline(archive: &mut Archive<'_>) -> Result<(Artifact, Option<PackedTrees>), Error> {
    let mut bytes = Vec::new();
    archive.require(ini::ENTRY, &mut bytes)?;
    let ini = Ini::parse(&bytes, archive.limits())?;
    drop(bytes);

    let name = require(ini.text("algorithm"), "algorithm")?;
    let (major, hundredths) = version(&ini)?;
    let mojo_version = MojoVersion { major, hundredths };
    let known = ALGORITHMS.iter().find(|algorithm| algorithm.names.contains(&name));
    let not_supported = |why: &str| {
        let short = ini.text("algo").or(known.map(|known| known.short)).unwrap_or("unknown");
        Err(Error::unsupported(format!("algorithm {name:?} ({short}), MOJO version {mojo_version}: {why}")))
    };
    let Some(known) = known else { return not_supported("not an algorithm that this reader knows") };
    let Some(reader) = &known.read else { return not_supported("not supported yet") };
    if mojo_version > reader.newest {
        return not_supported(&format!("newer than {}, the newest supported", reader.newest));
    }

    let manifest = manifest(&ini, known.short, name, mojo_version)?;
    let mut schema = schema(archive, &ini, &manifest)?;
    let mut source = Source { archive, ini: &ini, manifest: &manifest, schema: &mut schema, trees: None };
    let body = (reader.body)(&mut source)?;
    let trees = source.trees;
    Ok((Artifact { manifest, schema, body }, trees))
}

fn version(ini: &Ini) -> Result<(u32, u32), Error> {
    const KEY: &str = "mojo_version";
    let version = require(ini.double(KEY)?, KEY)?;
    let hundredths = (version * 100.0).round();
    // Java compares the doubles; only whole hundredths are versions that H2O ever wrote.
    if !(0.0..100_000.0).contains(&hundredths) || hundredths / 100.0 != version {
        return Err(ini.wrong(KEY, "not a version"));
    }
    Ok((hundredths as u32 / 100, hundredths as u32 % 100))
}

fn manifest(ini: &Ini, short: &str, name: &str, mojo_version: MojoVersion) -> Result<Manifest, Error> {
    let category = match require(ini.text("category"), "category")? {
        "Regression" => Category::Regression,
        "Binomial" => Category::Binomial,
        "Multinomial" => Category::Multinomial,
        "Ordinal" => Category::Ordinal,
        other => {
            return Err(ini.wrong("category", format!("a {short} model cannot be of category {other:?}")));
        }
    };
    let n_classes = ini.count("n_classes")?;
    let fits = match category {
        Category::Regression => n_classes == 1,
        Category::Binomial => n_classes == 2,
        Category::Multinomial | Category::Ordinal => n_classes >= 2,
    };
    if !fits {
        return Err(ini.wrong("n_classes", format!("{n_classes} classes do not fit category {category:?}")));
    }
    Ok(Manifest {
        algo: ini.text("algo").unwrap_or(short).to_owned(),
        algorithm: name.to_owned(),
        h2o_version: ini.text("h2o_version").unwrap_or("unknown").to_owned(),
        mojo_version,
        uuid: ini.text("uuid").unwrap_or_default().to_owned(),
        category,
        n_classes,
        balance_classes: require(ini.bool("balance_classes")?, "balance_classes")?,
        default_threshold: require(ini.double("default_threshold")?, "default_threshold")?,
        prior_class_distribution: ini.doubles("prior_class_distrib")?,
        model_class_distribution: ini.doubles("model_class_distrib")?,
        info: ini.info().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    })
}

fn schema(archive: &mut Archive<'_>, ini: &Ini, manifest: &Manifest) -> Result<Schema, Error> {
    let domains = domains(archive, ini)?;
    let n_features = ini.count("n_features")?;
    let mut columns: Vec<Column> =
        ini.columns.iter().zip(domains).map(|(name, domain)| Column { name: name.clone(), domain }).collect();
    if n_features > columns.len() {
        return Err(ini.wrong("n_features", "more features than columns"));
    }
    let response = match require(ini.bool("supervised")?, "supervised")? {
        true => match columns.last() {
            Some(Column { name, domain }) => Some(Response { name: name.clone(), domain: domain.clone() }),
            None => return Err(ini.wrong("n_columns", "a supervised model has a response column")),
        },
        false => None,
    };
    if let Some(Response { domain: Some(domain), .. }) = &response
        && manifest.category != Category::Regression
        && domain.len() != manifest.n_classes
    {
        let message = format!("{} classes, but the response has {} levels", manifest.n_classes, domain.len());
        return Err(ini.wrong("n_classes", message));
    }
    columns.truncate(n_features);
    Ok(Schema {
        features: columns,
        response,
        offset_column: ini.text("offset_column").map(str::to_owned),
        fold_column: ini.text("fold_column").map(str::to_owned),
        encoding: CategoricalEncoding::Enum,
        original: None,
    })
}

/// The levels of each column. Mirrors `ModelMojoReader.parseModelDomains`.
fn domains(archive: &mut Archive<'_>, ini: &Ini) -> Result<Vec<Option<Domain>>, Error> {
    let escaped = ini.text("escape_domain_values") == Some("true");
    let mut domains = vec![None; ini.columns.len()];
    for (&column, line) in &ini.domains {
        // A file may name the levels of a column past the last; Java passes over it too.
        let Some(slot) = domains.get_mut(column as usize) else { continue };
        let entry = format!("domains/{}", line.file);
        let level = |level: &str| if escaped { text::unescape(level).into_owned() } else { level.to_owned() };
        *slot = Some(lines(archive, &entry, line.levels, level)?.into());
    }
    Ok(domains)
}

/// The trimmed lines of an entry that holds `n` of them. Mirrors `ModelMojoReader.readStringArray`.
pub(crate) fn string_array(archive: &mut Archive<'_>, entry: &str, n: usize) -> Result<Vec<String>, Error> {
    lines(archive, entry, n, |line| text::trim(&text::unescape(line)).to_owned())
}

/// The lines of an entry, which must be `n`.
fn lines(
    archive: &mut Archive<'_>,
    entry: &str,
    n: usize,
    read: impl Fn(&str) -> String,
) -> Result<Vec<String>, Error> {
    archive.charge_levels(n).map_err(|e| e.in_entry(entry))?;
    let mut bytes = Vec::new();
    archive.require(entry, &mut bytes)?;
    let decoded = text::decode(&bytes);
    let found = text::lines(&decoded).count();
    if found != n {
        return Err(Error::malformed(format!("{n} lines declared, {found} found")).in_entry(entry));
    }
    Ok(text::lines(&decoded).map(read).collect())
}
