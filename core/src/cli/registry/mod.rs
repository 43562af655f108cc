//! `cenote registry`: models in PostgreSQL from the command line.
//!
//! In flow MOJO files and references (`churn`, `churn:3`, `churn@production`); out flow tables for people, with `--json` one
//! document for programs on standard output, and MOJO files that appear whole or not at all.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cenote::registry::{ModelRef, ModelVersion, PublicKey, Registration, Route, Selector, SigningKey, Stage};
use clap::{Args, Subcommand};
use serde_json::json;

use super::Usage;
use super::store::connect::Connection;
use super::store::text::{print_json, print_line, print_table};

const ABOUT_REFERENCES: &str = "A model is named churn (its newest version), churn:3, churn@production or churn#SHA256. \
Keys are ed25519: openssl genpkey -algorithm ed25519 makes one, openssl pkey -pubout its public half.";

#[derive(Debug, Subcommand)]
#[command(after_help = ABOUT_REFERENCES)]
pub(crate) enum RegistryCommand {
    /// Registers a MOJO as the next version of a name; makes the registry's tables where there are none
    Add(AddArgs),
    /// Lists versions, with their stages and the aliases that point at them
    List(ListArgs),
    /// Points an alias at a version, perhaps with a canary and a shadow; or says where a version is in its life
    Promote(PromoteArgs),
    /// Verifies a version: signature, digest, that it opens, and its golden rows
    Verify(OneModel),
    /// Fetches the MOJO of a version, verified
    Get(GetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The model's name
    name: String,
    /// The MOJO zip
    mojo: PathBuf,
    /// A metric by which the version was judged; may be given again
    #[arg(long, value_name = "NAME=NUMBER")]
    metric: Vec<String>,
    /// A tag; may be given again
    #[arg(long, value_name = "NAME=TEXT")]
    tag: Vec<String>,
    /// Rows that the model must answer alike for ever: a JSON list of objects
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// The private key to sign with, in PEM
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// Point this alias at the version as well
    #[arg(long, value_name = "ALIAS")]
    alias: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The model's name; every model if not given
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// The version: churn:3, or any other reference
    model: String,
    /// The alias that is to point at it
    #[arg(value_name = "ALIAS", required_unless_present = "stage")]
    alias: Option<String>,
    /// A version that answers for a share of the keys, always the same ones
    #[arg(long, value_name = "VERSION", requires = "share", requires = "alias")]
    canary: Option<i32>,
    /// The canary's share of the keys, 0 to 1
    #[arg(long, value_name = "SHARE", requires = "canary")]
    share: Option<f64>,
    /// A version that is scored as well and never answers
    #[arg(long, value_name = "VERSION", requires = "alias")]
    shadow: Option<i32>,
    /// Where the version is in its life: none, staging, production or archived
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct OneModel {
    /// The model: churn, churn:3, churn@production or churn#SHA256
    model: String,
    /// A public key, in PEM, one of which must have signed the version; may be given again
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    of: OneModel,
    /// Where the MOJO goes
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    connection: Connection,
    /// Print one JSON document, for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &RegistryCommand) -> anyhow::Result<()> {
    match command {
        RegistryCommand::Add(args) => add(args),
        RegistryCommand::List(args) => list(args),
        RegistryCommand::Promote(args) => promote(args),
        RegistryCommand::Verify(args) => verify(args),
        RegistryCommand::Get(args) => get(args),
    }
}

fn add(args: &AddArgs) -> anyhow::Result<()> {
    let wrong = || format!("cannot register {}", args.mojo.display());
    let mojo = fs::read(&args.mojo).with_context(wrong)?;
    let mut with = Registration::new();
    for metric in &args.metric {
        let unreadable = || Usage(format!("--metric {metric}: expected NAME=NUMBER"));
        let (name, value) = metric.split_once('=').ok_or_else(unreadable)?;
        with = with.metric(name, value.parse().map_err(|_| unreadable())?);
    }
    for tag in &args.tag {
        let (name, value) =
            tag.split_once('=').ok_or_else(|| Usage(format!("--tag {tag}: expected NAME=TEXT")))?;
        with = with.tag(name, value);
    }
    if let Some(file) = &args.golden {
        with = with.golden_json(&text(file)?).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let key = args.sign.as_deref().map(|file| Ok::<_, anyhow::Error>(SigningKey::from_pem(&text(file)?)?));
    let key = key.transpose()?;
    if let Some(key) = &key {
        with = with.signed_by(key);
    }
    let store = args.common.connection.open()?;
    store.apply_registry()?;
    let mut version = store.register_model_with(&args.name, &mojo, &with).with_context(wrong)?;
    if let Some(alias) = &args.alias {
        store.promote_model(&args.name, alias, version.version)?;
        version = store.find_model(&format!("{}:{}", version.name, version.version))?;
    }
    show(&[version], &args.common)
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let versions = args.common.connection.open()?.list_models(args.name.as_deref())?;
    show(&versions, &args.common)
}

fn promote(args: &PromoteArgs) -> anyhow::Result<()> {
    let store = args.common.connection.open()?;
    let found = store.find_model(&args.model)?;
    if let Some(stage) = &args.stage {
        let stage: Stage = stage.parse().map_err(|error| Usage(format!("--stage {stage}: {error}")))?;
        store.set_model_stage(&found.name, found.version, stage)?;
    }
    if let Some(alias) = &args.alias {
        let mut route = Route::to(found.version);
        if let (Some(version), Some(share)) = (args.canary, args.share) {
            route = route.canary(version, share);
        }
        if let Some(version) = args.shadow {
            route = route.shadow(version);
        }
        store.route_model(&found.name, alias, &route)?;
    }
    let selector = Selector::Version(found.version);
    let found = store.find_model(&ModelRef { name: found.name, selector }.to_string())?;
    show(&[found], &args.common)
}

fn verify(args: &OneModel) -> anyhow::Result<()> {
    let store = args.common.connection.open()?;
    let version = store.verify_model(&args.model, trusted(&args.trust)?)?;
    if args.common.json {
        return Ok(print_json(&document(&version))?);
    }
    let ModelVersion { name, version, golden_rows, signed_by, .. } = version;
    let signed = signed_by.map_or_else(|| "not signed".to_owned(), |key| format!("signed by {key}"));
    Ok(print_line(format_args!("{name}:{version} is whole: digest, {golden_rows} golden rows, {signed}"))?)
}

fn get(args: &GetArgs) -> anyhow::Result<()> {
    let store = args.of.common.connection.open()?;
    let (version, mojo) = store.fetch_model_trusting(&args.of.model, trusted(&args.of.trust)?)?;
    let wrong = || format!("cannot write {}", args.output.display());
    let folder =
        args.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(wrong)?;
    file.write_all(&mojo).with_context(wrong)?;
    file.persist(&args.output).with_context(wrong)?;
    show(&[version], &args.of.common)
}

fn trusted(files: &[PathBuf]) -> anyhow::Result<Option<Vec<PublicKey>>> {
    let keys = files.iter().map(|file| Ok(PublicKey::from_text(&text(file)?)?));
    let keys: Vec<_> = keys.collect::<anyhow::Result<_>>()?;
    Ok((!keys.is_empty()).then_some(keys))
}

fn text(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn show(versions: &[ModelVersion], common: &Common) -> anyhow::Result<()> {
    if common.json {
        let documents: Vec<_> = versions.iter().map(document).collect();
        return Ok(print_json(&documents.into())?);
    }
    let row = |version: &ModelVersion| {
        let metrics: Vec<_> = version.metrics.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let some = |text: String| (!text.is_empty()).then_some(text);
        vec![
            Some(format!("{}:{}", version.name, version.version)),
            Some(version.stage.to_string()),
            some(version.aliases.join(" ")),
            Some(version.algorithm.clone()),
            some(metrics.join(" ")),
            version.signed_by.map(|key| key.to_string()[..12].to_owned()),
            Some(version.sha256[..12].to_owned()),
        ]
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    Ok(print_table(&["model", "stage", "aliases", "algorithm", "metrics", "signed by", "sha256"], &rows)?)
}

fn document(version: &ModelVersion) -> serde_json::Value {
    json!({
        "name": version.name,
        "version": version.version,
        "sha256": version.sha256,
        "bytes": version.bytes,
        "algorithm": version.algorithm,
        "h2o_version": version.h2o_version,
        "inputs": version.inputs,
        "input_types": version.input_types,
        "outputs": version.outputs,
        "metrics": version.metrics,
        "tags": version.tags,
        "stage": version.stage.name(),
        "aliases": version.aliases,
        "signed_by": version.signed_by.map(|key| key.to_string()),
        "golden_rows": version.golden_rows,
        "created_at_micros": version.created_at.as_micros(),
    })
}
