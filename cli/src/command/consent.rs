//! `counterfoil consent …`: what the operators of nodes have signed, as the log has it.

mod operator;
mod verify;

use std::collections::BTreeMap;
use std::path::Path;

use counterfoil_audit::LogReader;
use counterfoil_consent::{Expectation, Policy, check_token, notice, notice_hash};
use counterfoil_identity::{VerifyKey, check_home_format};
use counterfoil_node::{NodeIdentity, words};
use counterfoil_router::clock;
use counterfoil_spec::claims::Claims;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{ManifestId, NetId, NodeId, PublicKey, RouterId, Serial};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::time::Seconds;
use serde_json::{Value, json};

use crate::args::ConsentCommand;
use crate::command::account::id;
use crate::exit::{Failure, Outcome};
use crate::keys::keyring;
use crate::output;

/// What a log says about consent.
#[derive(Default)]
struct Consents {
    net_id: Option<NetId>,
    router: Option<RouterId>,
    keys: BTreeMap<NodeId, PublicKey>,
    names: BTreeMap<ManifestId, String>,
    tokens: Vec<(u64, Serial, NodeId, Vec<u8>)>,
    withdrawn: Vec<Serial>,
    /// Whether models are not published here, as in a node's own log.
    any_model: bool,
}

/// Carries out one of them.
pub(crate) fn run(home: &Path, command: ConsentCommand, json: bool) -> Outcome {
    if !matches!(command, ConsentCommand::Verify { .. } | ConsentCommand::Notice) {
        check_home_format(home).map_err(Failure::store)?;
    }
    match command {
        ConsentCommand::Init => operator::init(home, json),
        ConsentCommand::List { pending: true } => operator::pending(home, json),
        ConsentCommand::List { pending: false } => list(&read(home)?, json),
        ConsentCommand::Issue { manifest } => operator::issue(home, &manifest, json),
        ConsentCommand::Revoke { cti, .. } => {
            let cti = cti.as_deref().map(id).transpose()?;
            operator::revoke(home, cti.as_ref(), json)
        }
        ConsentCommand::Show { cti } => show(home, &read(home)?, &id(&cti)?, json),
        ConsentCommand::Verify { token, held } => match token.parse() {
            Ok(cti) if !held.names_a_key() => {
                let mut consents = read(home)?;
                consents.router = held.router.or(consents.router);
                logged(&consents, &cti, held.at.map(Seconds), json)
            }
            _ => verify::verify(home, &token, &held, json),
        },
        ConsentCommand::Notice => {
            explain(json);
            Ok(())
        }
    }
}

fn read(home: &Path) -> Result<Consents, Failure> {
    let reader = LogReader::open(&home.join("log")).map_err(Failure::store)?;
    let mut out = Consents::default();
    let each = |index, payload: &Payload| match payload {
        Payload::Genesis(g) => {
            out.net_id = VerifyKey::from_spki_der(&g.root_spki).ok().map(|k| k.net_id());
            if g.author_role == Role::Node.number() {
                // A node's own log names no router: it consented to the one that its home pins.
                out.keys.insert(g.author_id, g.author_key);
                out.router =
                    keyring().ok().and_then(|keys| NodeIdentity::load(home, &keys).ok()).map(|i| i.router);
                out.any_model = true;
            } else {
                out.router = Some(g.author_id.as_router());
            }
        }
        Payload::NodeEnrolled(n) => drop(out.keys.insert(n.node, n.identity_key)),
        Payload::ModelPublished(m) => drop(out.names.insert(m.manifest, m.name.clone())),
        Payload::ConsentGranted(c) => out.tokens.push((index, c.cti, c.node, c.token.clone())),
        Payload::ConsentRevoked(c) => out.withdrawn.push(c.cti),
        _ => {}
    };
    let mut each = each;
    reader.for_each(0, |index, _, body| each(index, &body.payload)).map_err(Failure::store)?;
    Ok(out)
}

impl Consents {
    /// Checks a token as it would be checked now, or at another instant.
    fn check(&self, node: &NodeId, token: &[u8], at: Option<Seconds>) -> Result<Claims, String> {
        let key = self.keys.get(node).ok_or("no entry enrolled this node")?;
        let key = VerifyKey::from_wire(*key).map_err(|e| e.to_string())?;
        let (Some(net_id), Some(router)) = (&self.net_id, &self.router) else {
            return Err("the log has no first entry".into());
        };
        let expect = Expectation {
            net_id,
            peer: node,
            peer_key: &key,
            audience: router,
            now: at.unwrap_or_else(|| clock::now().seconds()),
            deny_list_until: None,
            min_epoch: 0,
            withdrawn: &|cti| self.withdrawn.contains(cti),
            model_known: &|range| self.any_model || self.names.contains_key(&range.manifest),
        };
        check_token(token, &expect)
            .map(|p| p.claims().clone())
            .map_err(|r| format!("{}: {}", r.refusal, r.detail))
    }

    fn find(&self, cti: &Serial) -> Result<&(u64, Serial, NodeId, Vec<u8>), Failure> {
        self.tokens.iter().find(|t| t.1 == *cti).ok_or_else(|| {
            Failure::wrong_use(format!("the log has no consent token {cti}; `consent list` prints them"))
        })
    }
}

fn list(consents: &Consents, json: bool) -> Outcome {
    let values: Vec<Value> = consents
        .tokens
        .iter()
        .map(|(index, cti, node, token)| {
            let state = match consents.check(node, token, None) {
                Ok(claims) => json!({ "in_force": true, "expires": claims.expires }),
                Err(why) => json!({ "in_force": false, "reason": why }),
            };
            json!({ "entry": index, "cti": cti, "node": node, "state": state })
        })
        .collect();
    if json {
        output::json(&Value::Array(values));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = values
        .iter()
        .map(|v| {
            let text = |p: &str| crate::command::account::text(v, p);
            let state = if v.pointer("/state/in_force") == Some(&Value::Bool(true)) {
                format!("in force until {} (unix)", text("/state/expires"))
            } else {
                text("/state/reason")
            };
            vec![text("/entry"), text("/cti"), text("/node"), state]
        })
        .collect();
    output::table(&["entry", "consent", "node", "state"], &rows);
    Ok(())
}

fn show(home: &Path, consents: &Consents, cti: &Serial, json: bool) -> Outcome {
    let (index, _, node, token) = consents.find(cti)?;
    let claims = signed_claims(consents, node, token)?;
    let name =
        claims.ranges.first().and_then(|r| consents.names.get(&r.manifest)).map_or("?", String::as_str);
    // A node keeps the words; elsewhere the log's name of the model makes them again.
    let words = words(home, &claims.notice_hash).unwrap_or_else(|| notice(&claims, name));
    let hash = notice_hash(&words);
    let same = hash == claims.notice_hash;
    if json {
        output::json(&json!({
            "entry": index, "claims": claims, "notice": words, "notice_hash": hash, "notice_matches": same,
        }));
        return Ok(());
    }
    output::line(&format!("Consent {cti} of node {node}, log entry {index}:"));
    output::line(words.trim_end());
    output::line(&if same {
        format!("The token carries the hash of exactly these words: {hash}.")
    } else {
        format!(
            "These words have the hash {hash}, and the token carries {}: it was signed with other words, such as another name of the model.",
            claims.notice_hash
        )
    });
    Ok(())
}

/// The claims of a token whose signature verifies, in force or not: judged at the instant at which it was signed.
fn signed_claims(consents: &Consents, node: &NodeId, token: &[u8]) -> Result<Claims, Failure> {
    let peeked = counterfoil_consent::claimed_issue(token)
        .ok_or_else(|| Failure::check("T_CANON: not a consent token"))?;
    let clean = Consents {
        net_id: consents.net_id,
        router: consents.router,
        keys: consents.keys.clone(),
        names: consents.names.clone(),
        any_model: consents.any_model,
        ..Consents::default()
    };
    clean.check(node, token, Some(peeked)).map_err(Failure::check)
}

/// Checks a token of this home's log, now or at another instant.
fn logged(consents: &Consents, cti: &Serial, at: Option<Seconds>, json: bool) -> Outcome {
    let (index, _, node, token) = consents.find(cti)?;
    let checked = consents.check(node, token, at);
    if json {
        output::json(
            &json!({ "cti": cti, "entry": index, "ok": checked.is_ok(), "refusal": checked.as_ref().err() }),
        );
    }
    match checked {
        Ok(claims) => {
            if !json {
                output::line(&format!(
                    "Consent {cti} is signed by node {node} and in force until {} (unix).",
                    claims.expires.0
                ));
            }
            Ok(())
        }
        Err(why) => Err(Failure::check(format!("consent {cti} is not in force: {why}"))),
    }
}

fn explain(json: bool) {
    let policy = Policy::default();
    let words = [
        "If you start a node with --accept-notice, it will".to_owned(),
        "  - connect to the router that you name, and to no other machine;".to_owned(),
        "  - sign consent tokens for parts of the model that you give it, and renew them by itself;".to_owned(),
        format!("  - let itself be used for: {};", policy.purposes.names().join(", ")),
        format!("  - work on at most {} requests at one time, unless you say otherwise;", policy.quota.concurrent),
        format!("  - sign each token for {} hours at most;", policy.life_s / 3600),
        format!("  - keep nothing of a request after it ends (retention {} s);", policy.retention_s),
        "  - see activations (numbers inside the model), never a prompt or an answer as text;".to_owned(),
        "  - keep a log of its own of what it signed and did, in its home.".to_owned(),
        "Stop the node and no more work reaches it: without its connection a token is of no use. What it signed runs \
         out by itself within those hours. `counterfoil consent show ID` prints what was signed."
            .to_owned(),
    ];
    if json {
        output::json(&json!({ "notice": words.join("\n") }));
    } else {
        words.iter().for_each(|w| output::line(w));
    }
}
