//! The phases of the key of the log's heads: made, in use beside the one before, in use alone, retired.
//!
//! The log decides; files follow it.

use std::sync::Arc;

use counterfoil_audit::log_keys::LogKey;
use counterfoil_audit::{LogKeys, NoteSigner, NoteVerifier};
use counterfoil_identity::Signer;
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::{KeyRotation, LogKeyRetired, RotatedKey};
use serde_json::{Value, json};

use super::AdminError;
use crate::home::RouterHome;
use crate::office::{Office, entry};

/// All of them, as the log tells, and the one that is to follow.
pub(super) fn list(office: &Office, home: &RouterHome) -> Result<Value, AdminError> {
    let keys = office.log_keys();
    let next = made(office, home)?.map(|signer| signer.vkey());
    let newest = keys.in_use().last().map(|key| key.vkey.clone());
    let describe = |key: &LogKey| {
        let phase = match key.until {
            Some(_) => "retired",
            None if newest.as_ref() == Some(&key.vkey) => "in use",
            None => "leaving",
        };
        json!({ "vkey": key.vkey, "phase": phase, "from": key.from, "until": key.until })
    };
    let all: Vec<Value> = keys.all().map(describe).collect();
    Ok(json!({ "keys": all, "next": next }))
}

/// Makes the key that is to follow, or says which it is.
pub(super) fn next(office: &Office, home: &RouterHome) -> Result<Value, AdminError> {
    alone(&office.log_keys())?;
    let next = signer(home, home.make_next_log_key()?)?;
    Ok(json!({ "phase": "next", "vkey": next.vkey(), "in_use": office.log_vkey() }))
}

/// Heads are signed by the key that follows too, from here on.
pub(super) fn activate(office: &Office, home: &RouterHome) -> Result<Value, AdminError> {
    let keys = office.log_keys();
    let before = alone(&keys)?;
    let Some(next) = made(office, home)? else {
        let words = "no key was made to follow; `counterfoil identity log-key next` makes one";
        return Err(AdminError::Caller(words.to_owned()));
    };
    let (vkey, public) = (next.vkey(), *next.verifier().key());
    let successor = public.wire().as_bytes().to_vec();
    let mut rotation = entry(KeyRotation { of: RotatedKey::Log, successor });
    let signers = [key_of(home, before)?, signer_of(home, &public)?];
    rotation.co_signers = signers.map(|signer| (Role::Log, signer)).to_vec();
    office.hold_log_key(next);
    let at = office.append_blocking(vec![rotation])?;
    show(office);
    Ok(json!({ "phase": "in use", "vkey": vkey, "before": before, "entry": at.first }))
}

/// Heads are signed by the newer of two keys alone from here on, and the older one is destroyed.
pub(super) fn retire(office: &Office, home: &RouterHome) -> Result<Value, AdminError> {
    let keys = office.log_keys();
    let (old, newest) = match keys.in_use().collect::<Vec<_>>()[..] {
        [old, newest] => (&old.vkey, &newest.vkey),
        _ => {
            let words = "one key alone signs the log's heads: another must follow it first (`counterfoil identity log-key next`, \
                         then `activate`)";
            return Err(AdminError::Caller(words.to_owned()));
        }
    };
    let mut end = entry(LogKeyRetired { key: old.key().wire() });
    end.co_signers.push((Role::Log, key_of(home, newest)?));
    let at = office.append_blocking(vec![end])?;
    show(office);
    // What the log says holds; where the files cannot follow now, the next start lets them.
    if let Err(error) = office.settle_log_key(home) {
        tracing::error!(%error, "the file of the log's retired key is still there");
    }
    Ok(json!({ "phase": "retired", "vkey": old, "in_use": newest, "entry": at.first }))
}

/// Has a head published that the keys of from here on have signed, so that whoever is told of them finds it.
fn show(office: &Office) {
    if let Err(error) = office.own_head() {
        tracing::error!(%error, "no head could be published yet under the log's keys as they are now");
    }
}

/// The only key that signs.
fn alone(keys: &LogKeys) -> Result<&NoteVerifier, AdminError> {
    match keys.in_use().collect::<Vec<_>>()[..] {
        [only] => Ok(&only.vkey),
        _ => {
            let words = "two keys sign the log's heads: once everybody has pinned the newer one, `counterfoil identity log-key retire` \
                         ends the older, and then another may follow";
            Err(AdminError::Caller(words.to_owned()))
        }
    }
}

/// The key that is to follow, where one was made that the log does not know.
fn made(office: &Office, home: &RouterHome) -> Result<Option<NoteSigner>, AdminError> {
    let Some(next) = home.next_log_key()? else { return Ok(None) };
    let next = signer(home, next)?;
    Ok(Some(next).filter(|next| office.log_keys().find(next.verifier()).is_none()))
}

fn signer(home: &RouterHome, key: Arc<dyn Signer>) -> Result<NoteSigner, AdminError> {
    NoteSigner::new(&home.origin(), key).map_err(AdminError::caller)
}

fn key_of(home: &RouterHome, vkey: &NoteVerifier) -> Result<Arc<dyn Signer>, AdminError> {
    signer_of(home, vkey.key())
}

fn signer_of(
    home: &RouterHome,
    key: &counterfoil_identity::VerifyKey,
) -> Result<Arc<dyn Signer>, AdminError> {
    let found = home.log_keys()?.into_iter().find(|signer| signer.public() == *key);
    found.ok_or_else(|| {
        AdminError::Caller(format!("the log's key {} is not in this home any more", key.kid()))
    })
}
