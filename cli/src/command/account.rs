//! `counterfoil account …`: accounts, subscriptions, API keys.

use std::path::Path;

use counterfoil_router::admin::{AdminCommand, KeyPurpose};
use serde_json::Value;

use crate::args::{AccountCommand, KeyCommand};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::target::operate;

/// Carries out one of them.
pub(crate) async fn run(home: &Path, command: AccountCommand, json: bool) -> Outcome {
    let (command, print): (_, fn(&Value)) = match command {
        AccountCommand::Create { country } => (AdminCommand::AccountCreate { country }, created),
        AccountCommand::List => (AdminCommand::AccountList {}, list),
        AccountCommand::Show { account } => (AdminCommand::AccountShow { account: id(&account)? }, show),
        AccountCommand::Subscribe { account, plan, paid } => {
            (AdminCommand::Subscribe { account: id(&account)?, plan, paid }, subscribed)
        }
        AccountCommand::Key(KeyCommand::Create { account, expires, auditor, country }) => {
            let purpose = if auditor { KeyPurpose::Audit } else { KeyPurpose::Requests };
            (AdminCommand::KeyCreate { account: id(&account)?, expires_s: expires, purpose, country }, key)
        }
        AccountCommand::Key(KeyCommand::Revoke { key_id }) => {
            (AdminCommand::KeyRevoke { key_id: id(&key_id)? }, revoked)
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

/// Reads an id from the command line.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(Failure::wrong_use)
}

/// A member of a reply as text.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn created(value: &Value) {
    output::line(&format!("account      {}", text(value, "/account")));
    output::line(&format!("country      {}", text(value, "/country")));
    output::line(&format!("free tokens  {}", text(value, "/free_tokens")));
    output::line(&format!("next         counterfoil account key create {}", text(value, "/account")));
}

fn list(value: &Value) {
    let rows: Vec<Vec<String>> = value
        .get("accounts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|a| {
            let metered = a.pointer("/balance/metered") == Some(&Value::Bool(true));
            let of = |p: &str| if metered { text(a, p) } else { "-".into() };
            vec![text(a, "/account"), of("/balance/available"), of("/balance/held"), of("/balance/spent")]
        })
        .collect();
    output::table(&["account", "available", "held", "spent"], &rows);
}

fn show(value: &Value) {
    output::line(&format!("account    {}", text(value, "/account")));
    output::line(&format!("country    {}", text(value, "/country")));
    for part in ["available", "held", "spent"] {
        output::line(&format!("{part:<10} {}", text(value, &format!("/balance/{part}"))));
    }
    let lots = value.pointer("/balance/lots").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = lots
        .iter()
        .map(|l| {
            vec![
                text(l, "/lot"),
                text(l, "/source"),
                text(l, "/available"),
                text(l, "/held"),
                text(l, "/expires"),
            ]
        })
        .collect();
    output::table(&["lot", "source", "available", "held", "expires (unix)"], &rows);
    let keys = value.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|k| ["/key_id", "/scope", "/country", "/revoked", "/expires"].map(|p| text(k, p)).to_vec())
        .collect();
    output::table(&["key", "scope", "country", "revoked", "expires (unix)"], &rows);
}

fn subscribed(value: &Value) {
    output::line(&format!(
        "{} tokens until {} (unix), lot {}",
        text(value, "/lot/tokens"),
        text(value, "/lot/expires"),
        text(value, "/lot/lot")
    ));
}

fn key(value: &Value) {
    output::line(&format!("key     {}", text(value, "/key")));
    output::line(&format!("key id  {}", text(value, "/key_id")));
    output::line(&format!("country {}", text(value, "/country")));
    output::line("The key is shown this once; only its hash is kept.");
}

fn revoked(value: &Value) {
    output::line(&format!("key {} is revoked", text(value, "/key_id")));
}
