//! `counterfoil consent verify TOKEN`: a token that came as bytes, held offline against its node's certificate or key.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use counterfoil_consent::{Expectation, TOKEN_CHECKS, check_token, claimed, notice_hash};
use counterfoil_identity::{
    Chain, Directory, Refused, TrustDomain, VerifiedPeer, VerifyKey, certificate_end, pem, verify_chain,
};
use counterfoil_node::words;
use counterfoil_router::clock;
use counterfoil_spec::claims::Claims;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NetId, NodeId, PublicKey, RouterId};
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_CONSENT_BYTES};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::{Value, json};

use crate::args::HeldArgs;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Bytes that are read of a token; more than any has, also as text.
const MAX_READ: usize = 4 * MAX_CONSENT_BYTES;
/// Bytes that are read of a certificate or key.
const MAX_PEM: usize = 64 * 1024;

/// Whose token it is to be.
struct Whose {
    key: VerifyKey,
    net_id: Option<NetId>,
}

/// What became of one check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Holds,
    Fails,
    /// What it takes to decide was not given, or is nobody's here to know.
    Undecided,
    /// A check before it failed.
    NotReached,
}

/// Some of the checks, which people see as one.
struct Check {
    name: &'static str,
    refusals: &'static [Refusal],
}

/// The token's checks in their order.
const CHECKS: [Check; 11] = [
    Check { name: "form", refusals: &[Refusal::TokenCanon, Refusal::TokenAlg, Refusal::TokenType] },
    Check { name: "node", refusals: &[Refusal::TokenIssuer] },
    Check { name: "version", refusals: &[Refusal::TokenVersion] },
    Check { name: "network", refusals: &[Refusal::TokenNet] },
    Check { name: "router", refusals: &[Refusal::TokenAud] },
    Check { name: "time", refusals: &[Refusal::TokenExpired, Refusal::TokenNotYet, Refusal::TokenLifetime] },
    Check { name: "standing", refusals: &[Refusal::TokenStale, Refusal::TokenRevoked, Refusal::TokenEpoch] },
    Check { name: "signature", refusals: &[Refusal::TokenSig] },
    Check { name: "parts", refusals: &[Refusal::TokenRange] },
    Check { name: "model", refusals: &[Refusal::TokenModel] },
    Check { name: "terms", refusals: &[Refusal::TokenPurpose, Refusal::TokenValue] },
];

/// Checks a token by itself and says what holds.
pub(super) fn verify(home: &Path, token: &str, held: &HeldArgs, json: bool) -> Outcome {
    let bytes = read_token(token)?;
    let whose = whose(held)?;
    let at = held.at.map_or_else(|| clock::now().seconds(), Seconds);
    let claims = claimed(&bytes);
    let checked = checked(&bytes, claims.as_ref(), &whose, held.router.as_ref(), at);
    let given = Given { network: whose.net_id.is_some(), router: held.router.is_some() };
    let lines: Vec<(&Check, Found, String)> = CHECKS
        .iter()
        .map(|check| {
            let found = check.found(checked.as_ref().err(), given);
            let words = check.words(found, claims.as_ref(), &whose, at, checked.as_ref().err());
            (check, found, words)
        })
        .collect();
    if json {
        output::json(&document(&lines, claims.as_ref(), &checked, (whose.key.node_id(), at)));
    } else {
        let width = |name: &str| format!("{name:<11}");
        for (check, found, words) in &lines {
            output::line(&format!("{}{}{words}", width(check.name), width(found.name())));
        }
    }
    match checked {
        Ok(claims) => {
            if !json {
                agree(home, &claims);
            }
            Ok(())
        }
        Err(refused) => Err(Failure::check(format!("the consent token does not hold: {refused}"))),
    }
}

#[derive(Clone, Copy)]
struct Given {
    network: bool,
    router: bool,
}

fn checked(
    bytes: &[u8],
    claims: Option<&Claims>,
    whose: &Whose,
    router: Option<&RouterId>,
    at: Seconds,
) -> Result<Claims, Refused> {
    // What was not given is taken as the token says it; one that says nothing fails before it is compared.
    let net_id = whose.net_id.or(claims.map(|claims| claims.net_id)).unwrap_or(NetId::from_bytes([0; 32]));
    let audience = router.copied().or(claims.map(|claims| claims.audience));
    let expect = Expectation {
        net_id: &net_id,
        peer: &whose.key.node_id(),
        peer_key: &whose.key,
        audience: &audience.unwrap_or(RouterId::from_bytes([0; 32])),
        now: at,
        deny_list_until: None,
        min_epoch: 0,
        withdrawn: &|_| false,
        model_known: &|_| true,
    };
    check_token(bytes, &expect).map(|permit| permit.claims().clone())
}

impl Check {
    fn found(&self, refused: Option<&Refused>, given: Given) -> Found {
        let place = |refusal: &Refusal| TOKEN_CHECKS.iter().position(|known| known == refusal);
        let failed = refused.and_then(|refused| place(&refused.refusal));
        let (first, last) = (self.refusals.first().and_then(place), self.refusals.last().and_then(place));
        match failed {
            Some(_) if failed < first => Found::NotReached,
            Some(_) if failed <= last => Found::Fails,
            _ if self.is_open(given) => Found::Undecided,
            _ => Found::Holds,
        }
    }

    /// Whether nobody can decide it by what was given.
    fn is_open(&self, given: Given) -> bool {
        match self.name {
            "network" => !given.network,
            "router" => !given.router,
            "standing" | "model" => true,
            _ => false,
        }
    }

    fn words(
        &self,
        found: Found,
        claims: Option<&Claims>,
        whose: &Whose,
        at: Seconds,
        refused: Option<&Refused>,
    ) -> String {
        match (found, refused, claims) {
            (Found::Fails, Some(refused), _) => refused.to_string(),
            (Found::Holds | Found::Undecided, _, Some(claims)) => self.sentence(found, claims, whose, at),
            _ => "a check before it failed".to_owned(),
        }
    }

    fn sentence(&self, found: Found, claims: &Claims, whose: &Whose, at: Seconds) -> String {
        let open = found == Found::Undecided;
        match self.name {
            "form" => format!("one canonical COSE_Sign1 of at most {MAX_CONSENT_BYTES} bytes, Ed25519"),
            "node" => format!("it is of the node {}, whose key was given", whose.key.node_id()),
            "version" => format!("claims version {}", claims.version),
            "network" if open => format!("it names {}; --network or a certificate compares", claims.net_id),
            "network" => format!("it is for {}", claims.net_id),
            "router" if open => format!("it names {}; --router compares", claims.audience),
            "router" => format!("it is for {}", claims.audience),
            "time" => format!(
                "from {} to {}, judged at {at} (unix), give or take {MAX_CLOCK_SKEW_S} s",
                claims.not_before, claims.expires
            ),
            "standing" => format!(
                "whether {} was withdrawn or denied, or its epoch {} is too low, stands in a log: `consent verify {}` there",
                claims.cti, claims.epoch, claims.cti
            ),
            "signature" => "the node's identity key signed exactly this".to_owned(),
            "parts" => format!("{} ranges, in order and apart from each other", claims.ranges.len()),
            "model" => "which models are published is for the router to know".to_owned(),
            _ => format!("for {}; all values are in their domains", claims.purposes.names().join(", ")),
        }
    }
}

impl Found {
    const fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Undecided => "undecided",
            Self::NotReached => "not looked",
        }
    }
}

fn document(
    lines: &[(&Check, Found, String)],
    claims: Option<&Claims>,
    checked: &Result<Claims, Refused>,
    (node, at): (NodeId, Seconds),
) -> Value {
    let check = |(check, found, words): &(&Check, Found, String)| {
        let codes: Vec<&str> = check.refusals.iter().map(|refusal| refusal.code()).collect();
        json!({ "check": check.name, "codes": codes, "found": found.name(), "words": words })
    };
    let refused = checked.as_ref().err();
    json!({
        "ok": refused.is_none(),
        "refusal": refused.map(|refused| refused.refusal.code()),
        "detail": refused.map(|refused| &refused.detail),
        "node": node,
        "at": at,
        "checks": lines.iter().map(check).collect::<Vec<_>>(),
        "claims": claims,
    })
}

/// What its operator agreed to, where the words lie in this home.
fn agree(home: &Path, claims: &Claims) {
    output::line(&format!("Consent {} holds as far as bytes can show it.", claims.cti));
    match words(home, &claims.notice_hash).filter(|words| notice_hash(words) == claims.notice_hash) {
        Some(words) => output::line(words.trim_end()),
        None => output::line(&format!(
            "Its operator saw words with the hash {}; the node's home keeps them.",
            claims.notice_hash
        )),
    }
}

fn read_token(token: &str) -> Result<Vec<u8>, Failure> {
    let text = if token == "-" {
        bounded(std::io::stdin().lock(), MAX_READ).map_err(Failure::store)?
    } else if Path::new(token).exists() {
        read_file(Path::new(token), MAX_READ)?
    } else if let Some(bytes) = hexadecimal(token.as_bytes()) {
        return Ok(bytes);
    } else {
        return Err(Failure::wrong_use(format!(
            "there is no file {token:?}, and it is no token in hexadecimal either"
        )));
    };
    // A token begins with a byte that no text has.
    Ok(hexadecimal(&text).unwrap_or(text))
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    HEXLOWER_PERMISSIVE.decode(&digits).ok().filter(|bytes| !bytes.is_empty())
}

fn whose(held: &HeldArgs) -> Result<Whose, Failure> {
    if let Some(path) = &held.certificate {
        return certified(path, held.root.as_deref());
    }
    let Some(key) = &held.key else {
        return Err(Failure::wrong_use(
            "say whose token it is: --certificate FILE, such as identity/chain.pem of the node's home, or --key KEY, which `identity show` prints there",
        ));
    };
    Ok(Whose { key: public_key(key)?, net_id: held.network })
}

/// The identity key that a certificate binds, after its path to the root was checked. A token outlives certificates, so
/// it is checked at the last instant of its own.
fn certified(path: &Path, root: Option<&Path>) -> Result<Whose, Failure> {
    let root = root.map_or_else(|| path.with_file_name("root.der"), Path::to_owned);
    if !root.exists() {
        return Err(Failure::wrong_use(format!(
            "{} is not there; say with --root which network the certificate is of",
            root.display()
        )));
    }
    let no = |e: &dyn std::fmt::Display| Failure::check(format!("{}: {e}", path.display()));
    let domain = TrustDomain::new(&read_file(&root, MAX_PEM)?)
        .map_err(|e| Failure::check(format!("{}: {e}", root.display())))?;
    let text = String::from_utf8(read_file(path, MAX_PEM)?).map_err(|e| no(&e))?;
    let chain = Chain::from_pem(&text).map_err(|e| no(&e))?;
    let end = certificate_end(&chain.leaf).map_err(|e| no(&e))?;
    let peer = verify_chain(&chain.certificates(), &domain, Role::Node, end, &Anybody).map_err(|e| no(&e))?;
    Ok(Whose { key: *peer.key(), net_id: Some(domain.net_id()) })
}

/// Whoever the root vouches for; whom a log enrolled is not known here.
struct Anybody;

impl Directory for Anybody {
    fn check(&self, _: &VerifiedPeer) -> Result<(), Refusal> {
        Ok(())
    }
}

fn public_key(key: &str) -> Result<VerifyKey, Failure> {
    if let Ok(wire) = key.parse::<PublicKey>() {
        return VerifyKey::from_wire(wire).map_err(|weak| Failure::check(format!("--key: {weak}")));
    }
    let path = Path::new(key);
    if !path.exists() {
        return Err(Failure::wrong_use(format!(
            "--key: {key:?} is neither the 64 hexadecimal digits of a public key nor a file with one"
        )));
    }
    let bytes = read_file(path, MAX_PEM)?;
    let no = |e: &dyn std::fmt::Display| Failure::check(format!("{}: {e}", path.display()));
    let spki = match std::str::from_utf8(&bytes) {
        Ok(text) if text.starts_with("-----") => {
            let blocks = pem::decode("PUBLIC KEY", text).map_err(|e| no(&e))?;
            blocks.first().map(|block| block.to_vec()).unwrap_or_default()
        }
        _ => bytes,
    };
    VerifyKey::from_spki_der(&spki).map_err(|e| no(&e))
}

fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let read = File::open(path).and_then(|file| bounded(file, limit));
    read.map_err(|e| Failure::store(anyhow::anyhow!("cannot read {}: {e}", path.display())))
}

fn bounded(from: impl Read, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(u64::try_from(limit).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_that_people_see_are_all_of_them_in_their_order() {
        let seen: Vec<Refusal> = CHECKS.iter().flat_map(|check| check.refusals).copied().collect();
        assert_eq!(seen, TOKEN_CHECKS);
    }

    #[test]
    fn what_comes_before_a_failure_holds_and_what_comes_after_is_not_looked_at() {
        let refused = Refused { refusal: Refusal::TokenNotYet, detail: String::new() };
        let given = Given { network: true, router: false };
        let found: Vec<&str> = CHECKS.iter().map(|check| check.found(Some(&refused), given).name()).collect();
        let before = ["holds", "holds", "holds", "holds", "undecided", "fails"];
        assert_eq!(found, [&before[..], &["not looked"; 5]].concat());
    }

    #[test]
    fn a_token_is_read_as_bytes_or_as_digits_in_lines() {
        assert_eq!(hexadecimal(b"d2 84\n58AB\n"), Some(vec![0xd2, 0x84, 0x58, 0xab]));
        assert_eq!(hexadecimal(b""), None);
        assert_eq!(hexadecimal(&[0xd2, 0x84]), None);
        assert_eq!(hexadecimal(b"d2845"), None);
    }
}
