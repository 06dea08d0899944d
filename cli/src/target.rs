//! Which router a command talks to: the one it was told, or the one that runs on the home.

use std::path::Path;

use counterfoil_audit::LogError;
use counterfoil_router::admin::{AdminCommand, AdminError, execute};
use counterfoil_router::home::{RouterHome, admin_key};
use counterfoil_router::{CURRENCY, Office, OfficeError, clock};
use hyper::Method;
use serde_json::Value;

use crate::args::UrlArgs;
use crate::client::Client;
use crate::exit::Failure;
use crate::home::Running;
use crate::keys::keyring;

/// The client for a router's API.
pub(crate) fn client(home: &Path, args: &UrlArgs) -> Result<Client, Failure> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => Running::read(home).map(|r| r.url).ok_or_else(|| {
            Failure::store(anyhow::anyhow!(
                "no router runs on {}; start one with `counterfoil run`, or name one with --url",
                home.display()
            ))
        })?,
    };
    Client::new(&url, args.key.clone())
}

/// Carries out an operator's command: at the router that runs on the home, or on its record where none runs.
pub(crate) async fn operate(home: &Path, command: AdminCommand) -> Result<Value, Failure> {
    let router_home = RouterHome::open(home, &keyring()?).map_err(Failure::store)?;
    match Office::open(&router_home, CURRENCY, clock::system()) {
        Ok(office) => {
            let done = execute(&office, &router_home, command).map_err(|e| match e {
                AdminError::Caller(message) => Failure::wrong_use(message),
                AdminError::Office(e) => Failure::store(e),
                AdminError::Home(e) => Failure::store(e),
                AdminError::Vault(e) => Failure::store(e),
                AdminError::Service(e) => Failure::refused(e),
            });
            office.close().map_err(Failure::store)?;
            done
        }
        Err(OfficeError::Log(LogError::Locked { .. })) => remote(home, &command).await,
        Err(e) => Err(Failure::store(e)),
    }
}

async fn remote(home: &Path, command: &AdminCommand) -> Result<Value, Failure> {
    let running = Running::read(home).ok_or_else(|| {
        Failure::store(anyhow::anyhow!(
            "a router that has just started or is stopping holds the log; try again"
        ))
    })?;
    let key = admin_key(home, &keyring()?).map_err(Failure::store)?;
    let body = serde_json::to_value(command).map_err(Failure::store)?;
    Client::new(&running.url, Some(key))?.json(Method::POST, "/admin/v1/command", Some(&body)).await
}
