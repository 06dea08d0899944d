//! `counterfoil earnings dispute|correct|disputes`: shares of closed quarters that providers contest, and the answers.

use std::path::Path;

use counterfoil_ledger::settle::Quarter;
use counterfoil_router::admin::AdminCommand;
use serde_json::Value;

use crate::command::account::{id, text};
use crate::exit::Outcome;
use crate::output;
use crate::target::operate;

/// Logs that a share is contested.
pub(super) async fn raise(
    home: &Path,
    (quarter, provider): (String, &str),
    claimed_cents: i64,
    reason: String,
    json: bool,
) -> Outcome {
    let _: Quarter = id(&quarter)?;
    let command = AdminCommand::Contest { quarter, provider: id(provider)?, claimed_cents, reason };
    let value = operate(home, command).await?;
    if json {
        output::json(&value);
    } else {
        output::line(&format!(
            "Dispute {} is log entry {}. Answer it with `counterfoil earnings correct {} --cents N --reason WORDS`.",
            text(&value, "/dispute"),
            text(&value, "/entry"),
            text(&value, "/dispute")
        ));
    }
    Ok(())
}

/// Logs the answer.
pub(super) async fn answer(home: &Path, dispute: &str, cents: i64, reason: String, json: bool) -> Outcome {
    let value = operate(home, AdminCommand::Correct { dispute: id(dispute)?, cents, reason }).await?;
    if json {
        output::json(&value);
    } else {
        output::line(&format!(
            "The share of {} is {} USD from here on; log entry {}.",
            text(&value, "/quarter"),
            output::cents(amount(&value, "/stands_cents")),
            text(&value, "/entry")
        ));
    }
    Ok(())
}

/// Prints the disputes.
pub(super) async fn list(home: &Path, json: bool) -> Outcome {
    let value = operate(home, AdminCommand::DisputeList {}).await?;
    if json {
        output::json(&value);
        return Ok(());
    }
    let disputes = value.get("disputes").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = disputes
        .iter()
        .map(|d| {
            let answer = d.get("corrected_cents").and_then(Value::as_i64);
            vec![
                text(d, "/dispute"),
                text(d, "/quarter"),
                text(d, "/provider"),
                output::cents(amount(d, "/claimed_cents")),
                output::cents(amount(d, "/stands_cents")),
                answer.map_or_else(|| "open".to_owned(), output::cents),
            ]
        })
        .collect();
    output::table(&["dispute", "quarter", "provider", "claimed", "stands", "answer"], &rows);
    Ok(())
}

fn amount(value: &Value, at: &str) -> i64 {
    value.pointer(at).and_then(Value::as_i64).unwrap_or(0)
}
