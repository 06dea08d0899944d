//! `counterfoil audit verify --against`: two logs with the halves of one work, and what is kept as evidence of a log that contradicts
//! itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_audit::halves::{Compared, Evidence, Half, HalvesError, MAX_EVIDENCE_BYTES, Proven, compare};
use counterfoil_audit::tile::read_limited;
use counterfoil_audit::verify::{Report, VerifyOptions};
use counterfoil_audit::{Head, rebuild};
use counterfoil_spec::rule::FaultKind;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::remote::Remote;
use super::trusted::all_of;
use super::verify::{Judged, judge, open, routers_key, tell_fault};
use crate::exit::{Failure, Outcome};
use crate::output;

/// What came of holding another log against the one that is verified.
pub(super) struct Held {
    dir: PathBuf,
    judged: Judged,
    /// Why not, where damage prevents it.
    compared: Result<Compared, String>,
    evidence: Vec<(PathBuf, Proven)>,
}

/// A log to hold against the one that is verified.
pub(super) struct Other {
    name: PathBuf,
    pub(super) options: VerifyOptions,
    remote: Option<Arc<Remote>>,
}

impl Other {
    pub(super) fn open(log: &Path, key: Option<String>) -> Result<Self, Failure> {
        let (options, remote) = open(log, key)?;
        Ok(Self { name: log.to_owned(), options, remote })
    }
}

/// A log's segments: its own, or those of one that is elsewhere, made again for as long as they are read.
struct Segments {
    dir: PathBuf,
    _made: Option<TempDir>,
}

impl Segments {
    fn of(options: &VerifyOptions, report: &Report) -> Result<Self, Failure> {
        let Some(files) = &options.published else {
            return Ok(Self { dir: options.dir.clone(), _made: None });
        };
        let made = TempDir::with_prefix("counterfoil-")
            .map_err(|e| Failure::store(anyhow::anyhow!("{}: {e}", std::env::temp_dir().display())))?;
        let head = Head { size: report.size, root: report.root };
        // What does not verify is not worth a disk full of it.
        if report.ok {
            rebuild(files, &head, &report.origin, made.path()).map_err(Failure::store)?;
        }
        Ok(Self { dir: made.path().to_owned(), _made: Some(made) })
    }
}

/// Why two logs are not compared.
const NOT_COPIED: &str = "one that does not verify is not copied from elsewhere";

/// Judges another log by itself, and then both together.
pub(super) fn hold(
    ours: &VerifyOptions,
    report: &Report,
    other: Other,
    folder: &Path,
) -> Result<Held, Failure> {
    let Other { name, mut options, remote } = other;
    let segments = Segments::of(ours, report)?;
    let mine = Half::open(&segments.dir, report.log_vkey.as_deref());
    let mine = mine.map(|half| half.with_keys(report.log_keys.clone()));
    options.signatures = ours.signatures;
    options.net_id = report.net_id;
    let routers = mine.as_ref().ok().filter(|half| half.is_routers()).and_then(Half::author);
    let judged = judge(&options, routers.or_else(|| routers_key(&options)));
    let judged = judged.map_err(|e| remote.and_then(|r| r.refused()).map_or(e, Failure::refused))?;
    let theirs = Segments::of(&options, &judged.report)?;
    let mut evidence = Vec::new();
    let both = mine.and_then(|mine| {
        let theirs = Half::open(&theirs.dir, None)?.with_keys(judged.report.log_keys.clone());
        let compared = compare(&mine, &theirs, counterfoil_router::clock::now())?;
        Ok((compared, [mine, theirs]))
    });
    let compared = match both {
        Ok((compared, halves)) => {
            for piece in &compared.evidence {
                if let Some(proven) = halves.iter().find_map(|half| piece.check(&half.trusted()).ok()) {
                    evidence.push((keep(folder, piece, &proven)?, proven));
                }
            }
            Ok(compared)
        }
        // Of a log that is damaged the verifier has said where.
        Err(HalvesError::Log(e)) if !(report.ok && judged.report.ok) => Err(e.to_string()),
        Err(HalvesError::NoGenesis(_)) if !(report.ok && judged.report.ok) => Err(NOT_COPIED.to_owned()),
        Err(e) => return Err(refused(e)),
    };
    Ok(Held { dir: name, judged, compared, evidence })
}

fn refused(e: HalvesError) -> Failure {
    match e {
        HalvesError::OneKind(..) | HalvesError::Key(..) => Failure::wrong_use(e),
        e => Failure::store(e),
    }
}

/// Writes a piece of evidence under a name that is its own. What is there already stays.
fn keep(folder: &Path, piece: &Evidence, proven: &Proven) -> Result<PathBuf, Failure> {
    let at = |path: &Path, e: std::io::Error| Failure::store(anyhow::anyhow!("{}: {e}", path.display()));
    std::fs::create_dir_all(folder).map_err(|e| at(folder, e))?;
    let root = |head: Head| head.root.to_string().chars().take(16).collect::<String>();
    let name = format!(
        "{}-{}-{}-{}-{}",
        proven.kind.name().to_lowercase(),
        proven.kept.size,
        root(proven.kept),
        proven.shown.size,
        root(proven.shown)
    );
    let path = folder.join(name);
    match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => {
            let written = file.write_all(piece.to_string().as_bytes()).and_then(|()| file.sync_all());
            written.map_err(|e| at(&path, e))?;
        }
        // The same two heads were found before.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(at(&path, e)),
    }
    Ok(path)
}

impl Held {
    /// How many there are of the other log and of both together.
    pub(super) fn faults(&self) -> u64 {
        let both = self.compared.as_ref().map_or(0, |c| c.faults.len() as u64 + c.faults_left_out);
        self.judged.faults() + both
    }

    pub(super) fn as_json(&self) -> Result<Value, Failure> {
        let mut value = match &self.compared {
            Ok(compared) => serde_json::to_value(compared).map_err(Failure::store)?,
            Err(why) => json!({ "ok": false, "faults": [], "not_compared": why }),
        };
        if let Some(object) = value.as_object_mut() {
            let report = serde_json::to_value(&self.judged.report).map_err(Failure::store)?;
            let files = self.evidence.iter().map(|(path, proven)| json!({ "file": path, "proves": proven }));
            object.insert("log_dir".into(), json!(self.dir));
            object.insert("report".into(), report);
            object.insert("evidence".into(), files.collect::<Vec<_>>().into());
        }
        Ok(value)
    }

    pub(super) fn tell(&self) {
        let report = &self.judged.report;
        for fault in &report.faults {
            tell_fault(fault, Some(&report.origin));
        }
        let compared = match &self.compared {
            Ok(compared) => compared,
            Err(why) => {
                output::line(&format!("against {}: not compared: {why}", self.dir.display()));
                return;
            }
        };
        for named in &compared.faults {
            tell_fault(&named.fault, Some(&named.log));
        }
        let more = report.faults_left_out + compared.faults_left_out;
        if more > 0 {
            output::line(&format!("… and {more} more"));
        }
        for (path, proven) in &self.evidence {
            output::line(&format!(
                "{} of {}: evidence in {}",
                proven.kind.name(),
                proven.origin,
                path.display()
            ));
        }
        let (other, its, ours) = if report.origin == compared.node {
            (&compared.node, compared.router_heads, compared.node_heads)
        } else {
            (&compared.router, compared.node_heads, compared.router_heads)
        };
        output::line(&format!(
            "against {}: {} receipts stand in both; it keeps {its} heads that fit, and {ours} of its own are kept ({other})",
            self.dir.display(),
            compared.matched,
        ));
        if compared.removed > 0 {
            output::line(&format!(
                "not compared: {} receipts of {} that may be among the entries which {} removed",
                compared.removed, compared.node, compared.router
            ));
        }
    }
}

/// Checks a piece of evidence with the key alone.
pub(super) fn verify_evidence(file: &Path, key: (&str, Option<&Path>), json: bool) -> Outcome {
    let key = all_of(key)?;
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let bytes = read_limited(file, MAX_EVIDENCE_BYTES).map_err(|e| Failure::check(at(&e)))?;
    let bytes = bytes.ok_or_else(|| Failure::wrong_use(at(&"there is no such file")))?;
    let proven = Evidence::parse(&bytes).and_then(|evidence| evidence.check(&key));
    let proven = proven.map_err(|e| Failure::check(at(&e)))?;
    let limit = (proven.kind == FaultKind::Rollback).then_some(NOT_PROVED);
    if json {
        let mut value = serde_json::to_value(&proven).map_err(Failure::store)?;
        if let (Some(object), Some(limit)) = (value.as_object_mut(), limit) {
            object.insert("not_proved".into(), json!([limit]));
        }
        output::json(&value);
        return Ok(());
    }
    let Proven { kind, origin, kept, shown } = proven;
    output::line(&format!(
        "{}: the key of {origin} signed {} entries with root {}, and {} entries with root {}",
        kind.name(),
        kept.size,
        kept.root,
        shown.size,
        shown.root
    ));
    output::line(match limit {
        None => "No log can have both heads.",
        Some(limit) => limit,
    });
    Ok(())
}

/// What two heads of different sizes leave open.
const NOT_PROVED: &str = "Not proved: that the smaller head was shown after the larger one was signed; a head bears no time, so that is the word of whoever kept both.";
