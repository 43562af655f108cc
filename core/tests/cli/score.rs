//! `cenote score`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use cenote::input::parquet::ParquetFile;
use cenote::input::{Text, Values};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Case, Folder, Outcome, Table, cenote, cenote_with, read};

/// Runs `score` from a file to a file.
fn score(case: &Case, input: &str, output: &str, more: &[&str]) -> Outcome {
    cenote(&[&["score", "--mojo", &case.model(), "--input", input, "--output", output], more].concat())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn scores_are_those_of_h2o() {
    for (name, ulps) in [
        ("gbm_bits32", 2),
        ("gbm_multinomial_iris", 2),
        ("gbm_one_feature", 2),
        ("old3_10_0_10_drf_multi", 2),
        ("glm_offset_gamma", 4),
        ("glm_multinomial_penguins", 4),
    ] {
        let case = Case::new(name);
        case.score(&[]).assert_near(&case.table("expected.csv").without("error"), ulps);
    }
}

#[test]
fn any_name_of_a_column_will_do() {
    let case = Case::new("gbm_weird_names");
    // One of its columns has a name that the input does not have.
    let expected = case.table("expected.csv").without("error");
    case.score(&["--missing-columns", "na"]).assert_near(&expected, 2);
}

#[test]
fn columns_have_names_that_h2o_gives_them() {
    assert_eq!(Case::new("gbm_bits32").score(&[]).names, ["predict", "No", "Yes"]);
    assert_eq!(Case::new("gbm_one_feature").score(&[]).names[0], "predict");
}

#[test]
fn a_refused_row_is_empty_and_says_why() {
    let case = Case::new("glm_skip_gauss");
    let (scored, expected) = (case.score(&[]), case.table("expected.csv"));
    assert_eq!(scored.names, ["predict", "error"]);
    let (reasons, classes) = (scored.column("error").unwrap(), expected.column("error").unwrap());
    assert!(classes.iter().any(|class| !class.is_empty()) && classes.iter().any(|class| class.is_empty()));
    for (reason, class) in reasons.iter().zip(classes) {
        assert_eq!(reason.split(": ").next().unwrap(), class, "{reason}");
    }
    scored.clone().without("error").assert_near(&expected.clone().without("error"), 4);

    // The same through gzip and Parquet, where the column is added to what was written before.
    let folder = Folder::new();
    let compressed = folder.path("out.csv.gz");
    score(&case, &case.input(), &compressed, &[]).ok();
    assert_eq!(Table::parse(&read(Path::new(&compressed))), scored);
    let parquet = folder.path("out.parquet");
    score(&case, &case.input(), &parquet, &[]).ok();
    let file = ParquetFile::open(fs::File::open(&parquet).unwrap()).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["predict", "error"]);
    assert_eq!(file.rows(), scored.rows.len() as u64);
}

/// A file whose first refused row comes late, so that many pieces are written before.
#[test]
fn the_error_column_is_added_to_all_lines_before() {
    const GOOD: usize = 90_000;
    let case = Case::new("glm_skip_gauss");
    let expected = case.table("expected.csv");
    let text = case.text("input.csv");
    let lines: Vec<&str> = text.lines().collect();
    let (header, rows) = lines.split_first().unwrap();
    let refused = |at: &usize| !expected.rows[*at].last().unwrap().is_empty();
    let bad = (0..rows.len()).find(refused).unwrap();
    let good: Vec<usize> = (0..rows.len()).filter(|at| !refused(at)).collect();
    let (mut input, mut wanted) = (format!("{header}\n"), Vec::new());
    for at in good.iter().copied().cycle().take(GOOD).chain([bad]).chain(good.iter().copied().take(3)) {
        input += rows[at];
        input += "\n";
        wanted.push(&expected.rows[at]);
    }
    assert!(input.len() > 3 << 20, "more than a few pieces");
    let folder = Folder::new();
    let input = folder.write("in.csv", input);
    for output in ["out.csv", "out.csv.gz"] {
        let output = folder.path(output);
        score(&case, &input, &output, &["--threads", "3"]).ok();
        let scored = Table::parse(&read(Path::new(&output)));
        assert_eq!(scored.names, ["predict", "error"]);
        assert_eq!(scored.rows.len(), wanted.len());
        for (row, wanted) in scored.rows.iter().zip(&wanted) {
            assert_eq!(row[0].is_empty(), wanted[0].is_empty());
            assert_eq!(row[1].is_empty(), wanted[1].is_empty());
        }
    }
    let output = folder.path("out.parquet");
    score(&case, &input, &output, &[]).ok();
    let file = ParquetFile::open(fs::File::open(&output).unwrap()).unwrap();
    assert_eq!((file.names().len(), file.rows()), (2, wanted.len() as u64));
    let reasons: Vec<Option<String>> = texts(&output, "error");
    assert_eq!(reasons.iter().position(Option::is_some), Some(GOOD));
    assert_eq!(reasons.iter().flatten().count(), 1);
}

/// A text column of a Parquet file.
fn texts(path: &str, column: &str) -> Vec<Option<String>> {
    let file = ParquetFile::open(fs::File::open(path).unwrap()).unwrap();
    let mut cells = Vec::new();
    for batch in file.batches(1000, |name| name == column).unwrap() {
        let batch = batch.unwrap();
        let batch = batch.batch().unwrap();
        match batch.column(column).unwrap() {
            Values::Text(text) => cells.extend((0..text.len()).map(|row| text.get(row).map(str::to_owned))),
            other => panic!("not text: {other:?}"),
        }
    }
    cells
}

#[test]
fn files_pipes_and_gzip_are_one() {
    let case = Case::new("gbm_bits32");
    let expected = case.score(&[]);
    let text = case.text("input.csv");
    let folder = Folder::new();
    let output = folder.path("out.csv");
    let compressed = folder.write("in.csv.gz", gzip(&text));
    score(&case, &compressed, &output, &[]).ok();
    assert_eq!(Table::parse(&read(Path::new(&output))), expected);
    // gzip is known by its bytes, also from a pipe; several members are one file.
    let (head, tail) = text.split_at(text.len() / 2);
    for input in [text.clone().into_bytes(), gzip(&text), [gzip(head), gzip(tail)].concat()] {
        let piped =
            cenote_with(&input, &["score", "--mojo", &case.model(), "--input", "-", "--output", "-"]).ok();
        assert_eq!(Table::parse(&piped), expected);
    }
    assert_eq!(folder.files(), ["in.csv.gz", "out.csv"], "no temporary file is left");
}

#[test]
fn order_of_columns_and_columns_beside_do_not_matter() {
    let case = Case::new("gbm_bits32");
    let table = case.table("input.csv");
    let mut text = String::from("\u{feff}extra,");
    text += &table.names.iter().rev().cloned().collect::<Vec<_>>().join(",");
    for row in &table.rows {
        let cells = row.iter().rev().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
        text += &format!("\r\n\"x, \"\"y\"\"\nz\",{}", cells.collect::<Vec<_>>().join(","));
    }
    let scored =
        cenote_with(text.as_bytes(), &["score", "--mojo", &case.model(), "--input", "-", "--output", "-"]);
    assert_eq!(Table::parse(&scored.ok()), case.score(&[]));
}

#[test]
fn missing_is_empty_na_or_a_dash() {
    let case = Case::new("gbm_bits32");
    let input = "origin,engine,type,carrier,manufacturer\n,,,,\nNA,N/A,-,\"\",NA\n";
    let scored =
        cenote_with(input.as_bytes(), &["score", "--mojo", &case.model(), "--input", "-", "--output", "-"]);
    let table = Table::parse(&scored.ok());
    assert_eq!(table.rows[0], table.rows[1]);
}

#[test]
fn leaves_and_stages_are_those_of_h2o() {
    let case = Case::new("gbm_bits32");
    let expected = case.table("expected_leaves.csv").without("row");
    let paths = case.score(&["--leaf-assignments", "path"]);
    let nodes = case.score(&["--leaf-assignments", "node-id"]);
    assert_eq!(paths.names[..2], ["T1.C1", "T2.C1"]);
    for (row, expected) in expected.rows.iter().enumerate() {
        assert_eq!(paths.rows[row], expected[..12]);
        assert_eq!(nodes.rows[row], expected[12..]);
    }
    let expected = case.table("expected_staged.csv").without("row");
    let mut staged = case.score(&["--staged"]);
    staged.rows.truncate(expected.rows.len());
    staged.assert_near(&expected, 2);
}

#[test]
fn parquet_goes_in_and_out() {
    let case = Case::new("gbm_multinomial_iris");
    let folder = Folder::new();
    // The scores of one model are numbers for the next to read.
    let first = folder.path("first.parquet");
    score(&case, &case.input(), &first, &[]).ok();
    let file = ParquetFile::open(fs::File::open(&first).unwrap()).unwrap();
    let expected = case.score(&[]);
    assert_eq!(file.names().collect::<Vec<_>>(), expected.names);
    let mut numbers = Vec::new();
    for batch in file.batches(7, |name| name == "setosa").unwrap() {
        let batch = batch.unwrap();
        match batch.batch().unwrap().column("setosa").unwrap() {
            Values::F64(column) => numbers.extend((0..column.values.len()).map(|row| column.values.get(row))),
            other => panic!("not numbers: {other:?}"),
        }
    }
    let wanted: Vec<f64> =
        expected.column("setosa").unwrap().iter().map(|cell| cell.parse().unwrap()).collect();
    assert_eq!(numbers.len(), wanted.len());
    assert!(numbers.iter().zip(&wanted).all(|(a, b)| a.to_bits() == b.to_bits()));
    // Its own columns are missing there, which --missing-columns allows.
    let scored = folder.path("second.csv");
    score(&case, &first, &scored, &["--missing-columns", "na"]).ok();
    let table = Table::parse(&read(Path::new(&scored)));
    assert_eq!(table.rows.len(), wanted.len());
    assert!(table.rows.iter().all(|row| row == &table.rows[0]));
}

#[test]
fn missing_columns_are_named() {
    let case = Case::new("gbm_bits32");
    let args = ["score", "--mojo", &case.model(), "--input", "-", "--output", "-"];
    let error = cenote_with(b"origin,wings\nEWR,2\n", &args).failed(1);
    for name in ["carrier", "engine", "manufacturer", "type", "origin", "wings"] {
        assert!(error.contains(&format!("\"{name}\"")), "{name}: {error}");
    }
    let scored =
        cenote_with(b"origin,wings\nEWR,2\n", &[&args[..], &["--missing-columns", "na"]].concat()).ok();
    assert_eq!(Table::parse(&scored).rows.len(), 1);
}

#[test]
fn strict_refuses_what_does_not_fit() {
    let case = Case::new("gbm_bits32");
    let input =
        "origin,engine,type,carrier,manufacturer\nEWR,,,UA,BOEING\nEWR,,,UA,BOEING\nMARS,,,UA,BOEING\n";
    let args = ["score", "--mojo", &case.model(), "--input", "-", "--output", "-"];
    assert_eq!(Table::parse(&cenote_with(input.as_bytes(), &args).ok()).rows.len(), 3);
    let error = cenote_with(input.as_bytes(), &[&args[..], &["--strict"]].concat()).failed(1);
    assert!(error.contains("line 4") && error.contains("\"origin\"") && !error.contains("MARS"), "{error}");
}

#[test]
fn strict_fails_if_h2o_refuses_a_row() {
    let case = Case::new("glm_skip_gauss");
    let header = case.text("input.csv").lines().next().unwrap().to_owned();
    let input = format!("{header}\n{}\n", ",".repeat(header.matches(',').count()));
    let args = ["score", "--mojo", &case.model(), "--input", "-", "--output", "-"];
    assert!(cenote_with(input.as_bytes(), &args).ok().contains("error"));
    let outcome = cenote_with(input.as_bytes(), &[&args[..], &["--strict"]].concat());
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("line 2"), "{}", outcome.stderr);
}

#[test]
fn a_wrong_line_leaves_no_output() {
    let case = Case::new("gbm_bits32");
    let folder = Folder::new();
    let good = case.text("input.csv");
    let lines = good.lines().count();
    for (tail, problem) in [
        (&b"EWR,Turbo-fan\n"[..], "expected 5 fields, found 2"),
        (b"a,b,c,d,e,f\n", "expected 5 fields, found 6"),
        (b"\"EWR,b,c,d,e\n", "not closed"),
        (b"\xff,b,c,d,e\n", "UTF-8"),
        (b"\na,b,c,d,e\n", "blank"),
    ] {
        let input = folder.write("in.csv", [good.as_bytes(), tail].concat());
        for output in ["out.csv", "out.csv.gz", "out.parquet"] {
            let error = score(&case, &input, &folder.path(output), &[]).failed(1);
            assert!(error.contains(&format!("line {}: ", lines + 1)) && error.contains(problem), "{error}");
            assert_eq!(folder.files(), ["in.csv"]);
        }
        let former = folder.write("out.csv", "as it was");
        score(&case, &input, &former, &[]).failed(1);
        assert_eq!(read(Path::new(&former)), "as it was");
        fs::remove_file(former).unwrap();
        score(&case, &input, "-", &[]).failed(1);
    }
}

#[test]
fn broken_files_are_errors() {
    let case = Case::new("gbm_bits32");
    let folder = Folder::new();
    let output = folder.path("out.csv");
    let whole = gzip(&case.text("input.csv"));
    let cut = folder.write("cut.csv.gz", &whole[..whole.len() / 2]);
    assert!(score(&case, &cut, &output, &[]).failed(1).contains("cut.csv.gz"));
    let parquet = folder.write("bad.parquet", "PAR1 and nothing else PAR1");
    assert!(score(&case, &parquet, &output, &[]).failed(1).contains("bad.parquet"));
    let hidden = folder.write("hidden.csv", "PAR1\0\0\0\0");
    assert!(score(&case, &hidden, &output, &[]).failed(1).contains("Parquet"));
    assert!(score(&case, &folder.path("none.csv"), &output, &[]).failed(1).contains("none.csv"));
    let nowhere = folder.path("no/such/folder/out.csv");
    assert!(score(&case, &case.input(), &nowhere, &[]).failed(1).contains("no/such/folder"));
    assert!(score(&case, &case.input(), &folder.path("."), &[]).failed(1).contains("folder"));
    assert!(score(&case, "-", &output, &["--input-format", "parquet"]).failed(2).contains("standard input"));
}

#[test]
fn a_file_without_rows_gives_a_header() {
    let case = Case::new("gbm_bits32");
    let header = case.text("input.csv").lines().next().unwrap().to_owned();
    for text in [header.clone(), header.clone() + "\n", header + "\r\n\r\n"] {
        let args = ["score", "--mojo", &case.model(), "--input", "-", "--output", "-"];
        assert_eq!(cenote_with(text.as_bytes(), &args).ok(), "predict,No,Yes\n");
    }
}

#[test]
fn contradictory_questions_are_refused() {
    let case = Case::new("gbm_bits32");
    assert_eq!(score(&case, &case.input(), "-", &["--staged", "--leaf-assignments", "path"]).code, 2);
    assert_eq!(score(&case, &case.input(), "-", &["--threads", "0"]).code, 2);
    let glm = Case::new("glm_skip_gauss");
    assert!(score(&glm, &glm.input(), "-", &["--staged"]).failed(2).contains("not supported"));
}

#[cfg(unix)]
#[test]
fn devices_and_links_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

    let case = Case::new("gbm_bits32");
    score(&case, &case.input(), "/dev/null", &[]).ok();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let folder = Folder::new();
    let target = folder.write("target.csv", "old");
    let link = folder.path("link.csv");
    symlink(&target, &link).unwrap();
    score(&case, &case.input(), &link, &[]).ok();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(read(Path::new(&target)).starts_with("predict,"));
    // As readable as any new file.
    let plain = folder.write("plain", "");
    let mode = |path: &str| fs::metadata(path).unwrap().mode();
    assert_eq!(mode(&target), mode(&plain));
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let case = Case::new("gbm_bits32");
    let mut input = case.text("input.csv");
    let rows = input.split_once('\n').unwrap().1.repeat(200);
    input += &rows;
    let folder = Folder::new();
    let input = folder.write("in.csv", input);
    let mut child = Command::new(env!("CARGO_BIN_EXE_cenote"))
        .args(["score", "--mojo", &case.model(), "--input", &input, "--output", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "predict,No,Yes\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

/// Peak memory of a run does not grow with its input: that of 16 times as many rows is about the same.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_input() {
    let case = Case::new("gbm_bits32");
    let text = case.text("input.csv");
    let (header, rows) = text.split_once('\n').unwrap();
    let folder = Folder::new();
    let peak = |times: usize, output: &str, more: &[&str]| {
        let input = folder.write("in.csv", format!("{header}\n{}", rows.repeat(times)));
        let output = folder.path(output);
        let script = "\"$@\" & pid=$!; peak=0; while kill -0 $pid 2>/dev/null; do \
                      now=$(sed -n 's/^VmHWM: *\\([0-9]*\\) kB/\\1/p' /proc/$pid/status 2>/dev/null); \
                      [ -n \"$now\" ] && peak=$now; done; wait $pid && echo $peak";
        let mut args = vec!["-c", script, "sh", env!("CARGO_BIN_EXE_cenote"), "score", "--mojo"];
        let model = case.model();
        args.extend([&model, "--input", &input, "--output", &output, "--threads", "2"]);
        args.extend(more);
        let run = Command::new("sh").args(args).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().parse::<u64>().unwrap()
    };
    for (output, more) in
        [("out.csv", &[][..]), ("out.parquet", &[]), ("out.csv", &["--leaf-assignments", "node-id"])]
    {
        let (few, many) = (peak(60, output, more), peak(960, output, more));
        assert!(many < few + few / 2 + (24 << 10), "{few} kB, then {many} kB to {output}");
    }
}

/// What `score` gives for text cells is what the library gives for them.
#[test]
fn the_library_gives_the_same_bits() {
    let case = Case::new("gbm_bits32");
    let table = case.table("input.csv");
    let columns: Vec<Vec<Option<&str>>> = (0..table.names.len())
        .map(|at| {
            table
                .rows
                .iter()
                .map(|row| Some(row[at].as_str()).filter(|cell| !cell.is_empty() && *cell != "NA"))
                .collect()
        })
        .collect();
    let mut batch = cenote::Batch::new(table.rows.len());
    for (name, cells) in table.names.iter().zip(&columns) {
        batch.push(name.as_str(), Values::Text(Text::Slices(cells.as_slice().into()))).unwrap();
    }
    let predictions = cenote::Model::open(case.model()).unwrap().predict(&batch).unwrap();
    let Some(cenote::OutputValues::Number(numbers)) = predictions.column("Yes").map(|column| &column.values)
    else {
        panic!("no numbers")
    };
    for (cell, number) in case.score(&[]).column("Yes").unwrap().iter().zip(numbers) {
        assert_eq!(cell.parse::<f64>().unwrap().to_bits(), number.to_bits());
    }
}
