//! Golden cases: real MOJOs, hostile rows, and what H2O's own Java says of them.
//!
//! In flow the cases of `fixtures/zoo`, or of the folder that `CENOTE_ZOO` names; out flows a table of case, rows, worst
//! difference in units in the last place, and verdict. Any failing case fails the test. Cases of algorithms that cenote
//! does not score yet are listed as skipped.

mod case;

use std::path::{Path, PathBuf};

use case::Outcome;

#[test]
#[expect(clippy::print_stdout, reason = "the table is the point")]
fn every_case_scores_as_h2o_does() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/zoo");
    let root = std::env::var_os("CENOTE_ZOO").map_or(fixtures, PathBuf::from);
    let root = if root.join("cases").is_dir() { root.join("cases") } else { root };
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("meta.json").is_file())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "{} holds no cases", root.display());

    let only = std::env::var("CENOTE_CASE").unwrap_or_default();
    let (mut passed, mut failed, mut skipped, mut rows, mut worst) = (0, 0, 0, 0, 0);
    println!("{:<38} {:>8} {:>9} {:>6}  verdict", "case", "rows", "cells", "ulp");
    for path in cases {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        match case::run(&path) {
            Outcome::Skipped(why) => {
                skipped += 1;
                println!("{name:<38} {:>8} {:>9} {:>6}  skipped: {why}", "", "", "");
            }
            Outcome::Ran(report) => {
                rows += report.rows;
                worst = worst.max(report.worst_ulp);
                let verdict = if report.failures.is_empty() { "ok" } else { "FAILED" };
                println!(
                    "{name:<38} {:>8} {:>9} {:>6}  {verdict}",
                    report.rows, report.cells, report.worst_ulp
                );
                for failure in report.failures.iter().take(8) {
                    println!("    {failure}");
                }
                if report.failures.is_empty() {
                    passed += 1;
                } else {
                    failed += 1;
                }
            }
        }
    }
    println!(
        "{passed} passed, {failed} failed, {skipped} skipped; {rows} rows; worst difference {worst} ulp"
    );
    assert_eq!(failed, 0, "cases failed");
}
