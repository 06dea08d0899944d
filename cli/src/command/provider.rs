//! `counterfoil provider …`: payout identities, their nodes, and how they are paid.

use std::path::Path;

use counterfoil_router::admin::AdminCommand;
use counterfoil_spec::payload::Rail;
use serde_json::Value;

use crate::args::ProviderCommand;
use crate::command::account::{id, text};
use crate::exit::{Failure, Outcome};
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
        ProviderCommand::Status { provider } => {
            AdminCommand::ProviderStatus { provider: provider.as_deref().map(id).transpose()? }
        }
        ProviderCommand::Onboarding { provider, paypal } => {
            let rail = if paypal.is_some() { Rail::Paypal } else { Rail::Stripe };
            AdminCommand::ProviderOnboarding { provider: id(&provider)?, rail, address: paypal }
        }
        ProviderCommand::Payouts { dry_run } => AdminCommand::ProviderPayouts { dry_run },
        ProviderCommand::Offboard { provider } => AdminCommand::ProviderOffboard { provider: id(&provider)? },
    };
    let value = operate(home, command.clone()).await?;
    if json {
        output::json(&value);
    } else {
        print(&command, &value);
    }
    let unclear = value
        .get("payouts")
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().any(|payout| payout.get("error").is_some()));
    if unclear {
        return Err(Failure::refused("not every payout went through; the same command asks again, safely"));
    }
    Ok(())
}

fn print(command: &AdminCommand, value: &Value) {
    match command {
        AdminCommand::NodeList {} => table(value, "nodes", &["node", "generation", "log_vkey"]),
        AdminCommand::ProviderStatus { .. } => {
            table(value, "providers", &["provider", "owed_cents", "payable", "why_not"]);
            payouts(value, "payouts");
        }
        AdminCommand::ProviderPayouts { dry_run: true } => {
            table(value, "payable", &["provider", "cents"]);
        }
        AdminCommand::ProviderPayouts { .. } => payouts(value, "payouts"),
        AdminCommand::ProviderOnboarding { .. } => {
            let ready = value.get("ready") == Some(&Value::Bool(true));
            output::line(&format!("provider  {}", text(value, "/provider")));
            match value.get("link").and_then(Value::as_str) {
                Some(link) => output::line(&format!("page      {link}  (for its operator, once)")),
                None if ready => output::line("ready     money can be sent there"),
                None => output::line("waits     the payment service is not done with it"),
            }
        }
        _ => output::line(&format!("provider  {}", text(value, "/provider"))),
    }
}

fn payouts(value: &Value, at: &str) {
    table(value, at, &["payout", "provider", "cents", "status", "reference", "error"]);
}

fn table(value: &Value, at: &str, columns: &[&str]) {
    let rows = value.get(at).and_then(Value::as_array).cloned().unwrap_or_default();
    let cell = |row: &Value, column: &&str| match row.get(*column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect();
    output::table(columns, &rows);
}
