//! `counterfoil status`: what runs, who is connected, what was done.

use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use crate::args::UrlArgs;
use crate::command::account::text;
use crate::exit::Outcome;
use crate::home::Running;
use crate::output;
use crate::target;

/// Asks the router and prints what it says.
pub(crate) async fn run(home: &Path, args: &UrlArgs, json: bool) -> Outcome {
    let health = target::client(home, args)?.json(Method::GET, "/health", None).await?;
    let running = Running::read(home);
    if json {
        let processes = running.as_ref().map(serde_json::to_value).and_then(Result::ok);
        output::json(&json!({ "health": health, "processes": processes }));
        return Ok(());
    }
    if let Some(running) = &running {
        output::line(&format!("{}  (process {}, router {})", running.url, running.pid, running.router_pid));
    }
    output::line(&format!("network   {}", text(&health, "/net_id")));
    output::line(&format!(
        "log       {} entries, key {}",
        text(&health, "/log_size"),
        text(&health, "/log_vkey")
    ));
    if let Some(warning) = health.pointer("/issuing_ca/warning").and_then(Value::as_str) {
        output::line(&format!("CA        {warning}"));
    }
    output::line(&format!("running   {} requests", text(&health, "/running")));
    for model in health.get("models").and_then(Value::as_array).into_iter().flatten() {
        let state = match model.get("available") {
            Some(Value::Bool(true)) => "available".to_owned(),
            _ => text(model, "/reason"),
        };
        output::line(&format!("model     {}: {state}", text(model, "/id")));
    }
    let rows: Vec<Vec<String>> = health
        .get("nodes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|n| {
            vec![
                text(n, "/id"),
                text(n, "/experts"),
                text(n, "/rtt_us"),
                text(n, "/consent_expires"),
                text(n, "/certificate_expires"),
            ]
        })
        .collect();
    output::table(&["node", "experts", "rtt µs", "consent until (unix)", "certificate until (unix)"], &rows);
    Ok(())
}
