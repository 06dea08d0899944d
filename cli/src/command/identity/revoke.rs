//! `counterfoil identity revoke`: a node is denied by its recovery key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use counterfoil_node::NodeIdentity;
use counterfoil_router::clock;
use counterfoil_session::ConnectError;
use counterfoil_session::enrol::recover;
use counterfoil_spec::ids::{NetId, NodeId};
use serde_json::json;

use crate::command::account::id;
use crate::exit::{Failure, Outcome};
use crate::keys::keyring;
use crate::output;

/// Whom, and where the key lies; what is not said is that of the home.
pub(super) struct Which {
    pub(super) recovery_key: Option<PathBuf>,
    pub(super) node: Option<String>,
    pub(super) net_id: Option<String>,
}

/// Asks the router, and says what it answered.
pub(super) async fn run(home: &Path, at: SocketAddr, which: Which, json: bool) -> Outcome {
    let (node, net_id) = named(home, &which)?;
    let path = which.recovery_key.unwrap_or_else(|| home.join("identity/recovery.key"));
    let key = keyring()?.signer(&path).map_err(Failure::store)?;
    let answer = Box::pin(recover(at, net_id, (node, &*key), &clock::system())).await;
    let epoch = answer.map_err(|e| match e {
        ConnectError::Refused(_) | ConnectError::RefusedByPeer { .. } => Failure::refused(e),
        e => Failure::store(e),
    })?;
    if json {
        output::json(&json!({ "node": node, "epoch": epoch }));
        return Ok(());
    }
    output::line(&format!("The node {node} is denied (deny list {epoch})."));
    output::line(
        "Its keys are worth nothing any more: enrol again from an empty home, with a new join token.",
    );
    Ok(())
}

fn named(home: &Path, which: &Which) -> Result<(NodeId, NetId), Failure> {
    if let (Some(node), Some(net_id)) = (&which.node, &which.net_id) {
        return Ok((id(node)?, id(net_id)?));
    }
    let own = NodeIdentity::load(home, &keyring()?).map_err(|e| {
        let home = home.display();
        Failure::wrong_use(format!("{home} holds no node's identity ({e}); name it with --node and --net-id"))
    })?;
    let node = which.node.as_deref().map_or_else(|| Ok(own.key.public().node_id()), id)?;
    let net_id = which.net_id.as_deref().map_or_else(|| Ok(own.domain.net_id()), id)?;
    Ok((node, net_id))
}
