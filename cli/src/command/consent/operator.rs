//! What a node's operator does with consent: write the policy down, say yes, take back.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use counterfoil_audit::LogReader;
use counterfoil_consent::{notice, notice_hash};
use counterfoil_identity::key_file;
use counterfoil_node::{OperatorOrder, asked, give_order, withheld};
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::text::shown;
use serde_json::{Value, json};

use crate::consent_file;
use crate::exit::{Failure, Outcome};
use crate::output;

/// How long a command waits for a node that runs.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// Writes the commented default.
pub(super) fn init(home: &Path, json: bool) -> Outcome {
    let path = home.join(consent_file::NAME);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home);
    made.map_err(|e| Failure::store(anyhow::anyhow!("cannot make {}: {e}", home.display())))?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    match file {
        Ok(mut file) => file.write_all(consent_file::COMMENTED.as_bytes()).map_err(Failure::store)?,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::wrong_use(format!("{} is there already; edit it", path.display())));
        }
        Err(e) => return Err(Failure::store(anyhow::anyhow!("cannot write {}: {e}", path.display()))),
    }
    if json {
        output::json(&json!({ "written": path }));
    } else {
        output::line(&format!(
            "{} explains every key; a node that runs takes changes up by itself",
            path.display()
        ));
    }
    Ok(())
}

/// Prints what waits for the operator's yes.
pub(super) fn pending(home: &Path, json: bool) -> Outcome {
    let waiting = asked(home);
    if json {
        let values = waiting.iter().map(|p| {
            json!({
                "manifest": p.manifest, "model": p.name, "ranges": p.ranges, "router": p.router,
                "list_price_micro_per_1k": p.list_price_micro_per_1k, "currency": p.currency,
            })
        });
        output::json(&Value::Array(values.collect()));
        return Ok(());
    }
    let parts = |ranges: &[Range]| {
        let part = |r: &Range| {
            format!("layers {}-{}, experts {}-{}", r.layers.0, r.layers.1, r.experts.0, r.experts.1)
        };
        ranges.iter().map(part).collect::<Vec<_>>().join("; ")
    };
    let rows: Vec<Vec<String>> = waiting
        .iter()
        .map(|p| {
            vec![
                p.manifest.to_string(),
                shown(&p.name),
                p.list_price_micro_per_1k.to_string(),
                parts(&p.ranges),
            ]
        })
        .collect();
    output::table(&["manifest", "model", "price", "parts"], &rows);
    Ok(())
}

/// Says yes to a model.
pub(super) fn issue(home: &Path, manifest: &str, json: bool) -> Outcome {
    node_only(home)?;
    let waiting = asked(home);
    let named = waiting.iter().find(|p| p.name == manifest).map(|p| p.manifest);
    let known = named
        .or_else(|| manifest.parse::<ManifestId>().ok())
        .map_or_else(|| signed_as(home, manifest), |m| Ok(Some(m)))?;
    let Some(manifest) = known else {
        let taken_back: Vec<String> = withheld(home).iter().map(ToString::to_string).collect();
        let more = match taken_back.as_slice() {
            [] => String::new(),
            ids => format!("; taken back before, and issued again by these ids: {}", ids.join(", ")),
        };
        return Err(Failure::wrong_use(format!(
            "{manifest:?} is neither a model that waits, nor one that this node signed for before, nor the id of a manifest; `consent list --pending` prints what waits{more}"
        )));
    };
    give(home, OperatorOrder::Allow(manifest), json)
}

/// The model that this node signed for last under a name: a token carries the hash of the words in which the name stands.
fn signed_as(home: &Path, name: &str) -> Result<Option<ManifestId>, Failure> {
    let consents = super::read(home)?;
    let claims = consents
        .tokens
        .iter()
        .rev()
        .filter_map(|(_, _, node, token)| super::signed_claims(&consents, node, token).ok());
    let mut named = claims.filter(|claims| notice_hash(&notice(claims, name)) == claims.notice_hash);
    Ok(named.find_map(|claims| claims.ranges.first().map(|range| range.manifest)))
}

/// Takes one token back, or all.
pub(super) fn revoke(home: &Path, cti: Option<&Serial>, json: bool) -> Outcome {
    node_only(home)?;
    let Some(cti) = cti else { return give(home, OperatorOrder::RevokeAll, json) };
    let (mut granted, mut withdrawn) = (false, false);
    let reader = LogReader::open(&home.join("log")).map_err(Failure::store)?;
    let each = reader.for_each(0, |_, _, body| match &body.payload {
        Payload::ConsentGranted(entry) if entry.cti == *cti => granted = true,
        Payload::ConsentRevoked(entry) if entry.cti == *cti => withdrawn = true,
        _ => {}
    });
    each.map_err(Failure::store)?;
    if !granted {
        return Err(Failure::wrong_use(format!(
            "this node signed no consent token {cti}; `consent list` prints those that it signed"
        )));
    }
    if withdrawn {
        return Err(Failure::wrong_use(format!("consent {cti} was withdrawn before; nothing is left to do")));
    }
    give(home, OperatorOrder::Revoke(*cti), json)
}

fn node_only(home: &Path) -> Outcome {
    if key_file::is_there(&home.join("identity/node.key")) {
        return Ok(());
    }
    Err(Failure::wrong_use(format!(
        "{} is no node's home; say which with --home, such as nodes/1 below the home of `run`",
        home.display()
    )))
}

/// Leaves the order in the node's home, and waits a moment for a node that runs to carry it out.
fn give(home: &Path, order: OperatorOrder, json: bool) -> Outcome {
    let path = give_order(home, order).map_err(Failure::store)?;
    let until = Instant::now() + PATIENCE;
    while path.exists() && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    let done = !path.exists();
    if json {
        output::json(&json!({ "done": done, "waits": !done }));
        return Ok(());
    }
    output::line(if done {
        "Done: the node has carried it out and logged it; the router is told at once, or as soon as it can be reached."
    } else {
        "The node does not run: it carries this out before anything else once it starts, and tells the router as soon as it reaches it."
    });
    Ok(())
}
