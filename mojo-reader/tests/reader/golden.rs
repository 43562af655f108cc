//! Small MOJOs made by H2O, of several releases, read to what `model.ini` and H2O's own answers say of them.

use cenote_mojo::algo::{Distribution, GlmKind, Link, NaSplit, Node, Test, TreeRules};
use cenote_mojo::{Archive, Artifact, Body, CategoricalEncoding, Category, MojoVersion};

use crate::support::{fixture, model, unzip};

fn open(case: &str) -> Artifact {
    Artifact::open(fixture(case, "model.zip")).unwrap()
}

#[test]
fn an_artifact_may_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Artifact>();
    shared::<cenote_mojo::Metadata>();
    shared::<cenote_mojo::Error>();
}

/// Every case that is committed.
fn cases() -> Vec<String> {
    let mut cases: Vec<String> = std::fs::read_dir(fixture("", ""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|case| fixture(case, "model.zip").is_file())
        .collect();
    cases.sort();
    assert!(cases.len() >= 16, "{cases:?}");
    cases
}

#[test]
fn bytes_reader_file_and_folder_give_one_artifact() {
    let scratch = std::env::temp_dir().join(format!("cenote-mojo-folder-{}", std::process::id()));
    for case in ["old3_10_3_3_glm_gauss", "old3_22_1_6_gbm_navsrest", "gbm_enc_enumlimited_dest_reg"] {
        let bytes = model(case);
        let artifact = open(case);
        assert_eq!(Artifact::from_bytes(&bytes).unwrap(), artifact);
        let file = std::fs::File::open(fixture(case, "model.zip")).unwrap();
        assert_eq!(Artifact::from_reader(file).unwrap(), artifact);
        let folder = scratch.join(case);
        for (name, content) in unzip(&bytes) {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        assert_eq!(Artifact::open(&folder).unwrap(), artifact);
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

#[test]
fn every_committed_case_of_a_supported_algorithm_reads() {
    for case in cases() {
        match Artifact::from_bytes(&model(&case)) {
            Ok(artifact) => check_forest(&artifact, &case),
            Err(error) => assert!(error.to_string().contains("not supported yet"), "{case}: {error}"),
        }
    }
}

/// What the types promise of every forest, and that H2O's ids fit the nodes.
fn check_forest(artifact: &Artifact, case: &str) {
    let forest = match &artifact.body {
        Body::Gbm(gbm) => &gbm.forest,
        Body::Drf(drf) => &drf.forest,
        _ => return,
    };
    assert_eq!(forest.trees.len(), forest.groups * forest.trees_per_group);
    for tree in forest.trees.iter().flatten() {
        let aux = tree.aux.as_ref().map(|aux| aux.records().unwrap());
        let mut record = 0;
        let mut ids = vec![0; tree.nodes.len()];
        for (index, node) in tree.nodes.iter().enumerate() {
            let Node::Split(split) = node else { continue };
            assert!((split.left as usize) == index + 1 && split.right > split.left);
            assert!((split.right as usize) < tree.nodes.len());
            assert!((split.column as usize) < artifact.schema.features.len());
            if let Some(aux) = &aux {
                assert_eq!(aux[record].id, ids[index], "{case}: records stand in node order");
                ids[split.left as usize] = aux[record].children[0];
                ids[split.right as usize] = aux[record].children[1];
                record += 1;
            }
        }
        assert!(aux.is_none_or(|aux| aux.len() == record));
    }
}

#[test]
fn the_first_release_has_neither_short_name_nor_aux() {
    let artifact = open("old3_10_0_10_gbm_navsrest");
    assert_eq!(artifact.manifest.algo, "gbm");
    assert_eq!(artifact.manifest.mojo_version, MojoVersion { major: 1, hundredths: 0 });
    assert_eq!(artifact.manifest.uuid, "-6412668826316024152");
    assert_eq!(artifact.manifest.category, Category::Binomial);
    assert_eq!(artifact.manifest.default_threshold, 0.9821441466217057);
    assert_eq!(artifact.manifest.prior_class_distribution, Some(vec![0.02665, 0.97335]));
    let Body::Gbm(gbm) = &artifact.body else { panic!() };
    assert_eq!(
        (gbm.distribution, gbm.link, gbm.init_f),
        (Distribution::Bernoulli, Link::Logit, 3.5979545791234355)
    );
    assert_eq!((gbm.forest.groups, gbm.forest.trees_per_group), (4, 1));
    assert_eq!(gbm.forest.rules, TreeRules::V100);
    let tree = gbm.forest.trees[0].as_ref().unwrap();
    assert_eq!(tree.aux, None);
    let Node::Split(root) = tree.nodes[0] else { panic!() };
    assert_eq!((root.na, root.test), (NaSplit::NaVsRest, Test::None));
}

#[test]
fn trees_a_class_follow_from_the_classes_where_the_file_is_silent() {
    for (case, groups, a_group) in
        [("old3_10_0_10_drf_multi", 6, 3), ("old3_10_0_10_drf_double", 6, 2), ("gbm_singleleaf", 1, 1)]
    {
        let artifact = open(case);
        let forest = match &artifact.body {
            Body::Gbm(gbm) => &gbm.forest,
            Body::Drf(drf) => &drf.forest,
            _ => panic!(),
        };
        assert_eq!(forest.trees_per_group, a_group, "{case}");
        assert!(forest.groups >= 1 && (case == "gbm_singleleaf" || forest.groups <= groups), "{case}");
    }
}

#[test]
fn a_tree_of_one_leaf() {
    let Body::Gbm(gbm) = open("gbm_singleleaf").body else { panic!() };
    let tree = gbm.forest.trees[0].as_ref().unwrap();
    assert!(matches!(tree.nodes[..], [Node::Leaf(_)]));
    assert_eq!(tree.aux.as_ref().unwrap().records().unwrap(), []);
}

/// Java skips `#depth` as a comment even under `[columns]`, so every later name moves up and the last is lost.
#[test]
fn column_names_are_what_java_makes_of_them() {
    let schema = open("gbm_weird_names").schema;
    let names: Vec<&str> = schema.features.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        names,
        ["île = 岛", "bill length (mm)", "[flipper]", "mass=g;", "sex", "year", "Species, \"quoted\""]
    );
    assert_eq!(
        schema.features[0].domain.as_deref().unwrap(),
        ["Bis coé = 1", "Tor,ger\"sen", "[Dream] #x\\n"]
    );
    assert_eq!(schema.features[5].domain.as_ref().unwrap().len(), 2);
    let response = schema.response.unwrap();
    assert_eq!((response.name.as_str(), response.domain.unwrap().len()), ("", 3));
}

#[test]
fn encodings_keep_the_columns_of_the_caller() {
    let limited = open("gbm_enc_enumlimited_dest_reg").schema;
    assert_eq!(limited.encoding, CategoricalEncoding::EnumLimited);
    assert_eq!(limited.features[0].name, "carrier.top_10_levels");
    let original = limited.original.as_ref().unwrap();
    let names: Vec<&str> = original.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["carrier", "origin", "dest", "distance", "hour", "temp", "plane_year", "engine"]);
    assert_eq!(original.columns[2].domain.as_ref().unwrap().len(), 99);
    assert_eq!(limited.input_columns().len(), 8);

    let one_hot = open("old3_32_1_7_gbm_enc_onehot").schema;
    assert_eq!((one_hot.encoding, one_hot.features.len()), (CategoricalEncoding::OneHotExplicit, 26));
    assert_eq!(one_hot.input_columns().len(), 7);
    assert!(one_hot.features.iter().all(|column| column.domain.is_none()));
}

#[test]
fn glm_kinds() {
    let Body::Glm(glm) = open("old3_10_3_3_glm_gauss").body else { panic!() };
    assert_eq!(glm.kind, GlmKind::Single { link: Link::Identity, binomial: false, tweedie_link_power: 0.0 });
    assert_eq!((glm.cats, glm.nums, glm.cat_offsets.as_slice()), (2, 5, &[0, 16, 19][..]));
    assert_eq!((glm.beta.len(), glm.beta[24]), (25, -193.83224620901055));
    assert!(glm.use_all_factor_levels && glm.mean_imputation);
    assert_eq!((glm.cat_modes.as_slice(), glm.num_means[1], glm.dispersion), (&[11, 0][..], 13.17875, 1.0));

    let artifact = open("glm_multinomial_penguins");
    let Body::Glm(glm) = artifact.body else { panic!() };
    assert_eq!((glm.kind, glm.beta.len()), (GlmKind::Multinomial, 33));
    assert_eq!(artifact.manifest.model_class_distribution, None);

    let Body::Glm(glm) = open("old3_22_1_6_glm_ordinal").body else { panic!() };
    assert_eq!(glm.kind, GlmKind::Ordinal);

    let artifact = open("glm_offset_gamma");
    assert_eq!(artifact.schema.offset_column.as_deref(), Some("off"));
    assert_eq!((artifact.schema.features.len(), artifact.schema.response.unwrap().domain), (9, None));

    let Body::Glm(glm) = open("glm_skip_gauss").body else { panic!() };
    assert!(!glm.mean_imputation);
}

#[test]
fn metadata() {
    let bytes = model("gbm_deep_chain");
    let metadata = Archive::from_bytes(&bytes).unwrap().metadata().unwrap().unwrap();
    let training = metadata.training_metrics.as_ref().unwrap();
    assert_eq!(training.get("AUC"), metadata.json["output"]["training_metrics"]["AUC"].as_f64());
    assert!(training.get("AUC").is_some_and(|auc| (0.0..=1.0).contains(&auc)));
    assert_eq!(training.get("model_checksum"), None);
    assert!(training.confusion_matrix.as_ref().unwrap().columns.len() >= 3);
    assert!(training.tables.iter().any(|(key, _)| key == "thresholds_and_metric_scores"));
    assert!(metadata.validation_metrics.is_none() && metadata.cross_validation_metrics.is_none());
    assert_eq!(metadata.default_threshold, Some(0.5037482444718169));
    assert_eq!(metadata.used_variables(), Some(1));
    let importances = metadata.variable_importances.as_ref().unwrap();
    assert_eq!((importances[0].variable.as_str(), importances[0].scaled), ("x", 1.0));
    assert_eq!(metadata.parameter("distribution").unwrap().default, "AUTO");
    assert!(metadata.parameter("ntrees").unwrap().actual.as_u64().is_some_and(|trees| trees >= 2));
    assert!(metadata.tables.iter().any(|(key, _)| key == "model_summary"));
    assert!(!metadata.reproducibility.is_empty());

    assert_eq!(Archive::from_bytes(&model("old3_10_0_10_gbm_poisson")).unwrap().metadata().unwrap(), None);
}
