//! Signing and checking consent tokens. The order of checks is normative; the first failure wins.

use counterfoil_identity::{Refused, SignFault, Signer, VerifyKey};
use counterfoil_spec::claims::{CLAIMS_VERSION, Claims, Range};
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::ids::{NetId, NodeId, RouterId, Serial};
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_CONSENT_BYTES, MAX_CONSENT_LIFE_S};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use crate::cose::{self, Label, Protected, Sign1, signed_bytes};
use crate::permit::Permit;
use crate::ranges;

/// Signs claims with the issuer's node identity key.
///
/// # Errors
/// [`SignFault`] where the key does not sign.
pub fn sign_token(claims: &Claims, key: &dyn Signer) -> Result<Vec<u8>, SignFault> {
    let protected = Protected::of(&claims.issuer).to_bytes();
    let payload = to_canonical(claims);
    let signature = key.sign(&signed_bytes(&protected, &claims.net_id, &payload))?;
    Ok(Sign1 { protected, payload, signature }.to_bytes())
}

/// What a consent token is held against.
#[derive(Clone, Copy)]
pub struct Expectation<'a> {
    /// This network.
    pub net_id: &'a NetId,
    /// The node that TLS has shown, or that the log names.
    pub peer: &'a NodeId,
    /// Its identity key.
    pub peer_key: &'a VerifyKey,
    /// This router.
    pub audience: &'a RouterId,
    /// The present.
    pub now: Seconds,
    /// Until when the deny list can be trusted; nothing where this side is its author.
    pub deny_list_until: Option<Seconds>,
    /// The lowest epoch accepted of this node.
    pub min_epoch: u64,
    /// Whether a consent id was withdrawn.
    pub withdrawn: &'a dyn Fn(&Serial) -> bool,
    /// Whether a range names a model, layers and experts that are published here.
    pub model_known: &'a dyn Fn(&Range) -> bool,
}

/// The checks that [`check_token`] makes, in its order: where one is refused, those before it held.
pub const TOKEN_CHECKS: [Refusal; 18] = [
    Refusal::TokenCanon,
    Refusal::TokenAlg,
    Refusal::TokenType,
    Refusal::TokenIssuer,
    Refusal::TokenVersion,
    Refusal::TokenNet,
    Refusal::TokenAud,
    Refusal::TokenExpired,
    Refusal::TokenNotYet,
    Refusal::TokenLifetime,
    Refusal::TokenStale,
    Refusal::TokenRevoked,
    Refusal::TokenEpoch,
    Refusal::TokenSig,
    Refusal::TokenRange,
    Refusal::TokenModel,
    Refusal::TokenPurpose,
    Refusal::TokenValue,
];

/// When a token says that it was signed, before anything of it is checked; `None` for what is no token. To be used
/// only to choose the instant at which a recorded token is judged.
#[must_use]
pub fn claimed_issue(bytes: &[u8]) -> Option<Seconds> {
    claimed(bytes).map(|claims| claims.issued)
}

/// What a token says, before anything of it is checked; `None` for what is no token. To be used only on tokens that
/// were checked before they were recorded, and never as a permission.
#[must_use]
pub fn claimed(bytes: &[u8]) -> Option<Claims> {
    let (sign1, _) = Sign1::read(bytes.get(..bytes.len().min(MAX_CONSENT_BYTES))?).ok()?;
    from_canonical::<Claims>(&sign1.payload, MAX_CONSENT_BYTES).ok()
}

/// Checks a consent token.
///
/// # Errors
/// [`Refused`] with the first check that fails, in the order of `spec/consent.md`.
pub fn check_token(bytes: &[u8], expect: &Expectation<'_>) -> Result<Permit, Refused> {
    //= spec/consent.md#order-of-checks
    //# A router MUST make these checks in this order and MUST refuse at the first that fails:
    if bytes.len() > MAX_CONSENT_BYTES {
        let detail = format!("{} bytes, more than {MAX_CONSENT_BYTES}", bytes.len());
        return Err(no(Refusal::TokenCanon, detail));
    }
    let (sign1, header) =
        Sign1::read(bytes).map_err(|e| no(Refusal::TokenCanon, format!("not a consent token: {e}")))?;
    let claims: Claims = from_canonical(&sign1.payload, MAX_CONSENT_BYTES)
        .map_err(|e| no(Refusal::TokenCanon, format!("claims: {e}")))?;
    check_header(&header)?;
    check_parties(&header, &claims, expect)?;
    check_time(&claims, expect.now)?;
    check_withdrawn(&claims, expect)?;
    let signed = signed_bytes(&sign1.protected, expect.net_id, &sign1.payload);
    expect
        .peer_key
        .verify(&signed, &sign1.signature)
        .map_err(|_| no(Refusal::TokenSig, "not signed by the node's identity key"))?;
    check_scope(&claims, expect)?;
    Ok(Permit::checked(claims, bytes.to_vec()))
}

fn check_header(header: &Protected) -> Result<(), Refused> {
    if header.alg != Label::Number(cose::ALG) {
        return Err(no(Refusal::TokenAlg, format!("algorithm {:?}; only {} is used", header.alg, cose::ALG)));
    }
    if header.typ != Label::Text(cose::TYPE.to_owned()) {
        return Err(no(Refusal::TokenType, format!("type {:?}; only {} is used", header.typ, cose::TYPE)));
    }
    Ok(())
}

fn check_parties(header: &Protected, claims: &Claims, expect: &Expectation<'_>) -> Result<(), Refused> {
    if header.kid != expect.peer.as_bytes() || claims.issuer != *expect.peer {
        let detail = format!("issued by {}, presented by {}", claims.issuer, expect.peer);
        return Err(no(Refusal::TokenIssuer, detail));
    }
    if claims.version != CLAIMS_VERSION {
        let detail = format!("claims version {}; {CLAIMS_VERSION} is read here", claims.version);
        return Err(no(Refusal::TokenVersion, detail));
    }
    if claims.net_id != *expect.net_id {
        return Err(no(Refusal::TokenNet, format!("for the network {}", claims.net_id)));
    }
    if claims.audience != *expect.audience {
        return Err(no(Refusal::TokenAud, format!("for the router {}", claims.audience)));
    }
    Ok(())
}

fn check_time(claims: &Claims, now: Seconds) -> Result<(), Refused> {
    if now >= claims.expires.plus(MAX_CLOCK_SKEW_S) {
        let detail = format!("ended at {}, now is {}", claims.expires.0, now.0);
        return Err(no(Refusal::TokenExpired, detail));
    }
    let begins = claims.not_before.max(claims.issued);
    if begins > now.plus(MAX_CLOCK_SKEW_S) {
        return Err(no(Refusal::TokenNotYet, format!("begins at {}, now is {}", begins.0, now.0)));
    }
    let earliest = claims.not_before.min(claims.issued);
    let life = claims.expires.0.saturating_sub(earliest.0);
    if claims.expires <= claims.not_before || life > MAX_CONSENT_LIFE_S {
        let detail = format!("valid for {life} s; at least 1 and at most {MAX_CONSENT_LIFE_S}");
        return Err(no(Refusal::TokenLifetime, detail));
    }
    Ok(())
}

fn check_withdrawn(claims: &Claims, expect: &Expectation<'_>) -> Result<(), Refused> {
    if expect.deny_list_until.is_some_and(|until| expect.now > until.plus(MAX_CLOCK_SKEW_S)) {
        return Err(no(Refusal::TokenStale, "the deny list is too old to decide; reach its author first"));
    }
    if (expect.withdrawn)(&claims.cti) {
        return Err(no(Refusal::TokenRevoked, format!("{} was withdrawn", claims.cti)));
    }
    if claims.epoch < expect.min_epoch {
        let detail = format!("epoch {}, while {} is the lowest accepted", claims.epoch, expect.min_epoch);
        return Err(no(Refusal::TokenEpoch, detail));
    }
    Ok(())
}

fn check_scope(claims: &Claims, expect: &Expectation<'_>) -> Result<(), Refused> {
    if let Some(fault) = ranges::fault(&claims.ranges) {
        return Err(no(Refusal::TokenRange, fault));
    }
    if let Some(range) = claims.ranges.iter().find(|r| !(expect.model_known)(r)) {
        let detail = format!("{} is not a model published here, or lacks these experts", range.manifest);
        return Err(no(Refusal::TokenModel, detail));
    }
    if claims.purposes.bits() == 0 || !claims.purposes.is_known() {
        return Err(no(Refusal::TokenPurpose, format!("purposes {:#x}", claims.purposes.bits())));
    }
    match value_fault(claims) {
        Some(fault) => Err(no(Refusal::TokenValue, fault)),
        None => Ok(()),
    }
}

pub(crate) fn value_fault(claims: &Claims) -> Option<&'static str> {
    let upper = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_uppercase());
    if claims.delegation_depth != 0 {
        return Some("consent is not passed on: the delegation depth is 0");
    }
    if claims.serving.bits() == 0 || !claims.serving.is_known() {
        return Some("how it serves is empty or has bits without meaning");
    }
    if !upper(&claims.price_floor.currency, 3) {
        return Some("the currency is not an ISO 4217 code");
    }
    if !claims.callers.countries.iter().all(|c| upper(c, 2)) {
        return Some("a country is not an ISO 3166-1 alpha-2 code");
    }
    if !claims.callers.countries.is_sorted_by(|a, b| a < b) {
        return Some("the countries are not sorted and distinct");
    }
    None
}

pub(crate) fn no(refusal: Refusal, detail: impl Into<String>) -> Refused {
    Refused { refusal, detail: detail.into() }
}
