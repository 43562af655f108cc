//! `plan`, `apply`, `verify` and `gc`: the tables of views.

use std::time::Duration;

use cenote::store::{Error, ErrorKind};
use clap::Args;
use serde_json::json;

use super::text::{print_json, print_line, print_table};
use super::{Common, OneView, open_view};

pub(crate) fn plan(args: &Common) -> anyhow::Result<()> {
    change(args, false)
}

pub(crate) fn apply(args: &Common) -> anyhow::Result<()> {
    change(args, true)
}

/// Shows what would be done, and does it if told so.
fn change(args: &Common, apply: bool) -> anyhow::Result<()> {
    let views = args.views.iter().map(|path| open_view(path)).collect::<Result<Vec<_>, _>>()?;
    let store = args.connection.open()?;
    let mut all = Vec::new();
    for view in &views {
        let statements = store.plan_view(view)?;
        if !args.json {
            print_line(format_args!("-- view {} version {}", view.name(), view.version()))?;
            if statements.is_empty() {
                print_line("-- nothing to do")?;
            }
            for statement in &statements {
                print_line(format_args!("{statement};"))?;
            }
        }
        if apply {
            store.apply(view)?;
        }
        let (name, version) = (view.name(), view.version());
        all.push(json!({"view": name, "version": version, "statements": statements, "applied": apply}));
    }
    if args.json {
        print_json(&all.into())?;
    }
    Ok(())
}

pub(crate) fn verify(args: &Common) -> anyhow::Result<()> {
    let views = args.views.iter().map(|path| open_view(path)).collect::<Result<Vec<_>, _>>()?;
    let store = args.connection.open()?;
    let (mut all, mut rows, mut differ) = (Vec::new(), Vec::new(), 0);
    for view in &views {
        let differences = match store.verify(view).map_err(Error::into_kind) {
            Ok(()) => Vec::new(),
            Err(ErrorKind::SchemaDrift { differences, .. }) => differences,
            Err(other) => return Err(Error::from(other).into()),
        };
        differ += usize::from(!differences.is_empty());
        let cell = |text: &str| Some(text.to_owned());
        if differences.is_empty() {
            rows.push(vec![cell(&view.table()), cell("as the view says")]);
        }
        rows.extend(differences.iter().map(|difference| vec![cell(&view.table()), cell(difference)]));
        all.push(json!({"view": view.name(), "version": view.version(), "differences": differences}));
    }
    if args.json {
        print_json(&all.into())?;
    } else {
        print_table(&["table", "state"], &rows)?;
    }
    match differ {
        0 => Ok(()),
        _ => anyhow::bail!("{differ} of {} views differ from their tables", views.len()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    of: OneView,
    /// Forget finished batches of loads and materialisations that are older than so many days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    batches_older_than: u32,
}

pub(crate) fn gc(args: &GcArgs) -> anyhow::Result<()> {
    let view = open_view(&args.of.view)?;
    let store = args.of.connection.open()?;
    let partitions = view.history().map(|_| store.maintain(&view)).transpose()?.unwrap_or_default();
    let age = Duration::from_secs(86_400 * u64::from(args.batches_older_than));
    let forgotten = store.forget_batches(&view, age)?;
    if args.of.json {
        let (made, dropped) = (partitions.made, partitions.dropped);
        return Ok(print_json(&json!({"made": made, "dropped": dropped, "batches": forgotten}))?);
    }
    let row = |what: &str, name: String| vec![Some(what.to_owned()), Some(name)];
    let mut rows: Vec<_> = partitions.made.into_iter().map(|name| row("partition made", name)).collect();
    rows.extend(partitions.dropped.into_iter().map(|name| row("partition dropped", name)));
    rows.push(row("batches forgotten", forgotten.to_string()));
    Ok(print_table(&["what", "which"], &rows)?)
}
