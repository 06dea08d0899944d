//! `counterfoil audit verify`: a log by its bytes, and against the logs that have the other halves of it.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use counterfoil_audit::archive::Archive;
use counterfoil_audit::note::MAX_NOTE_BYTES;
use counterfoil_audit::tile::read_limited;
use counterfoil_audit::verify::{Remembered, Report, Succeeded, VerifyError, VerifyOptions, verify};
use counterfoil_audit::{LogReader, Published, PublishedFolder, checkpoint, segment};
use counterfoil_consent::ConsentRule;
use counterfoil_identity::VerifyKey;
use counterfoil_ledger::LedgerRule;
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::{Genesis, Payload};
use counterfoil_spec::rule::{Fault, Rule};
use serde_json::{Value, json};

use super::against::{self, Held, Other};
use super::read_policy;
use super::remote::Remote;
use crate::args::VerifyArgs;
use crate::command::account::id;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Judges a log, and holds others against it.
pub(super) fn run(home: &Path, args: &VerifyArgs, json: bool) -> Outcome {
    let log = args.log.clone().unwrap_or_else(|| home.join("log"));
    let (mut options, remote) = open(&log, args.key.clone())?;
    let others = args.against.iter().map(|other| Other::open(other, args.key.clone()));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    options.from = args.from.as_deref().map(remembered).transpose()?;
    options.vkey.clone_from(&args.vkey);
    options.net_id = args.net_id.as_deref().map(id).transpose()?;
    options.policy = args.policy.as_deref().map(read_policy).transpose()?;
    options.signatures = !args.no_signatures;
    let router_key = args.router_key.as_deref().map(verify_key).transpose()?;
    let router_key = router_key.or_else(|| others.iter().find_map(|other| routers_key(&other.options)));
    let judged = judge(&options, router_key).map_err(|e| match remote.and_then(|r| r.refused()) {
        Some(words) => Failure::refused(words),
        None => e,
    })?;
    let evidence = args.evidence.clone().unwrap_or_else(|| home.join("evidence"));
    let held: Vec<Held> = others
        .into_iter()
        .map(|other| against::hold(&options, &judged.report, other, &evidence))
        .collect::<Result<_, Failure>>()?;
    if json {
        output::json(&as_json(&judged, &held)?);
    } else {
        tell(&judged.report, &held);
        if !judged.half_checked {
            output::line(
                "A node's own log: the router's half of its receipts was not checked; give --router-key, or its log with --against.",
            );
        }
    }
    let faults = judged.faults() + held.iter().map(Held::faults).sum::<u64>();
    if faults == 0 {
        return args.remember.as_deref().map_or(Ok(()), |file| remember(&judged.report, file));
    }
    let others = if held.is_empty() { "" } else { ", by itself and against the others," };
    Err(Failure::check(format!("the log in {}{others} does not verify: {faults} faults", log.display())))
}

/// Looks where a log is, and in which form.
pub(super) fn open(log: &Path, key: Option<String>) -> Result<(VerifyOptions, Option<Arc<Remote>>), Failure> {
    if let Some(url) = log.to_str().filter(|log| log.contains("://")) {
        let remote = Arc::new(Remote::new(url, key)?);
        let files: Arc<dyn Published> = Arc::<Remote>::clone(&remote);
        return Ok((VerifyOptions::published(files), Some(remote)));
    }
    let at = |e: std::io::Error| Failure::store(anyhow::anyhow!("{}: {e}", log.display()));
    if log.is_file() {
        return Ok((VerifyOptions::published(Arc::new(Archive::open(log).map_err(at)?)), None));
    }
    if !log.join(segment::FOLDER).exists() && log.join(checkpoint::FILE).is_file() {
        return Ok((VerifyOptions::published(Arc::new(PublishedFolder(log.to_owned()))), None));
    }
    Ok((VerifyOptions::new(log), None))
}

fn remembered(file: &Path) -> Result<Remembered, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::wrong_use(format!("{}: {e}", file.display()));
    let note = read_limited(file, MAX_NOTE_BYTES).map_err(|e| wrong(&e))?;
    Remembered::parse(&note.ok_or_else(|| wrong(&"there is no such file"))?).map_err(|e| wrong(&e))
}

/// Keeps the checkpoint that was verified; the file is the old one or the new one, whatever happens.
fn remember(report: &Report, file: &Path) -> Outcome {
    let at = |e: std::io::Error| Failure::store(anyhow::anyhow!("{}: {e}", file.display()));
    let note = report.checkpoint.as_ref();
    let note = note.ok_or_else(|| Failure::check("the log has no checkpoint to remember"))?;
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let written = || {
        let mut new = std::fs::File::create(&part)?;
        new.write_all(note.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&part, file)
    };
    written().map_err(at)
}

fn verify_key(hex: &str) -> Result<VerifyKey, Failure> {
    VerifyKey::from_wire(id(hex)?).map_err(Failure::wrong_use)
}

/// What a log says in its first entry of itself.
fn genesis(options: &VerifyOptions) -> Option<Genesis> {
    let first = match &options.published {
        None => LogReader::open(&options.dir).and_then(|r| r.entry(0)).map(|(_, body)| body).ok(),
        Some(files) => files.entry(0),
    };
    match first?.payload {
        Payload::Genesis(genesis) => Some(genesis),
        _ => None,
    }
}

/// The router's key, where a log is a router's.
pub(super) fn routers_key(options: &VerifyOptions) -> Option<VerifyKey> {
    let genesis = genesis(options).filter(|g| g.author_role == Role::Router.number())?;
    VerifyKey::from_wire(genesis.author_key).ok()
}

/// Whether a log is a node's own.
fn is_nodes_own(options: &VerifyOptions) -> bool {
    genesis(options).is_some_and(|g| g.author_role == Role::Node.number())
}

/// What became of one log.
pub(super) struct Judged {
    pub(super) report: Report,
    /// Whether the router's halves of the receipts in it were checked.
    half_checked: bool,
}

impl Judged {
    pub(super) fn faults(&self) -> u64 {
        self.report.faults.len() as u64 + self.report.faults_left_out
    }
}

/// Judges one log with every rule.
pub(super) fn judge(options: &VerifyOptions, router_key: Option<VerifyKey>) -> Result<Judged, Failure> {
    let bar = output::progress("verifying");
    let half_checked = router_key.is_some() || !is_nodes_own(options);
    let mut consent = router_key.map_or_else(ConsentRule::new, ConsentRule::with_router);
    let mut ledger = LedgerRule::default();
    let rules: &mut [&mut dyn Rule] = &mut [&mut consent, &mut ledger];
    let report = verify(options, rules, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })
    .map_err(|e| match e {
        VerifyError::BadPin(_) => Failure::wrong_use(e),
        e => Failure::store(e),
    })?;
    bar.finish_and_clear();
    Ok(Judged { report, half_checked })
}

fn as_json(judged: &Judged, held: &[Held]) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(&judged.report).map_err(Failure::store)?;
    let Some(object) = value.as_object_mut() else { return Ok(value) };
    object.insert("router_halves_checked".into(), judged.half_checked.into());
    if !held.is_empty() {
        let against = held.iter().map(Held::as_json).collect::<Result<Vec<_>, Failure>>()?;
        // Whoever looks at the faults alone sees all of them.
        if let Some(Value::Array(faults)) = object.get_mut("faults") {
            let more = against.iter().flat_map(|one| one["faults"].as_array().cloned().unwrap_or_default());
            faults.extend(more.collect::<Vec<_>>());
        }
        let ok = judged.report.ok && held.iter().all(|one| one.faults() == 0);
        object.insert("ok".into(), json!(ok));
        object.insert("against".into(), against.into());
    }
    Ok(value)
}

/// One line for a fault; `log` where it is not that of the report.
pub(super) fn tell_fault(fault: &Fault, log: Option<&str>) {
    let index = fault.index.map(|i| format!(" entry {i}")).unwrap_or_default();
    let file = fault.file.as_ref().map(|f| format!(" {f}")).unwrap_or_default();
    let log = log.map(|log| format!(" of {log}")).unwrap_or_default();
    output::line(&format!("{}{index}{file}{log}: {}", fault.kind.name(), fault.detail));
}

fn tell(report: &Report, held: &[Held]) {
    for fault in &report.faults {
        tell_fault(fault, None);
    }
    if report.faults_left_out > 0 {
        output::line(&format!("… and {} more", report.faults_left_out));
    }
    held.iter().for_each(Held::tell);
    if report.torn_bytes > 0 {
        output::line(&format!(
            "TornTail: {} bytes after the last commit, which nobody was told of",
            report.torn_bytes
        ));
    }
    let verdict = if report.ok { "verifies" } else { "does not verify" };
    output::line(&format!("{}: {} entries: {verdict}", report.origin, report.committed));
    output::line(&format!("signed head: {} entries, root {}", report.size, report.root));
    output::line(&format!(
        "signatures checked: {}; entries that rules saw: {}",
        report.signatures, report.rules_saw
    ));
    for pruned in report.prunes.iter().filter(|pruned| pruned.missing > 0) {
        output::line(&format!(
            "{} entries from {} to {} were removed under the prune in entry {} ({} days after their quarters were closed); not checked of \
             them: what they said, their signatures, and their places in their author's chain",
            pruned.missing, pruned.first, pruned.end, pruned.entry, pruned.kept_days
        ));
    }
    if !report.strays.is_empty() {
        // Whoever put a file there gave it its name.
        let names: Vec<String> = report.strays.iter().map(|name| name.escape_debug().to_string()).collect();
        output::line(&format!("Not of the log, and not read: {}", names.join(", ")));
    }
    if let Some(from) = report.from {
        output::line(&format!(
            "from the remembered checkpoint of {} entries: their {} signatures were not checked again; all else was",
            from.size, report.signatures_skipped
        ));
    }
    if !(report.vkey_pinned && report.net_id_pinned) {
        output::line(
            "Pinned: nothing but what the log says of itself; give --vkey and --net-id to judge whose log it is.",
        );
    }
    if let Some(Succeeded { pinned, retired_by, vkey, named_by }) = &report.succeeded {
        output::line(&format!(
            "Succeeded: entry {retired_by} retired the pinned {pinned}, which had let another follow; the log's key is"
        ));
        output::line(&format!(
            "  {vkey}, as the key before it signed in entry {named_by}: pin that from here on"
        ));
    }
    match &report.witnessed {
        Some(head) => {
            let names: Vec<&str> = head.by.cosigned.keys().map(String::as_str).collect();
            let behind = report.size.saturating_sub(head.size);
            output::line(&format!(
                "Witnessed: the first {} entries, by {}; {behind} entries came since",
                head.size,
                names.join(", ")
            ));
        }
        None => output::line("Unwitnessed: no independent witness has signed this head."),
    }
    output::line("Not proved by this log:");
    for gap in report.not_proved {
        output::line(&format!("  - {gap}"));
    }
}
