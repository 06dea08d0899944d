//! What this program says of a case, by the type of its group.

use counterfoil_identity::Refused;
use data_encoding::HEXLOWER;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{certificates, consent, denials, enrolment, frames, grants, keys, receipts, renewals, tlog};

/// What is said of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is accepted.
    Valid,
    /// It is refused.
    Invalid {
        /// With which code, where there is one.
        refusal: Option<String>,
        /// In words.
        detail: String,
    },
    /// Nobody looked, and why.
    Skipped(String),
}

impl Verdict {
    /// Accepted, or refused with a code.
    pub(super) fn of<T>(outcome: Result<T, Refused>) -> Self {
        match outcome {
            Ok(_) => Self::Valid,
            Err(refused) => {
                Self::Invalid { refusal: Some(refused.refusal.code().to_owned()), detail: refused.detail }
            }
        }
    }

    /// Accepted, or refused without a code.
    pub(super) fn uncoded<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Self {
        match outcome {
            Ok(_) => Self::Valid,
            Err(e) => Self::Invalid { refusal: None, detail: e.to_string() },
        }
    }
}

/// A case that lacks something, or has it in another form.
pub(super) type Judged = Result<Verdict, serde_json::Error>;

/// Judges one case with the code that judges peers.
pub(super) fn judge(group: &Value, test: &Value) -> Verdict {
    let judged = match group.get("type").and_then(Value::as_str) {
        Some("Ed25519Key") => keys::key(test),
        Some("Ed25519Signature") => keys::signature(group, test),
        Some("Root") => certificates::root(test),
        Some("Certificate") => certificates::chain(group, test),
        Some("JoinToken") => enrolment::join_token(test),
        Some("Enrolment") => enrolment::exchange(group, test),
        Some("Recovery") => enrolment::recovery(group, test),
        Some("Renewal") => renewals::renewal(group, test),
        Some("ConsentToken") => consent::token(group, test),
        Some("Grant") => grants::order(group, test),
        Some("Frames") => frames::stream(group, test),
        Some("DenyList") => denials::lists(group, test),
        Some("RootDenyList") => denials::root_lists(group, test),
        Some("Receipt") => receipts::receipt(group, test),
        Some("Checkpoint") => tlog::checkpoint(group, test),
        Some("Cosignature") => tlog::cosignature(group, test),
        Some("InclusionProof") => tlog::inclusion(group, test),
        Some("ConsistencyProof") => tlog::consistency(group, test),
        Some("Policy") => tlog::policy(test),
        Some("Succession") => tlog::succession(group, test),
        other => Ok(Verdict::Skipped(format!("groups of type {other:?} are not known here"))),
    };
    judged.unwrap_or_else(|e| Verdict::Skipped(format!("the case cannot be read: {e}")))
}

/// Reads the fields of a group or of a test.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(value)
}

/// Bytes that are written in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hex(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        HEXLOWER.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A number of bytes that is known.
pub(super) fn exactly<const N: usize>(hex: &Hex) -> Result<[u8; N], serde_json::Error> {
    let wrong = |_| serde::de::Error::custom(format!("{} bytes, where {N} are wanted", hex.0.len()));
    hex.0.as_slice().try_into().map_err(wrong)
}
