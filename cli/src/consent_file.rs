//! `consent.toml` in a node's home: what its operator allows.

use std::path::{Path, PathBuf};

use counterfoil_consent::{Hours, Part, Policy};
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::claims::{Purposes, Quota};
use serde::Deserialize;

use crate::exit::Failure;

/// The file's name in a home.
pub(crate) const NAME: &str = "consent.toml";

/// What `consent init` writes: every key with what it means and its default.
pub(crate) const COMMENTED: &str = include_str!("consent_file.toml");

/// What flags say where the file does not.
#[derive(Debug, Clone)]
pub(crate) struct Flags {
    pub(crate) accept_notice: bool,
    pub(crate) models: Vec<String>,
    pub(crate) concurrent: u32,
}

/// The file's keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    accept_notice: Option<bool>,
    models: Option<Models>,
    parts: Option<Vec<Part>>,
    hours: Option<Vec<String>>,
    utc_offset: Option<String>,
    tokens_per_day: Option<u64>,
    tokens_per_request: Option<u64>,
    concurrent: Option<u32>,
    requests_per_s: Option<u32>,
    bytes_per_s: Option<u64>,
    purposes: Option<Vec<String>>,
    price_floor_micro_per_1k: Option<u64>,
    callers: Option<Vec<String>>,
    retention_s: Option<u32>,
    ask: Option<bool>,
    life_hours: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "write a list of names, such as [\"guide\"], or \"any\"")]
enum Models {
    Named(Vec<String>),
    Word(String),
}

/// The policy of a file, and the text that it was read from.
pub(crate) fn load(path: &Path, flags: &Flags) -> Result<(Policy, String), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::store(anyhow::anyhow!("cannot read {}: {e}", path.display())))?;
    match parse(&text, flags) {
        Ok(policy) => Ok((policy, text)),
        Err(e) => Err(Failure::wrong_use(format!("{}: {e}", path.display()))),
    }
}

/// The file that a node follows: the one that was named, else the one in its home, which need not be there yet.
pub(crate) fn locate(home: &Path, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| home.join(NAME), Path::to_owned)
}

/// Reads a policy; the error names the line, the key, and what to write.
pub(crate) fn parse(text: &str, flags: &Flags) -> Result<Policy, String> {
    let keys: Keys = toml::from_str(text).map_err(|e| e.to_string())?;
    let at = |key: &str, what: String| {
        let line = text.lines().position(|line| line.trim_start().starts_with(key)).map_or(1, |at| at + 1);
        format!("line {line}, {key}: {what}")
    };
    let is_given = keys.parts.is_some();
    let mut policy = Policy {
        accepted_notice: keys.accept_notice.unwrap_or(flags.accept_notice),
        models: flags.models.clone(),
        parts: keys.parts.unwrap_or_default(),
        ..Policy::default()
    };
    match keys.models {
        None => {}
        Some(Models::Named(names)) => policy.models = names,
        Some(Models::Word(word)) if word == "any" => policy.any_model = true,
        Some(Models::Word(word)) => {
            return Err(at("models", format!("{word:?} is no list; write [{word:?}], or \"any\"")));
        }
    }
    // Whoever writes an empty list does not mean "all".
    let empty = [
        ("hours", keys.hours.as_ref().is_some_and(Vec::is_empty)),
        ("parts", is_given && policy.parts.is_empty()),
        ("callers", keys.callers.as_ref().is_some_and(Vec::is_empty)),
    ];
    if let Some((key, _)) = empty.iter().find(|(_, empty)| *empty) {
        return Err(at(key, "an empty list allows nothing; leave the key out to allow all".to_owned()));
    }
    let hours = keys.hours.unwrap_or_default();
    let offset = keys.utc_offset.as_deref();
    if !hours.is_empty() && offset.is_none() {
        return Err(at("hours", "say which hours these are: utc_offset = \"+01:00\", or \"UTC\"".to_owned()));
    }
    policy.hours = Hours::parse(&hours, offset.unwrap_or("UTC")).map_err(|e| {
        let offset = matches!(e, counterfoil_consent::HoursFault::Offset(_));
        at(if offset { "utc_offset" } else { "hours" }, e.to_string())
    })?;
    if let Some(names) = keys.purposes {
        policy.purposes = purposes(&names).map_err(|e| at("purposes", e))?;
    }
    if let Some(countries) = keys.callers {
        policy.countries = callers(countries).map_err(|e| at("callers", e))?;
    }
    if policy.parts.iter().any(|p| p.layers.0 > p.layers.1 || p.experts.0 > p.experts.1) {
        return Err(at("parts", "a range begins with its lower end, such as layers = [0, 11]".to_owned()));
    }
    if let Some((one, other)) = overlapping(&policy.parts) {
        return Err(at("parts", format!("{one} and {other} overlap; an expert belongs to one part")));
    }
    let life_s = keys.life_hours.unwrap_or(24).saturating_mul(3600);
    if life_s == 0 || life_s > counterfoil_spec::limits::MAX_CONSENT_LIFE_S {
        return Err(at("life_hours", "a consent token lives from 1 to 720 hours".to_owned()));
    }
    policy.life_s = life_s;
    policy.ask = keys.ask.unwrap_or(false);
    policy.retention_s = keys.retention_s.unwrap_or(policy.retention_s);
    policy.price_floor_micro_per_1k = keys.price_floor_micro_per_1k.unwrap_or(0);
    policy.quota = Quota {
        tokens_per_day: TokenCount(keys.tokens_per_day.unwrap_or(u64::MAX)),
        concurrent: keys.concurrent.unwrap_or(flags.concurrent),
        tokens_per_request: TokenCount(keys.tokens_per_request.unwrap_or(u64::MAX)),
        requests_per_s: keys.requests_per_s.unwrap_or(u32::MAX),
        bytes_per_s: keys.bytes_per_s.unwrap_or(u64::MAX),
    };
    Ok(policy)
}

/// A file as a running node follows it.
#[derive(Debug)]
pub(crate) struct Followed {
    flags: Flags,
    /// What is in force; nothing where there is no file.
    taken: String,
    /// What was read at the last look, where it is something else.
    seen: Option<String>,
}

impl Followed {
    /// A file whose text is in force.
    pub(crate) const fn new(flags: Flags, taken: String) -> Self {
        Self { flags, taken, seen: None }
    }

    /// Looks at what is there now. A text is taken up where two looks in a row find it, because an editor may have
    /// written a part of it at the first. A file that is not there changes nothing: an editor may be about to put it
    /// there, and whoever means to forbid says so in it.
    pub(crate) fn look(&mut self, read: std::io::Result<String>) -> Option<Result<Policy, String>> {
        let now = read.ok().filter(|now| *now != self.taken);
        if now.is_none() || now != self.seen {
            self.seen = now;
            return None;
        }
        self.taken = self.seen.take()?;
        Some(parse(&self.taken, &self.flags))
    }
}

/// Two parts that have an expert in common, in words.
fn overlapping(parts: &[Part]) -> Option<(String, String)> {
    let meet = |a: (u32, u32), b: (u32, u32)| a.0 <= b.1 && b.0 <= a.1;
    let words = |p: &Part| {
        format!("layers {}-{} with experts {}-{}", p.layers.0, p.layers.1, p.experts.0, p.experts.1)
    };
    parts.iter().enumerate().find_map(|(at, one)| {
        let mut before = parts.iter().take(at);
        let other = before.find(|p| meet(p.layers, one.layers) && meet(p.experts, one.experts))?;
        Some((words(other), words(one)))
    })
}

fn purposes(names: &[String]) -> Result<Purposes, String> {
    let known = (0..u32::BITS).filter_map(|bit| Purposes::from_bits(1 << bit));
    let known: Vec<(Purposes, &str)> =
        known.filter_map(|p| p.names().first().map(|name| (p, *name))).collect();
    let mut all = Purposes::default();
    for name in names {
        let Some((purpose, _)) = known.iter().find(|(_, known)| known == name) else {
            let known: Vec<&str> = known.iter().map(|(_, name)| *name).collect();
            return Err(format!("there is no purpose {name:?}; write any of {}", known.join(", ")));
        };
        all = all.with(*purpose);
    }
    if all.bits() == 0 { Err("name at least one purpose, such as [\"chat\"]".to_owned()) } else { Ok(all) }
}

fn callers(mut countries: Vec<String>) -> Result<Vec<String>, String> {
    let is_code = |code: &String| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    if let Some(other) = countries.iter().find(|code| !is_code(code)) {
        return Err(format!("{other:?} is no country; write two capital letters, such as \"DE\""));
    }
    countries.sort();
    countries.dedup();
    Ok(countries)
}

#[cfg(test)]
mod tests;
