//! `counterfoil identity root-deny …`: the routers and issuing CAs that a network's root trusts no more.

use std::path::{Path, PathBuf};

use counterfoil_identity::{Root, RootDenials, Taken, TrustDomain, pem, sign_root_deny_list};
use counterfoil_node::{RootListFault, root_deny_list, take_root_deny_list};
use counterfoil_router::clock;
use counterfoil_spec::deny::root::{RootDenyList, SignedRootDenyList};
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::ids::{RouterId, Serial};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use serde_json::{Value, json};

use crate::args::RootDenyCommand;
use crate::command::account::id;
use crate::exit::{Failure, Outcome};
use crate::keys::keyring;
use crate::output;

/// Carries out one of them.
pub(super) fn run(home: &Path, command: RootDenyCommand, json: bool) -> Outcome {
    match command {
        RootDenyCommand::Sign { after, routers, authorities, list } => {
            let names = (parsed(&routers)?, parsed(&authorities)?);
            sign(home, (after.as_deref(), list), names, json)
        }
        RootDenyCommand::Take { list } => take(home, &list, json),
        RootDenyCommand::Show { list } => {
            let signed = checked(&domain(home)?, &list)?;
            print(&described(&signed.list), json);
            Ok(())
        }
    }
}

/// Signs the next list, of the names of the last one and these.
fn sign(
    home: &Path,
    (after, to): (Option<&Path>, Option<PathBuf>),
    (mut routers, mut authorities): (Vec<RouterId>, Vec<Serial>),
    json: bool,
) -> Outcome {
    let domain = domain(home)?;
    let key = keyring()?.signer(&home.join("identity/root.key")).map_err(Failure::store)?;
    let root = Root::from_parts(key, domain.root_der().to_vec()).map_err(Failure::store)?;
    let mut epoch = 1;
    if let Some(last) = last(home, &domain, after)? {
        epoch = last.epoch.saturating_add(1);
        routers.extend(last.routers);
        authorities.extend(last.authorities);
    }
    if routers.is_empty() && authorities.is_empty() {
        return Err(Failure::wrong_use("name a --router or a --ca; `counterfoil identity root-deny --help`"));
    }
    routers.sort_unstable();
    routers.dedup();
    authorities.sort_unstable();
    authorities.dedup();
    let list = RootDenyList { epoch, issued: clock::now().seconds(), routers, authorities };
    if let Some(fault) = list.fault() {
        return Err(Failure::wrong_use(fault));
    }
    let signed = sign_root_deny_list(list, (&**root.key(), &domain.net_id())).map_err(Failure::store)?;
    let bytes = to_canonical(&signed);
    // Kept before it is given away: two lists of one epoch would divide the network by which one a node took.
    take_root_deny_list(home, &domain, &bytes, clock::now().seconds()).map_err(Failure::store)?;
    let text = pem::encode(LABEL, &bytes);
    if let Some(path) = &to {
        let fail = |e| Failure::store(anyhow::anyhow!("cannot write {}: {e}", path.display()));
        std::fs::write(path, text.as_bytes()).map_err(fail)?;
    }
    if json {
        let mut said = described(&signed.list);
        if let Some(said) = said.as_object_mut() {
            said.insert("list".into(), text.as_str().into());
            said.insert("file".into(), json!(to));
        }
        output::json(&said);
        return Ok(());
    }
    // What goes to standard output is the list alone, so that it can be put into a file or a pipe.
    let Some(path) = to else {
        output::line(text.trim_end());
        return Ok(());
    };
    print(&described(&signed.list), false);
    output::line(&format!(
        "Bring {} to every node: counterfoil identity root-deny take --list FILE",
        path.display()
    ));
    output::line("The next list that is signed in this home goes on from it.");
    Ok(())
}

/// The list that the next one goes on from: the one that this home signed last, or a later one that is given.
fn last(home: &Path, domain: &TrustDomain, after: Option<&Path>) -> Result<Option<RootDenyList>, Failure> {
    let kept = root_deny_list(home, domain.root_key()).map_err(Failure::store)?.map(|signed| signed.list);
    let Some(path) = after else { return Ok(kept) };
    let given = checked(domain, path)?.list;
    let Some(kept) = kept.filter(|kept| *kept != given && kept.epoch >= given.epoch) else {
        return Ok(Some(given));
    };
    Err(Failure::wrong_use(format!(
        "{} is a list of epoch {}, and this home has signed another of epoch {} since; leave --after out to go on from that",
        path.display(),
        given.epoch,
        kept.epoch,
    )))
}

fn take(home: &Path, list: &Path, json: bool) -> Outcome {
    let domain = domain(home)?;
    let own = std::fs::read_to_string(home.join("identity/router")).map_err(|_| {
        Failure::wrong_use(format!(
            "{} is no node's home; a router needs no list of the root",
            home.display()
        ))
    })?;
    let own: RouterId = id(own.trim())?;
    let signed = decoded(list)?;
    let bytes = to_canonical(&signed);
    let taken = take_root_deny_list(home, &domain, &bytes, clock::now().seconds()).map_err(|e| match e {
        RootListFault::Refused(_) => Failure::refused(e),
        e => Failure::store(e),
    })?;
    let denied = signed.list.routers.contains(&own);
    let mut said = described(&signed.list);
    if let Some(said) = said.as_object_mut() {
        said.insert("changed".into(), (taken == Taken::Changed).into());
        said.insert("denies_own_router".into(), denied.into());
    }
    print(&said, json);
    if denied && !json {
        output::line("This node's own router is denied: the node withdraws its consent and stops.");
    }
    Ok(())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(given: &[String]) -> Result<Vec<T>, Failure> {
    given.iter().map(|text| id(text)).collect()
}

fn domain(home: &Path) -> Result<TrustDomain, Failure> {
    let der = home.join("identity/root.der");
    let bytes = std::fs::read(&der).map_err(|e| Failure::store(anyhow::anyhow!("{}: {e}", der.display())))?;
    TrustDomain::new(&bytes).map_err(Failure::store)
}

fn decoded(list: &Path) -> Result<SignedRootDenyList, Failure> {
    let wrong = |what: String| Failure::wrong_use(format!("{}: {what}", list.display()));
    let text = std::fs::read_to_string(list).map_err(|e| wrong(e.to_string()))?;
    let blocks = pem::decode(LABEL, &text).map_err(|e| wrong(e.to_string()))?;
    let Ok([bytes]) = <[_; 1]>::try_from(blocks) else {
        return Err(wrong("one list is expected".to_owned()));
    };
    from_canonical(&bytes, MAX_CONTROL_BYTES).map_err(|e| wrong(e.to_string()))
}

fn checked(domain: &TrustDomain, list: &Path) -> Result<SignedRootDenyList, Failure> {
    let signed = decoded(list)?;
    let mut fresh = RootDenials::default();
    fresh.take(signed.clone(), domain.root_key(), clock::now().seconds()).map_err(Failure::refused)?;
    Ok(signed)
}

fn described(list: &RootDenyList) -> Value {
    json!({ "epoch": list.epoch, "issued": list.issued, "routers": list.routers, "authorities": list.authorities })
}

fn print(said: &Value, json: bool) {
    if json {
        output::json(said);
        return;
    }
    let text = |key: &str| said.get(key).map_or_else(String::new, Value::to_string);
    output::line(&format!("list      {} of the network's root", text("epoch")));
    for (key, word) in [("routers", "router"), ("authorities", "CA")] {
        for name in said.get(key).and_then(Value::as_array).into_iter().flatten() {
            output::line(&format!("{word:<9} {} is denied", name.as_str().unwrap_or_default()));
        }
    }
}

const LABEL: &str = "COUNTERFOIL ROOT DENY LIST";
