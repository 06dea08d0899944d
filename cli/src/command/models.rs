//! `counterfoil models`: what can be asked for, and whether it is hosted.

use std::path::Path;

use hyper::Method;
use serde_json::Value;

use crate::args::UrlArgs;
use crate::command::account::text;
use crate::exit::Outcome;
use crate::output;
use crate::target;

/// Asks the router and prints what it says.
pub(crate) async fn run(home: &Path, args: &UrlArgs, json: bool) -> Outcome {
    let models = target::client(home, args)?.json(Method::GET, "/v1/models", None).await?;
    if json {
        output::json(&models);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = models
        .get("data")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|m| {
            let state = if m.get("available") == Some(&Value::Bool(true)) {
                "yes".into()
            } else {
                text(m, "/reason")
            };
            let experts =
                format!("{} of {}, {} layers", text(m, "/top_k"), text(m, "/experts"), text(m, "/layers"));
            vec![text(m, "/id"), text(m, "/family"), experts, text(m, "/context"), state]
        })
        .collect();
    output::table(&["model", "family", "experts per token", "context", "available"], &rows);
    Ok(())
}
