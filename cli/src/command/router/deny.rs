//! `counterfoil router deny` and `allow`: what the network refuses from here on.

use std::path::Path;

use counterfoil_router::admin::AdminCommand;
use counterfoil_spec::deny::{DenyNames, MinEpoch};
use serde_json::Value;

use crate::args::{DenyArgs, NamesArgs, RouterCommand};
use crate::command::account::{id, text};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::target::operate;

/// Carries out one of them.
pub(super) async fn run(home: &Path, command: RouterCommand, json: bool) -> Outcome {
    let (command, print): (_, fn(&Value)) = match command {
        RouterCommand::Deny(DenyArgs { list: true, .. }) => (AdminCommand::DenyList {}, listed),
        RouterCommand::Deny(args) => {
            let names = DenyNames {
                consents: args.consent.iter().map(|cti| id(cti)).collect::<Result<_, _>>()?,
                epochs: args.below_epoch.iter().map(|text| min_epoch(text)).collect::<Result<_, _>>()?,
                ..names(&args.names)?
            };
            (AdminCommand::Deny { names, reason: args.reason.unwrap_or_default() }, issued)
        }
        RouterCommand::Allow { names: named, reason } => {
            (AdminCommand::Allow { names: names(&named)?, reason }, issued)
        }
    };
    let value = operate(home, command).await?;
    if json {
        output::json(&value);
    } else {
        print(&value);
    }
    Ok(())
}

fn names(args: &NamesArgs) -> Result<DenyNames, Failure> {
    Ok(DenyNames {
        nodes: args.nodes.iter().map(|node| id(node)).collect::<Result<_, _>>()?,
        serials: args.certificate.iter().map(|serial| id(serial)).collect::<Result<_, _>>()?,
        ..DenyNames::default()
    })
}

fn min_epoch(text: &str) -> Result<MinEpoch, Failure> {
    let (node, epoch) =
        text.split_once('=').ok_or_else(|| Failure::wrong_use(format!("{text:?} is not NODE=EPOCH")))?;
    let epoch = epoch.parse().map_err(|e| Failure::wrong_use(format!("the epoch {epoch:?}: {e}")))?;
    Ok(MinEpoch { node: id(node)?, epoch })
}

fn issued(value: &Value) {
    output::line(&format!("deny list  {} (entry {})", text(value, "/epoch"), text(value, "/entry")));
}

fn listed(value: &Value) {
    let named = |kind: &str, pointer: &str| {
        let names = value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        names.into_iter().map(|name| vec![kind.to_owned(), text(&name, "")]).collect::<Vec<_>>()
    };
    let epochs = value.pointer("/names/epochs").and_then(Value::as_array).cloned().unwrap_or_default();
    let below = |own: &Value| {
        let name = format!("{} below epoch {}", text(own, "/node"), text(own, "/epoch"));
        vec!["consent of".to_owned(), name]
    };
    let rows: Vec<Vec<String>> = named("node", "/names/nodes")
        .into_iter()
        .chain(named("certificate", "/names/serials"))
        .chain(named("consent", "/names/consents"))
        .chain(epochs.iter().map(below))
        .collect();
    if rows.is_empty() {
        output::line("Nothing is denied.");
        return;
    }
    output::table(&["what", "denied"], &rows);
    output::line(&format!("deny list {}: {}", text(value, "/epoch"), text(value, "/reason")));
}
