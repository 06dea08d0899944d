//! `counterfoil provider …`: payout identities and their nodes.

use std::path::Path;

use counterfoil_router::admin::AdminCommand;
use serde_json::Value;

use crate::args::ProviderCommand;
use crate::command::account::{id, text};
use crate::exit::Outcome;
use crate::output;
use crate::target::operate;

/// Carries out one of them.
pub(crate) async fn run(home: &Path, command: ProviderCommand, json: bool) -> Outcome {
    let command = match command {
        ProviderCommand::Register { nodes, accounts, affiliated } => AdminCommand::ProviderRegister {
            nodes: nodes.iter().map(|n| id(n)).collect::<Result<_, _>>()?,
            accounts: accounts.iter().map(|a| id(a)).collect::<Result<_, _>>()?,
            affiliated,
        },
        ProviderCommand::Nodes => AdminCommand::NodeList {},
    };
    let value = operate(home, command).await?;
    if json {
        output::json(&value);
        return Ok(());
    }
    if let Some(nodes) = value.get("nodes").and_then(Value::as_array) {
        let rows: Vec<Vec<String>> = nodes
            .iter()
            .map(|n| vec![text(n, "/node"), text(n, "/generation"), text(n, "/log_vkey")])
            .collect();
        output::table(&["node", "generation", "log key"], &rows);
    } else {
        output::line(&format!("provider  {}", text(&value, "/provider")));
    }
    Ok(())
}
