//! `counterfoil audit …`: verify the log, look into it, measure it.

mod export;
mod halves;
mod prove;
mod recount;
mod show;
mod verify_proof;
mod witness;

pub(crate) use verify_proof::read_policy;

use std::path::{Path, PathBuf};

use counterfoil_audit::LogReader;
use counterfoil_audit::bench::{BenchOptions, Rate};
use counterfoil_audit::verify::{Report, VerifyError, VerifyOptions, verify};
use counterfoil_consent::ConsentRule;
use counterfoil_identity::VerifyKey;
use counterfoil_ledger::LedgerRule;
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::Payload;
use counterfoil_spec::rule::Rule;

use crate::args::{AuditCommand, LogArgs};
use crate::command::account::id;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::Scratch;

/// Carries out one of them.
pub(crate) async fn run(home: &Path, command: AuditCommand, json: bool) -> Outcome {
    match command {
        AuditCommand::Verify { at, vkey, net_id, router_key, policy, no_signatures } => {
            let mut options = VerifyOptions::new(folder(home, &at));
            options.vkey = vkey;
            options.net_id = net_id.as_deref().map(id).transpose()?;
            options.policy = policy.as_deref().map(read_policy).transpose()?;
            options.signatures = !no_signatures;
            let router_key = router_key.as_deref().map(verify_key).transpose()?;
            verify_log(&options, router_key, json)
        }
        AuditCommand::Prove(args) => prove::run(&folder(home, &args.at), &args, json),
        AuditCommand::VerifyProof(args) => verify_proof::run(&args, json),
        AuditCommand::Recount(args) => recount::run(&args, json),
        AuditCommand::Witness(args) => witness::run(home, args, json).await,
        AuditCommand::Bench { entries, appends } => bench(entries, appends, json),
        AuditCommand::Export { what, at } => export::export(home, &folder(home, &at), what, json),
        AuditCommand::VerifyExport(args) => export::verify(args, json),
        AuditCommand::Show { what, at } => show::show(home, &at, &what, json),
        AuditCommand::Reindex => show::reindex(home, json),
    }
}

fn folder(home: &Path, at: &LogArgs) -> PathBuf {
    at.log_dir.clone().unwrap_or_else(|| home.join("log"))
}

fn verify_key(hex: &str) -> Result<VerifyKey, Failure> {
    VerifyKey::from_wire(id(hex)?).map_err(Failure::wrong_use)
}

/// Whether a log is a node's own, as its first entry says.
fn is_nodes_own(folder: &Path) -> bool {
    let first = LogReader::open(folder).and_then(|r| r.entry(0)).map(|(_, body)| body.payload);
    matches!(first, Ok(Payload::Genesis(g)) if g.author_role == Role::Node.number())
}

fn verify_log(options: &VerifyOptions, router_key: Option<VerifyKey>, json: bool) -> Outcome {
    let bar = output::progress("verifying");
    let half_checked = router_key.is_some() || !is_nodes_own(&options.dir);
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
    if json {
        let mut value = serde_json::to_value(&report).map_err(Failure::store)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("router_halves_checked".into(), half_checked.into());
        }
        output::json(&value);
    } else {
        tell(&report);
        if !half_checked {
            output::line(
                "A node's own log: the router's half of its receipts was not checked; give --router-key.",
            );
        }
    }
    if report.ok {
        return Ok(());
    }
    let n = report.faults.len() as u64 + report.faults_left_out;
    Err(Failure::check(format!("the log in {} does not verify: {n} faults", options.dir.display())))
}

fn tell(report: &Report) {
    for fault in &report.faults {
        let index = fault.index.map(|i| format!(" entry {i}")).unwrap_or_default();
        let file = fault.file.as_ref().map(|f| format!(" {f}")).unwrap_or_default();
        output::line(&format!("{}{index}{file}: {}", fault.kind.name(), fault.detail));
    }
    if report.faults_left_out > 0 {
        output::line(&format!("… and {} more", report.faults_left_out));
    }
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
    if !(report.vkey_pinned && report.net_id_pinned) {
        output::line(
            "Pinned: nothing but what the log says of itself; give --vkey and --net-id to judge whose log it is.",
        );
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

fn bench(entries: u64, appends: u64, json: bool) -> Outcome {
    let folder = Scratch::new()?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let options = BenchOptions { dir: folder.0.join("log"), entries, appends, threads };
    let told = &mut |rate: &Rate| {
        if !json {
            let floor = rate.permille_of_floor.map(|p| format!("  {:.3} of its floor", p as f64 / 1000.0));
            output::line(&format!("{:>12}/s  {}{}", rate.per_second, rate.what, floor.unwrap_or_default()));
        }
    };
    let rates = counterfoil_audit::bench::run(&options, told).map_err(Failure::store)?;
    if json {
        output::json(&serde_json::to_value(&rates).map_err(Failure::store)?);
    }
    Ok(())
}
