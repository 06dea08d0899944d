//! The issuing CA's life at a router that runs: it warns before its end, and where the root's key is at hand the next
//! one is made and takes its place by itself.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_identity::{CaPhase, Credentials, KnownCa, LeafRequest, TlsKey};
use counterfoil_spec::entry::Role;
use counterfoil_spec::time::Seconds;
use serde_json::{Value, json};

use crate::admin::{AdminError, ca};
use crate::desk::Desk;
use crate::home::RouterHome;
use crate::office::Office;
use crate::serve::StartError;

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// How long before its end a CA without a successor is warned of.
const WARN_BEFORE_S: u64 = 30 * 86_400;
/// How long a CA stands in the log before it takes over by itself, so that others can see it come.
const ANNOUNCED_S: u64 = 86_400;
/// What can be due at one time: that the next CA is made, and that it takes over.
const MAX_STEPS: usize = 2;

/// Where the root's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootKey {
    Here,
    Elsewhere,
}

/// What is to be done about the CA in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// The next one is to be made and announced.
    Next,
    /// The next one is to take over.
    Activate,
}

/// What is due. A CA has its successor from two thirds of its life on.
pub(crate) fn due(now: Seconds, in_use: &KnownCa, next: Option<&KnownCa>, root: RootKey) -> Due {
    let (from, until) = (in_use.ca.not_before.0, in_use.ca.not_after.0);
    if now.0 < from.saturating_add(until.saturating_sub(from) / 3 * 2) {
        return Due::Nothing;
    }
    let seen = |next: &KnownCa| now >= next.announced.plus(ANNOUNCED_S) || now.plus(ANNOUNCED_S).0 >= until;
    match (next, root) {
        (Some(next), _) if seen(next) => Due::Activate,
        (None, RootKey::Here) => Due::Next,
        (Some(_), _) | (None, RootKey::Elsewhere) => Due::Nothing,
    }
}

/// What an operator should know of the CA; nothing while all is well.
pub(crate) fn warning(
    now: Seconds,
    in_use: &KnownCa,
    next: Option<&KnownCa>,
    root: RootKey,
) -> Option<String> {
    let left = in_use.ca.not_after.0.saturating_sub(now.0);
    if left > WARN_BEFORE_S {
        return None;
    }
    let days = left / 86_400;
    let what = match (next, root) {
        (Some(_), _) => "`counterfoil identity ca activate` lets the next one take its place",
        (None, RootKey::Here) => {
            "the next one should have been made by now: the router's output says why it was not"
        }
        (None, RootKey::Elsewhere) => "`counterfoil identity ca next` asks the root for the next one",
    };
    Some(format!("the issuing CA ends in {days} days, and nobody can enrol or renew after that; {what}"))
}

/// The CA in use and the one that was announced last and is to follow it.
fn pair(office: &Office) -> Option<(KnownCa, Option<KnownCa>)> {
    let now = office.now().seconds();
    let books = office.books();
    let cas = books.roster.cas();
    let is_void = |known: &KnownCa| {
        now > known.ca.not_after || books.roster.denied().names.denies_serial(known.ca.serial.as_bytes())
    };
    let next = cas.all().rev().find(|known| known.phase(now) == CaPhase::Announced && !is_void(known));
    Some((*cas.in_use()?, next.copied()))
}

fn root_key(home: &RouterHome) -> RootKey {
    if home.root().is_some() { RootKey::Here } else { RootKey::Elsewhere }
}

/// Does what is due, and says whether something was.
///
/// # Errors
/// [`AdminError`].
pub(crate) fn step(office: &Office, home: &RouterHome) -> Result<bool, AdminError> {
    let change = home.change_ca();
    let Some((in_use, next)) = pair(office) else { return Ok(false) };
    let said = match due(office.now().seconds(), &in_use, next.as_ref(), root_key(home)) {
        Due::Nothing => return Ok(false),
        Due::Next => ca::next(office, &change)?,
        Due::Activate => ca::activate(office, &change)?,
    };
    tracing::info!(ca = %said, "the issuing CA rolls over");
    Ok(true)
}

/// Does all that is due, before the router shows a certificate.
///
/// # Errors
/// [`AdminError`].
pub(crate) fn catch_up(office: &Office, home: &RouterHome) -> Result<(), AdminError> {
    for _ in 0..MAX_STEPS {
        if !step(office, home)? {
            break;
        }
    }
    Ok(())
}

/// The same at the start, which no CA that is over survives.
///
/// # Errors
/// In words, what to do about it.
pub(crate) fn begin(office: &Office, home: &RouterHome) -> Result<(), String> {
    if let Err(error) = catch_up(office, home) {
        tracing::error!(%error, "the issuing CA does not roll over");
    }
    let (own, ends) = (home.ca().serial(), home.ca().not_after());
    let in_use = office.books().roster.cas().in_use().map(|known| known.ca.serial);
    if let Some(in_use) = in_use.filter(|in_use| *in_use != own) {
        return Err(format!(
            "identity/ca.key and ca.der are those of issuing CA {own}, and the log has {in_use} in use: put back the files of that one, or \
             let `counterfoil identity ca next` and `identity ca activate` put another in its place"
        ));
    }
    if office.now().seconds() < ends {
        return Ok(());
    }
    Err(format!(
        "its issuing CA ended at {} (unix): `counterfoil identity ca next` and `identity ca activate` put another in its place",
        ends.0
    ))
}

/// Looks for as long as the router runs.
pub(crate) async fn keep(desk: Arc<Desk>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let at = Arc::clone(&desk);
        let done = tokio::task::spawn_blocking(move || catch_up(&at.office, &at.home)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the issuing CA does not roll over"),
            Err(error) => tracing::error!(%error, "the issuing CA does not roll over"),
        }
        if let Some(said) = pair(&desk.office).and_then(|(own, next)| {
            warning(desk.office.now().seconds(), &own, next.as_ref(), root_key(&desk.home))
        }) {
            tracing::warn!("{said}");
        }
    }
}

/// What `/health` says of it.
pub(crate) fn health(desk: &Desk) -> Value {
    let now = desk.office.now().seconds();
    let Some((in_use, next)) = pair(&desk.office) else { return Value::Null };
    let warning = warning(now, &in_use, next.as_ref(), root_key(&desk.home));
    json!({
        "serial": in_use.ca.serial, "ends": in_use.ca.not_after, "warning": warning,
        "next": next.map(|next| ca::describe(&next, next.phase(now))),
    })
}

/// Seconds until the end of the CA in use.
pub(crate) fn seconds_left(desk: &Desk) -> u64 {
    desk.home.ca().not_after().0.saturating_sub(desk.office.now().seconds().0)
}

/// A certificate for this run; its TLS key never touches the disk.
pub(crate) fn own_credentials(desk: &Desk) -> Result<Credentials, StartError> {
    let now = desk.office.now().seconds();
    let (ca, tls) = (desk.home.ca(), TlsKey::generate());
    desk.shown.add(tls.public());
    let facts = (now.0, ca.latest_leaf_end(now));
    let request = LeafRequest::signed(Role::Router, desk.office.identity(), &tls, &desk.home.net_id(), facts)
        .map_err(|e| StartError::Certificate(e.to_string()))?;
    let chain = ca.issue_leaf(&request, now).map_err(|e| StartError::Certificate(e.to_string()))?;
    Ok(Credentials::new(chain, &tls))
}

#[cfg(test)]
mod tests;
