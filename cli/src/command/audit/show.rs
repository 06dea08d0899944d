//! `counterfoil audit show` and `reindex`.

use std::path::{Path, PathBuf};

use counterfoil_audit::merkle::leaf_hash;
use counterfoil_audit::{LogError, LogReader};
use counterfoil_router::index::{Index, IndexError, Subject};
use serde_json::{Value, json};

use crate::args::{AboutArgs, LogArgs, ShowArgs};
use crate::command::account::id;
use crate::exit::{Failure, Outcome};
use crate::export::rfc3339;
use crate::output;
use crate::throwaway::Scratch;

/// Where a home's index lies.
fn place(home: &Path) -> PathBuf {
    home.join("projections/entries")
}

/// Prints one entry, or those that are about somebody.
pub(crate) fn show(home: &Path, at: &LogArgs, args: &ShowArgs, json: bool) -> Outcome {
    let folder = super::folder(home, at);
    let reader = LogReader::open(&folder).map_err(Failure::store)?;
    if let Some(index) = args.index {
        return one(&reader, index, json);
    }
    let subjects = subjects(&args.about)?;
    let (since, until) = (args.about.since, args.about.until);
    if subjects.is_empty() && since.is_none() && until.is_none() {
        return Err(Failure::wrong_use(
            "say which: an index, or --request, --account, --node, --model, --since or --until",
        ));
    }
    let end = |place: Option<crate::export::Place>, open: u64| {
        place.map_or(Ok(open), |p| p.index(&reader)).map_err(Failure::store)
    };
    let range = end(since, 0)?..end(until, reader.size())?.min(reader.size());
    // One more than is shown tells whether there are more.
    let limit = args.about.limit.saturating_add(1);
    let mut found = if subjects.is_empty() {
        range.take(limit).collect()
    } else {
        // The index of a home is of its own log; that of another log is made for this once.
        let (_scratch, path) = match at.log_dir {
            Some(_) => {
                let scratch = Scratch::new()?;
                let path = scratch.0.join("entries");
                (Some(scratch), path)
            }
            None => (None, place(home)),
        };
        let index = open(&path, &reader)?;
        index.about(&subjects, range, limit).map_err(Failure::store)?
    };
    let more = if found.len() == limit { found.pop() } else { None };
    list(&reader, &found, more, json)
}

fn subjects(about: &AboutArgs) -> Result<Vec<Subject>, Failure> {
    let mut out = Vec::new();
    if let Some(text) = &about.request {
        out.push(Subject::Request(id(text)?));
    }
    if let Some(text) = &about.account {
        out.push(Subject::Account(id(text)?));
    }
    if let Some(text) = &about.node {
        out.push(Subject::Node(id(text)?));
    }
    if let Some(text) = &about.model {
        out.push(Subject::Model(id(text)?));
    }
    Ok(out)
}

fn open(path: &Path, reader: &LogReader) -> Result<Index, Failure> {
    let bar = output::progress("indexing");
    let index = Index::open(path, reader, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    index.map_err(|e| match e {
        IndexError::Log(e) => Failure::check(e),
        e => Failure::store(e),
    })
}

fn entry(reader: &LogReader, index: u64) -> Result<Value, Failure> {
    let bytes = match reader.leaf(index) {
        Err(LogError::Removed { hash, .. }) => {
            return Ok(json!({ "index": index, "leaf_hash": hash, "removed": true }));
        }
        leaf => leaf.map_err(Failure::check)?,
    };
    let (leaf, body) = reader.entry(index).map_err(Failure::check)?;
    Ok(json!({
        "index": index, "leaf_hash": leaf_hash(&bytes), "bytes": bytes.len(),
        "signatures": leaf.signatures, "body": body,
    }))
}

fn one(reader: &LogReader, index: u64, json: bool) -> Outcome {
    if index >= reader.size() {
        return Err(Failure::wrong_use(format!(
            "the log has {} entries; the last is {}",
            reader.size(),
            reader.size().saturating_sub(1)
        )));
    }
    let value = entry(reader, index)?;
    if json {
        output::json(&value);
    } else {
        output::line(&serde_json::to_string_pretty(&value).map_err(Failure::store)?);
    }
    Ok(())
}

fn list(reader: &LogReader, found: &[u64], more: Option<u64>, json: bool) -> Outcome {
    if json {
        let entries = found.iter().map(|i| entry(reader, *i)).collect::<Result<Vec<_>, _>>()?;
        output::json(&json!({ "entries": entries, "next": more }));
        return Ok(());
    }
    let mut rows = Vec::with_capacity(found.len());
    for index in found {
        let body = match reader.entry(*index) {
            Err(LogError::Removed { .. }) => {
                rows.push(vec![index.to_string(), String::new(), "(removed)".to_owned(), String::new()]);
                continue;
            }
            entry => entry.map_err(Failure::check)?.1,
        };
        let kind = body.payload.name().to_owned();
        rows.push(vec![index.to_string(), rfc3339(body.time), kind, body.serial.to_string()]);
    }
    output::table(&["entry", "time", "kind", "serial"], &rows);
    if let Some(next) = more {
        output::line(&format!("… and more; go on with --since {next}"));
    }
    Ok(())
}

/// Makes a home's index anew.
pub(crate) fn reindex(home: &Path, json: bool) -> Outcome {
    let reader = LogReader::open(&home.join("log")).map_err(Failure::store)?;
    let path = place(home);
    let was = Index::discard(&path).map_err(Failure::store)?;
    let index = open(&path, &reader)?;
    if json {
        output::json(&json!({ "applied": index.applied(), "moved_aside": was, "path": path }));
    } else {
        output::line(&format!("{}: {} entries", path.display(), index.applied()));
    }
    Ok(())
}
