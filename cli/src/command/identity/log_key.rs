//! `counterfoil identity log-key …`: the key of the log's heads and what follows it.

use std::path::Path;

use counterfoil_router::admin::AdminCommand;
use serde_json::Value;

use crate::args::LogKeyCommand;
use crate::command::account::text;
use crate::exit::Outcome;
use crate::output;
use crate::target::operate;

/// Carries out one of them.
pub(super) async fn run(home: &Path, command: LogKeyCommand, json: bool) -> Outcome {
    let (command, print): (_, fn(&Value)) = match command {
        LogKeyCommand::List => (AdminCommand::LogKeyList {}, list),
        LogKeyCommand::Next => (AdminCommand::LogKeyNext {}, made),
        LogKeyCommand::Activate => (AdminCommand::LogKeyActivate {}, activated),
        LogKeyCommand::Retire => (AdminCommand::LogKeyRetire {}, retired),
    };
    let said = operate(home, command).await?;
    if json {
        output::json(&said);
    } else {
        print(&said);
    }
    Ok(())
}

fn made(said: &Value) {
    output::line(&format!("next      {}", text(said, "/vkey")));
    output::line(
        "It signs nothing yet. Give it to whoever pinned the log's key, and to the log's witnesses; then",
    );
    output::line("  counterfoil identity log-key activate");
}

fn activated(said: &Value) {
    output::line(&format!("in use    {} (entry {})", text(said, "/vkey"), text(said, "/entry")));
    output::line(&format!("leaving   {}: it signs too, until", text(said, "/before")));
    output::line("  counterfoil identity log-key retire");
    output::line(
        "Give auditors the new key, or log/succession, which proves to whoever has the old one that it follows.",
    );
}

fn retired(said: &Value) {
    output::line(&format!("retired   {} (entry {})", text(said, "/vkey"), text(said, "/entry")));
    output::line(&format!("in use    {}", text(said, "/in_use")));
    output::line(
        "A head that the retired key alone signs is false from here on; whoever pinned that key must pin the new one.",
    );
}

fn list(said: &Value) {
    let all = said.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let row = |key: &Value| {
        let sizes = match key.get("until").and_then(Value::as_u64) {
            Some(until) => format!("{} to {}", text(key, "/from"), until.saturating_sub(1)),
            None => format!("{} on", text(key, "/from")),
        };
        vec![text(key, "/vkey"), text(key, "/phase"), sizes]
    };
    let mut rows: Vec<Vec<String>> = all.iter().map(row).collect();
    if let Some(next) = said.get("next").and_then(Value::as_str) {
        rows.push(vec![next.to_owned(), "next".to_owned(), String::new()]);
    }
    output::table(&["log key", "phase", "heads of entries from"], &rows);
}
