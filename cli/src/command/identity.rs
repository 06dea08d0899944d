//! `counterfoil identity …`: keys, certificates and join tokens.

mod ca;
mod keys;
mod log_key;
mod renew;
mod revoke;
mod root_deny;

use std::path::Path;
use std::sync::Arc;

use counterfoil_audit::{NoteSigner, Succession};
use counterfoil_identity::check_home_format;
use counterfoil_identity::key_file::is_there;
use counterfoil_node::NodeIdentity;
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::clock;
use counterfoil_router::home::RouterHome;
use serde_json::{Value, json};

use crate::args::IdentityCommand;
use crate::command::account::text;
use crate::command::serve::join;
use crate::exit::{Failure, Outcome};
use crate::home::Running;
use crate::keys::keyring;
use crate::output;
use crate::target::operate;

/// Carries out one of them.
pub(crate) async fn run(home: &Path, command: IdentityCommand, json: bool) -> Outcome {
    check_home_format(home).map_err(Failure::store)?;
    match command {
        IdentityCommand::Init => {
            RouterHome::open_or_create(home, &keyring()?, clock::now().seconds()).map_err(Failure::store)?;
            show(home, json)?;
            if !json {
                output::line(
                    "Keep identity/root.key and identity/next-root.key offline; whoever has them is this network. Once the log is begun, the router runs without them.",
                );
            }
            Ok(())
        }
        IdentityCommand::Show => show(home, json),
        IdentityCommand::JoinToken { expires } => {
            let value = operate(home, AdminCommand::JoinToken { expires_s: expires }).await?;
            if json {
                output::json(&value);
                return Ok(());
            }
            output::line(&text(&value, "/join_token"));
            if Running::read(home).is_none() {
                output::line("No router runs on this home; the token works once `counterfoil router` does.");
            }
            Ok(())
        }
        IdentityCommand::Protect { new_passphrase_file } => {
            keys::seal(home, Some(&new_passphrase_file), json)
        }
        IdentityCommand::Unprotect => keys::seal(home, None, json),
        IdentityCommand::Agent { keys, socket } => {
            let folder = keys.unwrap_or_else(|| home.join("identity"));
            keys::serve(&folder, &socket, json).await
        }
        IdentityCommand::UseAgent { socket } => keys::use_agent(home, &socket, json),
        IdentityCommand::Enroll { enrol, join_token } => {
            let identity = Box::pin(join(home, &join_token, enrol)).await?;
            let value = node(&identity);
            print(&value, json);
            Ok(())
        }
        IdentityCommand::Renew { enrol } => {
            let identity = Box::pin(renew::run(home, enrol)).await?;
            print(&node(&identity), json);
            Ok(())
        }
        IdentityCommand::Ca(command) => ca::run(home, command, json).await,
        IdentityCommand::LogKey(command) => log_key::run(home, command, json).await,
        IdentityCommand::RootDeny(command) => root_deny::run(home, command, json),
        IdentityCommand::Revoke { enrol, recovery_key, node, net_id } => {
            Box::pin(revoke::run(home, enrol, revoke::Which { recovery_key, node, net_id }, json)).await
        }
    }
}

fn show(home: &Path, json: bool) -> Outcome {
    if is_there(&home.join("identity/router.key")) {
        let router = RouterHome::open(home, &keyring()?).map_err(Failure::store)?;
        print(&describe(&router)?, json);
        return Ok(());
    }
    let identity = NodeIdentity::load(home, &keyring()?).map_err(|e| {
        Failure::store(anyhow::anyhow!(
            "{} holds neither a router's nor a node's identity: {e}",
            home.display()
        ))
    })?;
    print(&node(&identity), json);
    Ok(())
}

fn describe(home: &RouterHome) -> Result<Value, Failure> {
    let log_vkey = log_vkeys(home)?.pop();
    Ok(json!({
        "role": "router", "net_id": home.net_id(), "router_id": home.router_id(), "log_vkey": log_vkey,
        "origin": home.origin(), "ca_expires": home.ca().not_after(), "root_key_id": home.domain().root_key().kid(),
        "root_key_here": home.root().is_some(),
        "router_key_id": home.identity().public().kid(), "router_key": home.identity().public().wire(), "home": home.path(),
    }))
}

/// The keys that the log's heads may bear, as the home's files and the log's own say, the newest last.
pub(crate) fn log_vkeys(home: &RouterHome) -> Result<Vec<String>, Failure> {
    let own = NoteSigner::new(&home.origin(), Arc::clone(home.log_key())).map_err(Failure::store)?.vkey();
    let succession = Succession::of_log(&home.path().join("log")).map_err(Failure::store)?;
    let followed = succession.iter().flat_map(|known| known.keys().iter().map(ToString::to_string));
    Ok(std::iter::once(own).chain(followed).collect())
}

fn node(identity: &NodeIdentity) -> Value {
    let end = counterfoil_identity::certificate_end(&identity.credentials.chain().leaf).ok();
    json!({
        "role": "node", "net_id": identity.domain.net_id(), "node_id": identity.key.public().node_id(),
        "router_id": identity.router, "node_key_id": identity.key.public().kid(),
        "node_key": identity.key.public().wire(), "certificate_expires": end,
    })
}

fn print(value: &Value, json: bool) {
    if json {
        output::json(value);
        return;
    }
    for (key, member) in value.as_object().into_iter().flatten() {
        let member = member.as_str().map_or_else(|| member.to_string(), str::to_owned);
        output::line(&format!("{key:<20} {member}"));
    }
}
