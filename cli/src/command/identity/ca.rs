//! `counterfoil identity ca …`: the issuing CA and what follows it.

use std::path::{Path, PathBuf};

use counterfoil_identity::{Root, pem, requested_key};
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::clock;
use serde_json::{Value, json};

use crate::args::CaCommand;
use crate::command::account::{id, text};
use crate::exit::{Failure, Outcome};
use crate::keys::keyring;
use crate::output;
use crate::target::operate;

/// Carries out one of them.
pub(super) async fn run(home: &Path, command: CaCommand, json: bool) -> Outcome {
    let (command, print): (_, fn(&Value)) = match command {
        CaCommand::Sign { request, certificate } => {
            return sign(home, &request, certificate.as_deref(), json);
        }
        CaCommand::Next { request } => {
            let said = operate(home, AdminCommand::CaNext {}).await?;
            return next(&said, request, json);
        }
        CaCommand::List => (AdminCommand::CaList {}, list),
        CaCommand::Announce { certificate } => {
            let certificate = read(&certificate)?;
            (AdminCommand::CaAnnounce { certificate }, announced)
        }
        CaCommand::Activate => (AdminCommand::CaActivate {}, activated),
        CaCommand::Retire { serial, reason } => {
            (AdminCommand::CaRetire { serial: id(&serial)?, reason }, retired)
        }
    };
    let said = operate(home, command).await?;
    if json {
        output::json(&said);
    } else {
        print(&said);
    }
    Ok(())
}

/// The next CA is announced, or its root is asked.
fn next(said: &Value, to: Option<PathBuf>, json: bool) -> Outcome {
    let Some(request) = said.get("request").and_then(Value::as_str) else {
        if json {
            output::json(said);
        } else {
            announced(said);
        }
        return Ok(());
    };
    let key_id = requested(request)?.kid();
    if let Some(path) = &to {
        std::fs::write(path, request)?;
    }
    if json {
        output::json(&json!({ "phase": "asked", "request": request, "key_id": key_id, "file": to }));
        return Ok(());
    }
    // What goes to standard output is the request alone, so that it can be put into a file or a pipe.
    let Some(path) = to else {
        output::line(request.trim_end());
        return Ok(());
    };
    output::line(&format!("asked     {} is for the key {key_id}", path.display()));
    output::line("The root's key is not in this home: take the request to it, and there");
    output::line("  counterfoil --home ROOT identity ca sign --request FILE --certificate FILE");
    Ok(())
}

/// What the root answers, in a home that needs nothing but the root's key and certificate.
fn sign(home: &Path, request: &Path, to: Option<&Path>, json: bool) -> Outcome {
    let key = requested(&read(request)?)?;
    let folder = home.join("identity");
    let der = folder.join("root.der");
    let der = std::fs::read(&der).map_err(|e| Failure::store(anyhow::anyhow!("{}: {e}", der.display())))?;
    let signer = keyring()?.signer(&folder.join("root.key")).map_err(Failure::store)?;
    let root = Root::from_parts(signer, der).map_err(Failure::store)?;
    let certificate = root.certify_ca(&key, clock::now().seconds()).map_err(Failure::wrong_use)?;
    let certificate = pem::encode("CERTIFICATE", &certificate);
    if let Some(path) = to {
        std::fs::write(path, certificate.as_bytes())?;
    }
    if json {
        let net_id = root.net_id();
        output::json(&json!({ "certificate": certificate.as_str(), "key_id": key.kid(), "net_id": net_id }));
        return Ok(());
    }
    let Some(path) = to else {
        output::line(certificate.trim_end());
        return Ok(());
    };
    output::line(&format!("certified {} is for the key {}", path.display(), key.kid()));
    output::line("Compare the key with what the router printed, and take the certificate there:");
    output::line("  counterfoil identity ca announce --certificate FILE");
    Ok(())
}

fn requested(request: &str) -> Result<counterfoil_identity::VerifyKey, Failure> {
    let blocks = pem::decode("CERTIFICATE REQUEST", request).map_err(Failure::wrong_use)?;
    let Ok([der]) = <[_; 1]>::try_from(blocks) else {
        return Err(Failure::wrong_use("a file with one certificate request is needed"));
    };
    requested_key(&der).map_err(Failure::wrong_use)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::wrong_use(format!("{}: {e}", path.display())))
}

fn announced(said: &Value) {
    output::line(&format!("announced {} (entry {})", text(said, "/serial"), text(said, "/entry")));
    output::line("It issues nothing yet; `counterfoil identity ca activate` puts it to use.");
}

fn activated(said: &Value) {
    output::line(&format!("in use    {} (entry {})", text(said, "/serial"), text(said, "/entry")));
    output::line(&format!(
        "leaving   {}: its certificates are good until they end, within a day",
        text(said, "/before")
    ));
}

fn retired(said: &Value) {
    output::line(&format!("deny list {} (entry {})", text(said, "/epoch"), text(said, "/entry")));
    output::line(
        "Nodes that still show a certificate of this CA are sent away; started again, they need a new one.",
    );
}

fn list(said: &Value) {
    let all = said.get("cas").and_then(Value::as_array).cloned().unwrap_or_default();
    let row = |ca: &Value| {
        let denied = ca.get("denied") == Some(&Value::Bool(true));
        let phase = if denied { "denied".to_owned() } else { text(ca, "/phase") };
        vec![text(ca, "/serial"), phase, text(ca, "/since"), text(ca, "/last_leaf"), text(ca, "/ends")]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    output::table(&["issuing CA", "phase", "in use since", "last leaf until", "ends (unix)"], &rows);
}
