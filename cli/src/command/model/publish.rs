//! `counterfoil model publish`: the log says that a model may be asked for.

use std::path::Path;

use counterfoil_model::KeptManifests;
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::home::RouterHome;
use serde_json::Value;

use crate::command::account::text;
use crate::exit::{Failure, Outcome};
use crate::keys::keyring;
use crate::output;
use crate::target::operate;

/// Publishes it: through the router that runs on the home, or in its log where none runs.
pub(super) async fn run(
    home: &Path,
    path: &Path,
    name: Option<String>,
    source: Option<&str>,
    json: bool,
) -> Outcome {
    let checkpoint = super::checkpoint(Some(path))?;
    let router_home = RouterHome::open(home, &keyring()?).map_err(Failure::store)?;
    let bar = output::byte_progress("hashing");
    let kept = KeptManifests::in_folder(home.join("manifests")).describe(&checkpoint, &|done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    kept.map_err(Failure::store)?;
    router_home.keep_manifest(checkpoint.manifest()).map_err(Failure::store)?;
    let command = AdminCommand::ModelPublish {
        manifest: checkpoint.manifest_id(),
        name: name.unwrap_or_else(|| checkpoint.name().to_owned()),
        source: source.map(str::to_owned),
    };
    let value = operate(home, command).await?;
    if json {
        output::json(&value);
    } else {
        print(&value);
    }
    Ok(())
}

fn print(value: &Value) {
    output::line(&format!("model     {}", text(value, "/model/name")));
    output::line(&format!("manifest  {}", text(value, "/model/manifest")));
    match value.pointer("/entry") {
        Some(Value::Null) | None => output::line("The log says so already."),
        Some(entry) => output::line(&format!("entry     {entry}")),
    }
}
