//! `counterfoil audit …`: verify the log, look into it, measure it.

mod against;
mod export;
mod halves;
mod prove;
mod prune;
mod recount;
mod remote;
mod show;
mod trusted;
mod verify;
mod verify_proof;
mod witness;

pub(crate) use export::author;
pub(crate) use prove::with_keys;
pub(crate) use trusted::trusted;
pub(crate) use verify_proof::read_policy;

use std::path::{Path, PathBuf};

use counterfoil_audit::bench::{BenchOptions, Rate};
use counterfoil_identity::check_home_format;
use serde_json::json;

use crate::args::{AuditCommand, LogArgs};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::Scratch;

/// Carries out one of them.
pub(crate) async fn run(home: &Path, command: AuditCommand, json: bool) -> Outcome {
    for home in homes(home, &command) {
        check_home_format(home).map_err(Failure::store)?;
    }
    match command {
        // It waits for files, and computes: neither is for a thread of the runtime.
        AuditCommand::Verify(args) => tokio::task::block_in_place(|| verify::run(home, &args, json)),
        AuditCommand::VerifyEvidence { file, vkey, succession } => {
            against::verify_evidence(&file, (&vkey, succession.as_deref()), json)
        }
        AuditCommand::Prove(args) => prove::run(&folder(home, &args.at), &args, json),
        AuditCommand::VerifyProof(args) => verify_proof::run(&args, json),
        AuditCommand::Recount(args) => recount::run(&args, json),
        AuditCommand::Witness(args) => witness::run(home, args, json).await,
        AuditCommand::Bench { entries, appends } => bench(entries, appends, json),
        AuditCommand::Export { what, at } => export::export(home, &folder(home, &at), what, json),
        AuditCommand::VerifyExport(args) => export::verify(args, json),
        AuditCommand::Archive { out, at } => archive(&folder(home, &at), &out, json),
        AuditCommand::Show { what, at } => show::show(home, &at, &what, json),
        AuditCommand::Prune(args) => tokio::task::block_in_place(|| prune::run(home, &args, json)),
        AuditCommand::Reindex => show::reindex(home, json),
    }
}

/// The homes that a command reads: this one, or those around the logs that it names.
fn homes<'a>(home: &'a Path, command: &'a AuditCommand) -> Vec<&'a Path> {
    let around = |log: &'a Option<PathBuf>| log.as_deref().map_or(Some(home), Path::parent);
    let one = match command {
        AuditCommand::Verify(args) => {
            let others = args.against.iter().filter_map(|other| other.parent());
            return around(&args.log).into_iter().chain(others).collect();
        }
        AuditCommand::Prove(args) => around(&args.at.log_dir),
        AuditCommand::Export { at, .. }
        | AuditCommand::Archive { at, .. }
        | AuditCommand::Show { at, .. } => around(&at.log_dir),
        AuditCommand::Witness(_) | AuditCommand::Prune(_) | AuditCommand::Reindex => Some(home),
        AuditCommand::VerifyEvidence { .. }
        | AuditCommand::VerifyProof(_)
        | AuditCommand::Recount(_)
        | AuditCommand::Bench { .. }
        | AuditCommand::VerifyExport(_) => None,
    };
    one.into_iter().collect()
}

fn folder(home: &Path, at: &LogArgs) -> PathBuf {
    at.log_dir.clone().unwrap_or_else(|| home.join("log"))
}

fn archive(folder: &Path, out: &Path, json: bool) -> Outcome {
    let at = |e: std::io::Error| Failure::store(anyhow::anyhow!("{}: {e}", out.display()));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(out).map_err(at)?;
    let mut file = std::io::BufWriter::new(file);
    let size = counterfoil_audit::archive::write(folder, &mut file).map_err(Failure::store)?;
    file.into_inner().map_err(|e| at(e.into_error()))?.sync_all().map_err(at)?;
    if json {
        output::json(&json!({ "file": out, "size": size }));
    } else {
        output::line(&format!("{}: the {size} entries that the checkpoint covers", out.display()));
    }
    Ok(())
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
