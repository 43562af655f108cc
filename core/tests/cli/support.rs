//! The built program, the committed cases of the zoo, and tables of text.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::MultiGzDecoder;
use tempfile::TempDir;

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program with arguments, `input` on its standard input.
pub(crate) fn cenote_with(input: &[u8], args: &[&str]) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cenote"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The program may stop reading early, which breaks this pipe.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the program with arguments.
pub(crate) fn cenote(args: &[&str]) -> Outcome {
    cenote_with(b"", args)
}

impl Outcome {
    /// Standard output of a run that did well and said nothing on standard error.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
        self.stdout
    }

    /// The one line on standard error of a run that failed with `code` and printed nothing else.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("cenote: "), "{}", self.stderr);
        self.stderr
    }
}

/// A case of the zoo.
pub(crate) struct Case {
    folder: PathBuf,
}

impl Case {
    pub(crate) fn new(name: &str) -> Self {
        Self { folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/zoo").join(name) }
    }

    pub(crate) fn model(&self) -> String {
        path(&self.folder.join("model.zip"))
    }

    pub(crate) fn input(&self) -> String {
        path(&self.folder.join("input.csv"))
    }

    /// A file of the case, or the `.gz` of it.
    pub(crate) fn text(&self, file: &str) -> String {
        read(&self.folder.join(file))
    }

    pub(crate) fn table(&self, file: &str) -> Table {
        Table::parse(&self.text(file))
    }

    /// What `score` prints for the input of the case.
    #[track_caller]
    pub(crate) fn score(&self, more: &[&str]) -> Table {
        let (model, input) = (self.model(), self.input());
        Table::parse(
            &cenote(&[&["score", "--mojo", &model, "--input", &input, "--output", "-"], more].concat()).ok(),
        )
    }
}

/// A folder that is there as long as its test runs.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, file: &str) -> String {
        path(&self.0.path().join(file))
    }

    pub(crate) fn write(&self, file: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(file), content).unwrap();
        self.path(file)
    }

    /// The names of all files, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The text of a file, or of the `.gz` of it.
pub(crate) fn read(path: &Path) -> String {
    let mut text = String::new();
    let gzip = format!("{}.gz", path.display());
    match (path.extension().is_some_and(|extension| extension == "gz"), path.exists()) {
        (false, true) => File::open(path).unwrap().read_to_string(&mut text).unwrap(),
        (true, _) => MultiGzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap(),
        (false, false) => MultiGzDecoder::new(File::open(gzip).unwrap()).read_to_string(&mut text).unwrap(),
    };
    text
}

/// A table of text cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads RFC 4180, by another way than the program.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
        let (mut quoted, mut chars) = (false, text.chars().peekable());
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.next_if_eq(&'"').is_some() => cell.push('"'),
                '"' => quoted = !quoted,
                ',' if !quoted => row.push(std::mem::take(&mut cell)),
                '\n' if !quoted => {
                    row.push(std::mem::take(&mut cell));
                    rows.push(std::mem::take(&mut row));
                }
                '\r' if !quoted => {}
                c => cell.push(c),
            }
        }
        assert!(row.is_empty() && cell.is_empty(), "the last line is not ended");
        let names: Vec<String> = rows.remove(0);
        assert!(rows.iter().all(|row| row.len() == names.len()));
        Self { names, rows }
    }

    pub(crate) fn column(&self, name: &str) -> Option<Vec<&str>> {
        let at = self.names.iter().position(|other| other == name)?;
        Some(self.rows.iter().map(|row| row[at].as_str()).collect())
    }

    /// Without the column of that name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        if let Some(at) = self.names.iter().position(|other| other == name) {
            self.names.remove(at);
            for row in &mut self.rows {
                row.remove(at);
            }
        }
        self
    }

    /// Checks cell by cell: texts equal, numbers within `ulps`. Names may differ: the zoo writes `p_` before labels.
    #[track_caller]
    pub(crate) fn assert_near(&self, expected: &Table, ulps: u64) {
        assert_eq!((self.names.len(), self.rows.len()), (expected.names.len(), expected.rows.len()));
        for (at, (row, wanted)) in self.rows.iter().zip(&expected.rows).enumerate() {
            for ((cell, want), name) in row.iter().zip(wanted).zip(&self.names) {
                assert!(
                    cell == want || near(cell, want, ulps),
                    "row {at}, column {name}: {cell}, expected {want}"
                );
            }
        }
    }
}

fn near(a: &str, b: &str, ulps: u64) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else { return false };
    a == b
        || a.is_nan() && b.is_nan()
        || a.signum() == b.signum() && a.to_bits().abs_diff(b.to_bits()) <= ulps
}
