//! What keys and text entries come to, on small models made here: encodings, calibration, versions, and Java's readings.

use cenote_mojo::algo::{Calibration, GlmKind, Link};
use cenote_mojo::{Archive, Artifact, Body, CategoricalEncoding, Error, ErrorKind, Place};

use crate::support::{Entries, ini, zip};
use crate::trees::gbm;

const GBM: &str = "Gradient Boosting Machine";
const TREE_KEYS: &str = "n_trees = 1\nn_trees_per_class = 1\ndistribution = gaussian\ninit_f = 0.5";

/// A GBM of one leaf, with more keys and entries.
fn leaf_model(
    version: &str,
    extra: &str,
    columns: &[&str],
    domains: &str,
    more: &[(&str, &str)],
) -> Result<Artifact, Error> {
    let text = ini(GBM, version, &format!("{TREE_KEYS}\n{extra}"), columns, domains);
    let mut entries: Entries = vec![
        ("model.ini".into(), text.into_bytes()),
        ("trees/t00_000.bin".into(), [&[0, 255, 255][..], &1.5f32.to_le_bytes()].concat()),
        ("trees/t00_000_aux.bin".into(), Vec::new()),
    ];
    entries.extend(more.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
    Artifact::from_bytes(&zip(&entries))
}

fn glm(extra: &str) -> Result<Artifact, Error> {
    let keys = "use_all_factor_levels = true\ncats = 1\ncat_offsets = [0, 2]\ncat_modes = [1]\nnums = 1\n\
                num_means = [3.5]\nmean_imputation = true\nbeta = [1.0, 2.0, 3.0, 4.0]\nfamily = gaussian\nlink = identity";
    let text = ini(
        "Generalized Linear Modeling",
        "1.00",
        &format!("{keys}\n{extra}"),
        &["a", "b", "y"],
        "0: 2 d000.txt",
    );
    Artifact::from_bytes(&zip(&[("model.ini", text.as_str()), ("domains/d000.txt", "x\ny\n")]))
}

/// The message of an error that must be about a line of `model.ini`.
fn ini_error(result: Result<Artifact, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.entry(), Some("model.ini"), "{error}");
    error.to_string()
}

#[test]
fn platt_calibration() {
    let artifact =
        leaf_model("1.20", "calib_method = platt\ncalib_glm_beta = [-2.5, 1.0]", &["a", "y"], "", &[]);
    let Body::Gbm(gbm) = artifact.unwrap().body else { panic!() };
    assert_eq!(gbm.calibration, Some(Calibration::Platt(vec![-2.5, 1.0])));
    let message =
        ini_error(leaf_model("1.20", "calib_method = platt\ncalib_glm_beta = [1.0]", &["a", "y"], "", &[]));
    assert!(message.ends_with("a slope and an intercept are needed"), "{message}");
    let message = ini_error(leaf_model("1.20", "calib_method = magic", &["a", "y"], "", &[]));
    assert!(message.contains("\"magic\""), "{message}");
}

#[test]
fn isotonic_calibration() {
    let blob = |numbers: &[f64]| {
        let mut bytes = (numbers.len() as i32).to_be_bytes().to_vec();
        numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
        bytes
    };
    let read = |x: Vec<u8>, y: Vec<u8>| {
        let keys = format!("{TREE_KEYS}\ncalib_method = isotonic\ncalib_min_x = 0.1\ncalib_max_x = 0.9");
        let text = ini(GBM, "1.0", &keys, &["a", "y"], "").into_bytes();
        let tree = [&[0, 255, 255][..], &1.5f32.to_le_bytes()].concat();
        Artifact::from_bytes(&zip(&[
            ("model.ini", text),
            ("trees/t00_000.bin", tree),
            ("calib/thresholds_x", x),
            ("calib/thresholds_y", y),
        ]))
    };
    let Body::Gbm(gbm) = read(blob(&[0.1, 0.9]), blob(&[0.0, 1.0])).unwrap().body else { panic!() };
    let expected = Calibration::Isotonic { min: 0.1, max: 0.9, x: vec![0.1, 0.9], y: vec![0.0, 1.0] };
    assert_eq!(gbm.calibration, Some(expected));
    for (x, y, entry) in [
        (blob(&[0.1, 0.9]), blob(&[0.0]), "calib/thresholds_y"),
        (blob(&[0.9, 0.1]), blob(&[0.0, 1.0]), "calib/thresholds_x"),
        (blob(&[f64::NAN, 0.1]), blob(&[0.0, 1.0]), "calib/thresholds_x"),
        (vec![0, 0, 0], blob(&[]), "calib/thresholds_x"),
        (vec![255; 4], blob(&[]), "calib/thresholds_x"),
        (vec![127, 255, 255, 255], blob(&[]), "calib/thresholds_x"),
    ] {
        assert_eq!(read(x, y).unwrap_err().entry(), Some(entry));
    }
}

#[test]
fn eigen_and_label_encodings() {
    let keys = "_n_orig_names = 3\n_n_orig_domain_values = 3\n_m_orig_domain_values_0 = 2\n_m_orig_domain_values_1 = 0\n\
                _m_orig_domain_values_2 = 0\n_orig_projection_array = [0.25, -1]";
    let more = [("_orig_names", " a \nb\ny\n"), ("_orig_domain_values_0", "x\\n\n  z\n")];
    let columns = ["a.Eigen", "b", "y"];
    let schema = leaf_model("1.40", &format!("_genmodel_encoding = Eigen\n{keys}"), &columns, "", &more)
        .unwrap()
        .schema;
    assert_eq!(schema.encoding, CategoricalEncoding::Eigen);
    let original = schema.original.unwrap();
    assert_eq!(original.projection, [0.25, -1.0]);
    assert_eq!(original.columns.len(), 2, "the response is not an input");
    assert_eq!((original.columns[0].name.as_str(), original.columns[1].domain.as_ref()), ("a", None));
    // Java unescapes, then trims.
    assert_eq!(original.columns[0].domain.as_deref().unwrap(), ["x", "z"]);

    let label =
        leaf_model("1.40", &format!("_genmodel_encoding = LabelEncoder\n{keys}"), &columns, "", &more);
    let original = label.unwrap().schema.original.unwrap();
    assert_eq!(
        original.columns[0].name, "a.Eigen",
        "Java looks label-encoded columns up by the model's names"
    );

    let short = keys.replace("[0.25, -1]", "[0.25]");
    let message =
        ini_error(leaf_model("1.40", &format!("_genmodel_encoding = Eigen\n{short}"), &columns, "", &more));
    assert!(message.contains("1 projections for 2 levels"), "{message}");
    let error = leaf_model("1.40", "_genmodel_encoding = Hash", &columns, "", &more).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    let error =
        leaf_model("1.40", &format!("_genmodel_encoding = Eigen\n{keys}"), &columns, "", &[]).unwrap_err();
    assert_eq!(error.entry(), Some("_orig_names"));
    // A column of folds, past the features, is none of the caller's business.
    let keys = "_genmodel_encoding = EnumLimited\nn_features = 2\n_n_orig_names = 4\n_n_orig_domain_values = 4\n\
                _m_orig_domain_values_0 = 2\n_m_orig_domain_values_1 = 0\n_m_orig_domain_values_2 = 1\n\
                _m_orig_domain_values_3 = 0";
    let more = [
        ("_orig_names", "a\nb\nfold\ny\n"),
        ("_orig_domain_values_0", "x\nz\n"),
        ("_orig_domain_values_2", "f1\n"),
        ("domains/d", "x\nother\n"),
    ];
    let with_fold = ["a.top_1_levels", "b", "fold", "y"];
    let schema = leaf_model("1.40", keys, &with_fold, "0: 2 d", &more).unwrap().schema;
    assert_eq!(schema.input_columns().len(), 2);
    let message = ini_error(leaf_model("1.40", keys, &with_fold, "1: 2 d", &more));
    assert!(message.contains("became a numeric one"), "{message}");
    // An encoding that keeps the columns reads no such entries.
    let schema = leaf_model("1.40", "_genmodel_encoding = SortByResponse", &columns, "", &[]).unwrap().schema;
    assert_eq!((schema.encoding, schema.original), (CategoricalEncoding::Enum, None));
}

#[test]
fn domains_are_escaped_only_where_the_file_says_so() {
    let file = [("domains/d000.txt", " a\\nb \r\n\rc\\\\d")];
    let levels = |extra: &str| {
        let schema =
            leaf_model("1.20", extra, &["a", "y"], "0: 3 d000.txt\n7: 9 d001.txt", &file).unwrap().schema;
        schema.features[0].domain.as_ref().unwrap().to_vec()
    };
    assert_eq!(levels("escape_domain_values = true"), [" a\nb ", "", "c\\d"]);
    assert_eq!(levels(""), [" a\\nb ", "", "c\\\\d"]);
    let error = leaf_model("1.20", "", &["a", "y"], "0: 4 d000.txt", &file).unwrap_err();
    assert_eq!(error.to_string(), "domains/d000.txt: 4 lines declared, 3 found");
    let error = leaf_model("1.20", "", &["a", "y"], "0: 3 ../../etc/passwd", &file).unwrap_err();
    assert!(error.to_string().contains("must not lead out of the archive"), "{error}");
    let message = ini_error(leaf_model("1.20", "", &["a", "y"], "0 : 3 d000.txt", &file));
    assert!(message.contains("expected `column: levels file`"), "{message}");
}

#[test]
fn columns_follow_java() {
    let schema = leaf_model("1.20", "", &["\u{1}a\u{a0} ", "", "# lost", "b = c", "[info] ", "y"], "", &[]);
    // `[info]` ends the columns, so `y` is a line without `=`.
    assert!(ini_error(schema).contains("expected `key = value`"));
    let schema =
        leaf_model("1.20", "", &["\u{1}a\u{a0} ", "", "# lost", "b = c", "y"], "", &[]).unwrap().schema;
    let names: Vec<&str> = schema.features.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["a\u{a0}", "b = c", "y", ""], "comments and empty lines move names up");
    let text = ini(GBM, "1.20", &format!("{TREE_KEYS}\nn_columns = 1"), &["a", "y"], "");
    let error = Artifact::from_bytes(&zip(&[("model.ini", text)])).unwrap_err();
    assert!(error.to_string().contains("more columns than `n_columns` says"), "{error}");
}

#[test]
fn glm_is_checked_so_that_a_scorer_need_not() {
    let Body::Glm(model) = glm("").unwrap().body else { panic!() };
    assert_eq!(model.beta, [1.0, 2.0, 3.0, 4.0]);
    let Body::Glm(model) = glm("family = tweedie\nlink = tweedie\ntweedie_link_power = -0.5").unwrap().body
    else {
        panic!()
    };
    let kind = GlmKind::Single { link: Link::Tweedie, binomial: false, tweedie_link_power: -0.5 };
    assert_eq!(model.kind, kind);
    // Longer than needed is as good for Java.
    assert!(glm("num_means = [1, 2, 3]").is_ok());
    assert!(glm("mean_imputation = false\nnum_means = []\ncat_modes = []").is_ok());
    for (extra, words) in [
        ("beta = [1.0, 2.0]", "2 coefficients a class, 4 needed"),
        ("beta = [1.0, 2.0, 3.0, 4.0, 5.0]", "5 coefficients for 2 columns"),
        ("beta = [1.0, x]", "not an array of numbers"),
        ("cat_offsets = [0]", "1 offsets for 1 columns"),
        ("cat_offsets = [2, 0]", "do not ascend"),
        ("cat_offsets = [-1, 0]", "do not ascend"),
        ("cat_offsets = [0, 2147483647]", "coefficients a class"),
        ("cats = -1", "`cats` is not a count"),
        ("cats = 2147483647", "of 2"),
        ("nums = 2", "1 categorical and 2 numeric columns of 2"),
        ("num_means = []", "0 means for 1 columns"),
        ("cat_modes = []", "0 modes for 1 columns"),
        ("link = ologit", "the link \"ologit\" does not fit"),
        ("family = binomial\nlink = logit", "does not fit 1 classes"),
        ("family = multinomial", "4 coefficients for 1 classes"),
        ("use_all_factor_levels = yes", "not true or false"),
        ("n_features = 4", "more features than columns"),
        ("n_classes = 2", "do not fit category Regression"),
        ("category = Clustering", "cannot be of category"),
        ("default_threshold = null", "the key `default_threshold` is missing"),
    ] {
        let message = ini_error(glm(extra));
        assert!(message.contains(words), "{extra}: {message}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    for (algorithm, version, words) in [
        ("K-means", "1.00", "algorithm \"K-means\" (kmeans), MOJO version 1.00: not supported yet"),
        ("Sorcery", "1.00", "algorithm \"Sorcery\" (unknown), MOJO version 1.00: not an algorithm"),
        (GBM, "1.5", "algorithm \"Gradient Boosting Machine\" (gbm), MOJO version 1.50: newer than 1.40"),
        ("Generalized Linear Modeling", "1.01", "MOJO version 1.01: newer than 1.00"),
    ] {
        let text = ini(algorithm, version, "", &["a", "y"], "");
        let error = Artifact::from_bytes(&zip(&[("model.ini", text)])).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported(_)));
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = leaf_model("1.20", "endianness = BIG_ENDIAN", &["a", "y"], "", &[]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    for version in ["1.005", "NaN", "-1", "1e9", "x"] {
        let text = ini(GBM, version, "", &["a", "y"], "");
        let error = Artifact::from_bytes(&zip(&[("model.ini", text)])).unwrap_err();
        assert_eq!((error.entry(), error.place()), (Some("model.ini"), Some(Place::Line(3))), "{error}");
    }
}

#[test]
fn a_tree_that_is_not_there_counts_nothing() {
    let text =
        ini(GBM, "1.40", &format!("{TREE_KEYS}\nn_trees = 3\n_genmodel_encoding = AUTO"), &["a", "y"], "");
    let artifact = Artifact::from_bytes(&zip(&[("model.ini", text)])).unwrap();
    let Body::Gbm(gbm) = artifact.body else { panic!() };
    assert_eq!(gbm.forest.trees, [None, None, None]);
    let text = ini(
        GBM,
        "1.40",
        &format!("{TREE_KEYS}\nn_trees = 2000000000\n_genmodel_encoding = AUTO"),
        &["a", "y"],
        "",
    );
    let error = Artifact::from_bytes(&zip(&[("model.ini", text)])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
}

#[test]
fn broken_metadata_stops_no_model() {
    let mut entries = crate::support::unzip(&gbm("1.0", vec![0, 255, 255, 0, 0, 0, 0]));
    entries.push(("experimental/modelDetails.json".into(), b"{\n\"output\": {".to_vec()));
    let bytes = zip(&entries);
    let mut archive = Archive::from_bytes(&bytes).unwrap();
    assert!(archive.artifact().is_ok());
    let error = archive.metadata().unwrap_err();
    assert_eq!(error.place(), Some(Place::Line(2)), "{error}");
    // Of another shape than expected is not broken: what is not there is absent.
    for json in ["[]", "{}", "null", r#"{"output": 3, "parameters": {}}"#, &"[".repeat(100_000)] {
        entries.last_mut().unwrap().1 = json.as_bytes().to_vec();
        let bytes = zip(&entries);
        match Archive::from_bytes(&bytes).unwrap().metadata() {
            Ok(metadata) => assert_eq!(metadata.unwrap().used_variables(), None),
            Err(error) => assert!(error.to_string().contains("broken JSON"), "{error}"),
        }
    }
}
