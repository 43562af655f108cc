//! `cenote inspect` and `cenote print`.

use serde_json::Value;

use crate::support::{Case, Folder, cenote};

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&cenote(args).ok()).unwrap()
}

#[test]
fn trees_as_json_are_those_of_printmojo() {
    for case in ["gbm_bits32", "gbm_multinomial_iris", "gbm_navsrest"].map(Case::new) {
        let printed = json(&["print", &case.model(), "--format", "json"]);
        let expected: Value = serde_json::from_str(&case.text("print.json")).unwrap();
        for key in ["params", "domainValues", "trees"] {
            assert_eq!(printed[key], expected[key], "{key}");
        }
        assert_eq!(printed, expected);
    }
}

#[test]
fn one_group_of_trees_can_be_printed() {
    let case = Case::new("gbm_multinomial_iris");
    let printed = json(&["print", &case.model(), "--tree", "3", "--format", "json"]);
    let expected: Value = serde_json::from_str(&case.text("print.json")).unwrap();
    let trees = printed["trees"].as_array().unwrap();
    assert_eq!(trees.len(), 3, "a tree a class");
    for (class, tree) in trees.iter().enumerate() {
        assert_eq!(tree["root"], expected["trees"][9 + class]["root"]);
        assert_eq!(tree["index"], class);
    }
    let error = cenote(&["print", &case.model(), "--tree", "10"]).failed(2);
    assert!(error.contains("0 to 9"), "{error}");
}

/// Every start tag has its end, in order.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        let entities = text.split('&').skip(1);
        assert!(entities.into_iter().all(|entity| entity.contains(';')), "{text}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn svg_shows_columns_conditions_missing_values_and_leaves() {
    let svg =
        cenote(&["print", &Case::new("gbm_multinomial_iris").model(), "--format", "svg", "--tree", "0"]).ok();
    assert_well_formed(&svg);
    for text in [
        "Tree 0, Class setosa",
        "petal_length_cm_",
        "&lt; 2.351123",
        "\u{2265} 2.351123",
        ">NA<",
        ">-0.1<",
        "n = 41",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    let svg = cenote(&["print", &Case::new("gbm_bits32").model(), "--format", "svg"]).ok();
    assert_well_formed(&svg);
    assert!(svg.contains("EWR, LGA"));
    assert_eq!(svg.matches("class=\"title\"").count(), 12);
}

#[test]
fn pictures_stand_any_name_and_any_tree() {
    for name in ["gbm_weird_names", "gbm_deep_chain", "gbm_singleleaf", "old3_10_0_10_drf_double"] {
        let model = Case::new(name).model();
        assert_well_formed(&cenote(&["print", &model, "--format", "svg"]).ok());
        let dot = cenote(&["print", &model, "--format", "dot"]).ok();
        assert!(dot.starts_with("digraph G {") && dot.ends_with("}\n"));
        let printed = json(&["print", &model, "--format", "json"]);
        assert!(!printed["trees"].as_array().unwrap().is_empty());
    }
}

#[test]
fn dot_names_levels_and_where_missing_values_go() {
    let dot = cenote(&["print", &Case::new("gbm_bits32").model(), "--tree", "1"]).ok();
    assert!(dot.contains("label=\"Tree 1, Class No\""), "{dot}");
    assert!(dot.contains("[shape=box, label=\"carrier\"]"));
    assert!(dot.contains("[label=\"9E, AA, DL, UA, US, VX\\nNA\"]"));
    assert!(dot.contains("[label=\"22 levels\"]"));
}

#[test]
fn a_glm_prints_its_coefficients() {
    let case = Case::new("glm_skip_gauss");
    let printed = json(&["print", &case.model(), "--format", "json"]);
    let coefficients = printed["coefficients"].as_array().unwrap();
    assert_eq!(coefficients.last().unwrap()["name"], "Intercept");
    assert!(coefficients.iter().all(|one| one["value"].is_number() && one.get("class").is_none()));
    let first = coefficients[0]["name"].as_str().unwrap();
    assert!(first.contains('.'), "a level comes first: {first}");

    let classes = json(&["print", &Case::new("glm_multinomial_penguins").model(), "--format", "json"]);
    let intercepts: Vec<&Value> =
        classes["coefficients"].as_array().unwrap().iter().filter(|one| one["name"] == "Intercept").collect();
    let labels: Vec<&str> = intercepts.iter().map(|one| one["class"].as_str().unwrap()).collect();
    assert_eq!(Value::from(labels), classes["params"]["class_labels"]);

    let error = cenote(&["print", &case.model(), "--format", "svg"]).failed(2);
    assert!(error.contains("--format json"), "{error}");
}

#[test]
fn inspect_tells_programs_what_a_model_is() {
    let report = json(&["inspect", &Case::new("gbm_bits32").model(), "--json"]);
    assert_eq!(report["algo"], "gbm");
    assert_eq!(report["category"], "Binomial");
    assert_eq!(report["mojo_version"], "1.40");
    assert_eq!(report["response"]["labels"], serde_json::json!(["No", "Yes"]));
    assert_eq!(report["columns"][1]["name"], "origin");
    assert_eq!(report["columns"][1]["levels"], serde_json::json!(["EWR", "JFK", "LGA"]));
    assert_eq!((&report["distribution"], &report["link"]), (&"bernoulli".into(), &"logit".into()));
    assert_eq!(report["trees"]["trees"], 12);
    assert_eq!(report["trees"]["max_depth"], 5);
    let (nodes, leaves) = (&report["trees"]["nodes"], &report["trees"]["leaves"]);
    assert_eq!(nodes.as_u64().unwrap(), 2 * leaves.as_u64().unwrap() - 12);
    assert!(report["metrics"]["training"]["AUC"].as_f64().unwrap() > 0.5);
    let shares: Vec<f64> = (report["variable_importances"].as_array().unwrap().iter())
        .map(|one| one["percentage"].as_f64().unwrap())
        .collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && shares.is_sorted_by(|a, b| a >= b));
    assert!(report["offset_column"].is_null() && report["coefficients"].is_null());

    assert!(report["engines"].is_null());
    let report = json(&["inspect", &Case::new("gbm_bits32").model(), "--json", "--engines"]);
    let engines = report["engines"].as_array().unwrap();
    let chosen = engines.iter().filter(|engine| engine["chosen"] == true).count();
    assert_eq!((chosen, engines.last().unwrap()["fits"].as_bool()), (1, Some(true)));

    let glm = json(&["inspect", &Case::new("glm_offset_gamma").model(), "--json", "--engines"]);
    assert_eq!(glm["engines"], serde_json::json!([]));
    assert_eq!(glm["offset_column"], "off");
    assert_eq!(glm["distribution"], "gamma");
    assert!(glm["trees"].is_null());
}

#[test]
fn inspect_tells_people_what_a_model_is() {
    let page = cenote(&["inspect", &Case::new("gbm_bits32").model()]).ok();
    for text in [
        "Gradient Boosting Machine (gbm), binomial",
        "3 (EWR, JFK, LGA)",
        "late: No, Yes",
        "Variable importance",
        "AUC",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    for name in ["old3_10_0_10_drf_double", "glm_multinomial_penguins", "gbm_weird_names", "glm_offset_gamma"]
    {
        cenote(&["inspect", &Case::new(name).model()]).ok();
    }
}

#[test]
fn a_file_that_is_no_model_is_one_line_of_error() {
    let folder = Folder::new();
    let text = folder.write("model.zip", "not a zip");
    for command in ["inspect", "print"] {
        assert!(cenote(&[command, &text]).failed(1).contains("model.zip"));
        let error = cenote(&[command, &folder.path("none.zip")]).failed(1);
        assert_eq!(error.matches("No such file").count(), 1, "{error}");
    }
}

#[test]
fn help_and_version_are_there() {
    let version = cenote(&["--version"]).ok();
    assert_eq!(version.trim(), format!("cenote {}", env!("CARGO_PKG_VERSION")));
    for command in ["score", "inspect", "print"] {
        assert!(cenote(&["--help"]).ok().contains(command));
    }
    assert!(cenote(&["score", "--help"]).ok().contains("Exit codes"));
    assert_eq!(cenote(&["paint"]).code, 2);
}
