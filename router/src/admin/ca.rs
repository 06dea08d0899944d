//! The phases of the router's issuing CA: announced, in use, leaving, retired.
//!
//! What may happen is decided by the log; the files follow it, or go before it where nobody can see them yet.

use counterfoil_identity::{CaFold, CaPhase, IssuedCa, IssuingCa, KnownCa, pem};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::{CaIssued, KeyRotation, RotatedKey};
use counterfoil_spec::time::Seconds;
use serde_json::{Value, json};

use super::{AdminCommand, AdminError, deny};
use crate::home::{ChangeCa, NextCa, RouterHome};
use crate::office::{Office, entry};

/// Carries out a command that changes the CAs, one after the other; gives back what is none.
pub(super) fn execute(
    office: &Office,
    home: &RouterHome,
    command: AdminCommand,
) -> Result<Result<Value, AdminError>, AdminCommand> {
    Ok(match command {
        AdminCommand::CaNext {} => next(office, &home.change_ca()),
        AdminCommand::CaAnnounce { certificate } => take(office, &home.change_ca(), &certificate),
        AdminCommand::CaActivate {} => activate(office, &home.change_ca()),
        AdminCommand::CaRetire { serial, reason } => retire(office, &home.change_ca(), serial, reason),
        other => return Err(other),
    })
}

/// All of them, as the log tells.
pub(super) fn list(office: &Office) -> Value {
    let now = office.now().seconds();
    let books = office.books();
    let denied = &books.roster.denied().names;
    let all: Vec<Value> = books
        .roster
        .cas()
        .all()
        .map(|known| {
            let mut ca = describe(known, known.phase(now));
            if let Some(ca) = ca.as_object_mut() {
                ca.insert("denied".into(), denied.denies_serial(known.ca.serial.as_bytes()).into());
            }
            ca
        })
        .collect();
    json!({ "cas": all })
}

/// A CA in words that other programs read too.
pub(crate) fn describe(known: &KnownCa, phase: CaPhase) -> Value {
    let (name, last_leaf) = match phase {
        CaPhase::Announced => ("announced", None),
        CaPhase::InUse(_) => ("in use", None),
        CaPhase::Leaving(last) => ("leaving", Some(last)),
        CaPhase::Retired(last) => ("retired", Some(last)),
    };
    json!({
        "serial": known.ca.serial, "key_id": known.ca.key.kid(), "phase": name, "ends": known.ca.not_after,
        "announced": known.announced, "since": known.since, "replaced": known.replaced, "last_leaf": last_leaf,
    })
}

/// Makes the next CA and announces it, or says what its root is to be asked. One that can take no place any more, because it
/// is denied or has ended, makes room for another. Others decide while the root signs.
pub(crate) fn next(office: &Office, home: &ChangeCa<'_>) -> Result<Value, AdminError> {
    let now = office.now().seconds();
    let ready = match home.next_ca()? {
        Some(NextCa::Certified(ca)) if is_void(office, &ca, now) => {
            home.drop_next_ca()?;
            None
        }
        other => other,
    };
    let made = match ready {
        Some(NextCa::Certified(ca)) if known(office, &ca).is_some() => {
            let words = "the next CA is announced already; `counterfoil identity ca activate` puts it to use";
            return Err(AdminError::Caller(words.to_owned()));
        }
        // It has its certificate and the log does not say so, because the router was stopped in between.
        Some(ready @ NextCa::Certified(_)) => ready,
        Some(NextCa::Asked(_)) | None => home.make_next_ca(now)?,
    };
    match made {
        NextCa::Certified(ca) => announce(office, &ca),
        NextCa::Asked(request) => {
            Ok(json!({ "phase": "asked", "request": pem::encode(REQUEST, &request).as_str() }))
        }
    }
}

/// Takes the certificate of a root elsewhere, and announces its CA.
fn take(office: &Office, home: &ChangeCa<'_>, certificate: &str) -> Result<Value, AdminError> {
    if !matches!(home.next_ca()?, Some(NextCa::Asked(_))) {
        let words = "no certificate was asked for; `counterfoil identity ca next` asks";
        return Err(AdminError::Caller(words.to_owned()));
    }
    let blocks = pem::decode(CERTIFICATE, certificate).map_err(AdminError::caller)?;
    let Ok([der]) = <[_; 1]>::try_from(blocks) else {
        return Err(AdminError::Caller("the answer of a root is one certificate".to_owned()));
    };
    let root = home.domain().root_key();
    let shown = IssuedCa::read(&der, root).map_err(AdminError::caller)?;
    office.books().roster.cas().may_announce(&shown, office.now().seconds()).map_err(AdminError::caller)?;
    announce(office, &home.take_next_ca(der.to_vec()).map_err(AdminError::caller)?)
}

fn announce(office: &Office, ca: &IssuingCa) -> Result<Value, AdminError> {
    let _alone = office.decide();
    office
        .books()
        .roster
        .cas()
        .may_announce(&ca.issued(), office.now().seconds())
        .map_err(AdminError::caller)?;
    let issued = CaIssued { certificate: ca.der().to_vec(), not_after: ca.not_after() };
    let at = office.append_blocking(vec![entry(issued)])?;
    Ok(json!({ "phase": "announced", "serial": ca.serial(), "ends": ca.not_after(), "entry": at.first }))
}

/// New certificates come from the next CA from here on.
pub(crate) fn activate(office: &Office, home: &ChangeCa<'_>) -> Result<Value, AdminError> {
    let Some(NextCa::Certified(next)) = home.next_ca()? else {
        let words = "no CA was announced; `counterfoil identity ca next` makes one";
        return Err(AdminError::Caller(words.to_owned()));
    };
    let _alone = office.decide();
    let before = home.ca().serial();
    if is_void(office, &next, office.now().seconds()) {
        let words = "the next CA is on the deny list or has ended; `counterfoil identity ca next` makes another in its place";
        return Err(AdminError::Caller(words.to_owned()));
    }
    office
        .books()
        .roster
        .cas()
        .may_rotate(&next.serial(), office.now().seconds())
        .map_err(AdminError::caller)?;
    // Nobody sees the files. Where the log does not take the entry the next start writes it, from the files.
    let ca = home.switch_ca()?;
    let rotation = KeyRotation { of: RotatedKey::IssuingCa, successor: ca.der().to_vec() };
    let at = office.append_blocking(vec![entry(rotation)])?;
    let serial = ca.serial();
    home.use_ca(ca);
    Ok(json!({ "phase": "in use", "serial": serial, "before": before, "entry": at.first }))
}

/// The leaves of a CA are refused at once, whether they have ended or not.
fn retire(office: &Office, home: &ChangeCa<'_>, serial: Serial, reason: String) -> Result<Value, AdminError> {
    let said = deny_ca(office, serial, reason)?;
    if let Some(NextCa::Certified(next)) = home.next_ca()?
        && next.serial() == serial
    {
        home.drop_next_ca()?;
    }
    Ok(said)
}

fn deny_ca(office: &Office, serial: Serial, reason: String) -> Result<Value, AdminError> {
    let _alone = office.decide();
    let phase = office.books().roster.cas().find(&serial).map(|known| known.phase(office.now().seconds()));
    match phase {
        None => return Err(AdminError::Caller(format!("{}: {serial}", CaFold::Unknown))),
        Some(CaPhase::InUse(_)) => {
            let words = "this CA is in use: let another take its place first (`identity ca next`, `identity ca activate`)";
            return Err(AdminError::Caller(words.to_owned()));
        }
        Some(CaPhase::Announced | CaPhase::Leaving(_) | CaPhase::Retired(_)) => {}
    }
    let names = DenyNames { serials: vec![serial], ..DenyNames::default() };
    deny::deny(office, names, reason)
}

/// Whether nothing that a CA issues would be let in, so that it is not to be put to use.
fn is_void(office: &Office, ca: &IssuingCa, now: Seconds) -> bool {
    now > ca.not_after() || office.denied().borrow().names.denies_serial(ca.serial().as_bytes())
}

fn known(office: &Office, ca: &IssuingCa) -> Option<KnownCa> {
    office.books().roster.cas().find(&ca.serial()).copied()
}

const REQUEST: &str = "CERTIFICATE REQUEST";
const CERTIFICATE: &str = "CERTIFICATE";
