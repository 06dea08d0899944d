//! `counterfoil audit prune`.

use std::path::Path;

use counterfoil_audit::LogError;
use counterfoil_router::admin::AdminError;
use counterfoil_router::home::RouterHome;
use counterfoil_router::{CURRENCY, Office, OfficeError, Old, clock, prune};
use counterfoil_spec::time::Millis;
use serde_json::Value;

use crate::args::PruneArgs;
use crate::command::account::text;
use crate::exit::{Failure, Outcome};
use crate::keys::keyring;
use crate::output;

const DAY_MS: u64 = 86_400_000;

/// Names old entries in the log of a router that does not run, and removes them.
pub(super) fn run(home: &Path, args: &PruneArgs, json: bool) -> Outcome {
    let ago = |days: u64| clock::now().0.saturating_sub(days.saturating_mul(DAY_MS));
    let before = match (args.before, args.older_than) {
        (Some(before), _) => before,
        (None, Some(days)) => ago(days),
        (None, None) => return Err(Failure::wrong_use("say which: --before or --older-than")),
    };
    let old = Old { before: Millis(before), keep_days: args.keep_days, dry_run: args.dry_run };
    let router = RouterHome::open(home, &keyring()?).map_err(Failure::store)?;
    let office = open(&router)?;
    let named = prune(&office, old).map_err(|e| match e {
        AdminError::Caller(message) => Failure::wrong_use(message),
        e => Failure::store(e),
    });
    office.close().map_err(Failure::store)?;
    let mut value = named?;
    if !args.dry_run {
        // Opening the log again removes what it names.
        let office = open(&router)?;
        let removed = office.opened().removed;
        office.close().map_err(Failure::store)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("removed".to_owned(), removed.into());
        }
    }
    if json {
        output::json(&value);
    } else {
        tell(&value, args.dry_run);
    }
    Ok(())
}

fn open(router: &RouterHome) -> Result<Office, Failure> {
    Office::open(router, CURRENCY, clock::system()).map_err(|e| match e {
        OfficeError::Log(LogError::Locked { .. }) => {
            Failure::wrong_use("a router runs on this home; stop it, prune, and start it again")
        }
        e => Failure::store(e),
    })
}

fn tell(value: &Value, dry_run: bool) {
    let (first, end) = (text(value, "/first_entry"), text(value, "/end_entry"));
    let (entries, kept) = (text(value, "/entries"), text(value, "/kept"));
    if dry_run {
        output::line(&format!(
            "A dry run: {entries} entries from {first} to {end} would go; nothing was logged. {kept} of those kinds would stay, as their requests or hours go on behind {end}."
        ));
        return;
    }
    output::line(&format!(
        "Entry {} says that {entries} entries from {first} to {end} go, and {} were removed; their hashes stay. Copies of the log may still hold them.",
        text(value, "/entry"),
        text(value, "/removed")
    ));
}
