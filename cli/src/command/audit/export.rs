//! `counterfoil audit export` and `verify-export`.

use std::path::Path;
use std::sync::Arc;

use counterfoil_audit::LogReader;
use counterfoil_audit::export::{
    Checked, Destination, ExportError, Header, Pins, Range, Written, check, write,
};
use counterfoil_identity::Signer;
use counterfoil_router::home::RouterHome;
use serde_json::json;

use crate::args::{ExportArgs, VerifyExportArgs};
use crate::exit::{Failure, Outcome};
use crate::export::FormatName;
use crate::keys;
use crate::output;

use super::trusted::trusted;

/// Exports a part of a log.
pub(crate) fn export(home: &Path, log: &Path, args: ExportArgs, json: bool) -> Outcome {
    let range = range(log, &args)?;
    let signer = match args.format {
        FormatName::Statement => Some(author(home)?),
        _ => None,
    };
    let to_output = args.out == Path::new("-");
    let destination = if to_output {
        Destination::Rows(Box::new(std::io::stdout()))
    } else {
        Destination::Folder(args.out.clone())
    };
    let bar = output::progress("exporting");
    let mut format = args.format.writing(signer);
    let written = write(log, range, &mut *format, destination, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let written = written.map_err(|e| failure(e, log))?;
    if to_output {
        return Ok(());
    }
    tell(&written, &args.out, json);
    Ok(())
}

fn range(log: &Path, args: &ExportArgs) -> Result<Range, Failure> {
    let ends = args.from.is_some() || args.to.is_some();
    if args.format == FormatName::Statement {
        if ends {
            return Err(Failure::wrong_use(
                "a statement is about the whole checkpoint; leave out --from and --to",
            ));
        }
        return Ok(Range { from: Some(0), to: Some(1) });
    }
    if !ends {
        return Ok(Range::default());
    }
    let reader = LogReader::open(log).map_err(Failure::store)?;
    let index = |place: Option<crate::export::Place>| {
        place.map(|p| p.index(&reader)).transpose().map_err(Failure::store)
    };
    Ok(Range { from: index(args.from)?, to: index(args.to)? })
}

/// The key that writes the log of this home.
pub(crate) fn author(home: &Path) -> Result<Arc<dyn Signer>, Failure> {
    let home = RouterHome::open(home, &keys::keyring()?).map_err(Failure::store)?;
    Ok(Arc::clone(home.identity()))
}

fn failure(error: ExportError, log: &Path) -> Failure {
    match error {
        ExportError::Unsigned { .. }
        | ExportError::EmptyRange { .. }
        | ExportError::Exists { .. }
        | ExportError::Removed { .. } => Failure::wrong_use(error),
        ExportError::BadStatementSignature => Failure::wrong_use(format!(
            "the key of this home is not the one that writes the log in {}; give the --home that it belongs to",
            log.display()
        )),
        ExportError::NotApplicable { .. } | ExportError::InconsistentTree => Failure::check(error),
        other => Failure::store(other),
    }
}

fn tell(written: &Written, folder: &Path, json: bool) {
    let Header { format, file, from, to, .. } = &written.header;
    if json {
        output::json(&json!({
            "format": format, "folder": folder, "file": file, "from": from, "to": to,
            "entries": written.entries, "rows": written.rows, "bytes": written.bytes,
        }));
        return;
    }
    output::line(&format!(
        "{}: {} rows of entries {from} to {}, {} bytes",
        folder.join(file).display(),
        written.rows,
        to - 1,
        written.bytes
    ));
    output::line(&format!(
        "Whoever has this folder checks it with: counterfoil audit verify-export {} --vkey {}",
        folder.display(),
        written.header.log_vkey
    ));
}

/// Checks an export.
pub(crate) fn verify(args: VerifyExportArgs, json: bool) -> Outcome {
    let vkey = args.vkey.as_deref().map(|vkey| trusted((vkey, args.succession.as_deref()))).transpose()?;
    let pins = Pins { vkey, log: args.log_dir };
    if !args.folder.is_dir() {
        return Err(Failure::store(anyhow::anyhow!("{} is no folder with an export", args.folder.display())));
    }
    let bar = output::progress("checking");
    let make = &mut |header: &Header| FormatName::checking(header, &args.folder);
    let report = check(&args.folder, &pins, make, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.map_err(Failure::store)?;
    if json {
        output::json(&serde_json::to_value(&report).map_err(Failure::store)?);
    } else {
        say(&report);
    }
    if report.ok {
        return Ok(());
    }
    let n = report.faults.len() as u64 + report.faults_left_out;
    Err(Failure::check(format!("the export in {} does not hold: {n} faults", args.folder.display())))
}

fn say(report: &Checked) {
    for fault in &report.faults {
        // Names are those of the specification, which serde has too.
        output::line(&format!("{:?} {}: {}", fault.fault, fault.file, fault.detail));
    }
    if report.faults_left_out > 0 {
        output::line(&format!("… and {} more", report.faults_left_out));
    }
    let verdict = if report.ok { "every row follows from its entry" } else { "it does not hold" };
    output::line(&format!(
        "{}: {} rows of entries {} to {}: {verdict}",
        report.format,
        report.rows,
        report.from,
        report.to.saturating_sub(1)
    ));
    //= spec/export.md#what-a-checker-does
    //# Without a pinned key and without the log a checker MUST say that it took the key from the export itself.
    if !report.vkey_pinned {
        output::line(
            "Pinned: nothing but what the export says of itself; give --vkey or --log to judge whose it is.",
        );
    }
    if !report.held_to_log && report.ok {
        output::line(
            "Held to the signed checkpoint of the export; --log holds it to a log that goes on from there.",
        );
    }
}
