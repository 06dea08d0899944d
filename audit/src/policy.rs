//! Whose word is enough: logs, witnesses and the quorum of them that a checkpoint needs (C2SP tlog-policy).
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <name>…          names of earlier lines, each a member once
//! quorum <name>|none                        one of them in the file
//! ```
//!
//! Lines end with a newline, their parts are separated by spaces and tabs, and those that begin with `#` say nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use counterfoil_spec::time::Seconds;
use serde::Serialize;

use crate::note::{Note, NoteError, NoteVerifier, WitnessKey};

/// A whole policy, in bytes.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;
/// Logs, witnesses and groups of a policy, each.
pub const MAX_POLICY_LINES: usize = 32;

/// A log that a policy names.
#[derive(Debug, Clone)]
pub struct PolicyLog {
    /// Its key.
    pub key: NoteVerifier,
    /// Where it is read.
    pub url: Option<String>,
}

/// A witness that a policy names.
#[derive(Debug, Clone)]
pub struct PolicyWitness {
    /// What the policy calls it.
    pub name: String,
    /// Its key.
    pub key: WitnessKey,
    /// Where checkpoints are submitted to it.
    pub url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    Witness(usize),
    Group(usize),
}

#[derive(Debug, Clone)]
struct Group {
    threshold: usize,
    members: Vec<Party>,
}

/// A policy that was read.
#[derive(Debug, Clone)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    /// `None` asks for no witness.
    quorum: Option<Party>,
}

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy: {fault}")]
pub struct PolicyError {
    /// Counted from 1; the line after the last where something is missing.
    pub line: usize,
    /// What is wrong there.
    pub fault: PolicyFault,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// More bytes than a policy may have.
    #[error("longer than 64 KiB")]
    TooLong,
    /// A control character.
    #[error("a control character other than tab and newline")]
    ControlCharacter,
    /// No newline at the end of the file.
    #[error("it does not end with a newline")]
    NoNewline,
    /// None of the four kinds of line, or the wrong number of parts.
    #[error(
        "none of: log <vkey> [<url>], witness <name> <vkey> [<url>], group <name> all|any|<k> <name>…, quorum <name>"
    )]
    Form,
    /// A key that cannot be read.
    #[error(transparent)]
    Key(#[from] NoteError),
    /// A key that an earlier line has.
    #[error("this key stands in an earlier line")]
    DuplicateKey,
    /// A name that an earlier line has, or `none`.
    #[error("the name {0:?} is taken")]
    NameTaken(String),
    /// A name that no earlier line has.
    #[error("no earlier line has the name {0:?}")]
    UnknownName(String),
    /// A member of two groups, or twice of one.
    #[error("{0:?} is a member of a group already")]
    MemberTwice(String),
    /// A threshold that cannot be met, or that nothing needs to meet.
    #[error("a threshold is a number from 1 to that of the members")]
    Threshold,
    /// More lines of a kind than this program takes.
    #[error("more than 32 of a kind")]
    TooMany,
    /// No quorum line, or two.
    #[error("a policy has one line with a quorum")]
    QuorumLines,
}

/// What a policy finds under a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// Whether the quorum is met.
    pub quorum_met: bool,
    /// Who cosigned it, by their names in the policy, and when.
    pub cosigned: BTreeMap<String, Seconds>,
    /// The latest instant at which or after which a quorum says that it saw the checkpoint: what fewer say, who may be wrong
    /// or lie, counts for nothing. Absent where no witness is asked for.
    pub as_of: Option<Seconds>,
    /// Whose lines do not verify.
    pub bad: Vec<String>,
}

impl Policy {
    /// The logs whose checkpoints are accepted; where there are none, they are known from elsewhere.
    #[must_use]
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Whether at least one witness is needed.
    #[must_use]
    pub const fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Looks for the witnesses' cosignatures under a note.
    #[must_use]
    pub fn judge(&self, note: &Note) -> Witnessed {
        let (mut cosigned, mut bad) = (BTreeMap::new(), Vec::new());
        let mut times: Vec<Option<Seconds>> = Vec::with_capacity(self.witnesses.len());
        for witness in &self.witnesses {
            let time = witness.key.time_of(note);
            times.push(time.as_ref().ok().copied().flatten());
            match time {
                Ok(Some(time)) => drop(cosigned.insert(witness.name.clone(), time)),
                Ok(None) => {}
                Err(_) => bad.push(witness.name.clone()),
            }
        }
        let met = |since: Seconds| {
            self.is_met(&times.iter().map(|time| time.is_some_and(|time| time >= since)).collect::<Vec<_>>())
        };
        let mut instants: Vec<Seconds> = cosigned.values().copied().collect();
        instants.sort_unstable();
        let as_of = instants.into_iter().rev().find(|time| self.asks_for_witnesses() && met(*time));
        Witnessed { quorum_met: met(Seconds(0)), cosigned, as_of, bad }
    }

    /// Groups name earlier ones only, so one pass in their order decides.
    fn is_met(&self, seen: &[bool]) -> bool {
        let mut met: Vec<bool> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let count = group.members.iter().filter(|m| holds(**m, seen, &met)).count();
            met.push(count >= group.threshold);
        }
        self.quorum.is_none_or(|party| holds(party, seen, &met))
    }
}

fn holds(party: Party, seen: &[bool], met: &[bool]) -> bool {
    let found = match party {
        Party::Witness(i) => seen.get(i),
        Party::Group(i) => met.get(i),
    };
    found.copied().unwrap_or(false)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} logs, {} witnesses, {} groups",
            self.logs.len(),
            self.witnesses.len(),
            self.groups.len()
        )
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    names: BTreeMap<String, Party>,
    members: Vec<Party>,
    quorum: Option<Option<Party>>,
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let at = |line| move |fault| PolicyError { line, fault };
        if text.len() > MAX_POLICY_BYTES {
            return Err(at(1)(PolicyFault::TooLong));
        }
        let mut reading = Reading::default();
        let mut number = 0;
        let mut rest = text;
        while !rest.is_empty() {
            number += 1;
            let (line, after) = rest.split_once('\n').ok_or(PolicyFault::NoNewline).map_err(at(number))?;
            rest = after;
            reading.line(line).map_err(at(number))?;
        }
        let quorum = reading.quorum.ok_or(PolicyFault::QuorumLines).map_err(at(number + 1))?;
        let Reading { logs, witnesses, groups, .. } = reading;
        Ok(Self { logs, witnesses, groups, quorum })
    }
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<(), PolicyFault> {
        if line.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return Err(PolicyFault::ControlCharacter);
        }
        let parts: Vec<&str> = line.split([' ', '\t']).filter(|p| !p.is_empty()).collect();
        match parts.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", vkey, url @ ..] if url.len() <= 1 => self.log(vkey, url.first()),
            ["witness", name, vkey, url @ ..] if url.len() <= 1 => self.witness(name, vkey, url.first()),
            ["group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            ["quorum", name] => self.quorum(name),
            _ => Err(PolicyFault::Form),
        }
    }

    fn log(&mut self, vkey: &str, url: Option<&&str>) -> Result<(), PolicyFault> {
        let key: NoteVerifier = vkey.parse()?;
        if self.logs.iter().any(|l| l.key.key().wire() == key.key().wire()) {
            return Err(PolicyFault::DuplicateKey);
        }
        room(&self.logs)?;
        self.logs.push(PolicyLog { key, url: url.map(|u| (*u).to_owned()) });
        Ok(())
    }

    fn witness(&mut self, name: &str, vkey: &str, url: Option<&&str>) -> Result<(), PolicyFault> {
        let key: WitnessKey = vkey.parse()?;
        if self.witnesses.iter().any(|w| w.key.key().wire() == key.key().wire()) {
            return Err(PolicyFault::DuplicateKey);
        }
        room(&self.witnesses)?;
        self.name(name, Party::Witness(self.witnesses.len()))?;
        let url = url.map(|u| (*u).to_owned());
        self.witnesses.push(PolicyWitness { name: name.to_owned(), key, url });
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, members: &[&str]) -> Result<(), PolicyFault> {
        let mut parties = Vec::with_capacity(members.len());
        for member in members {
            let party = self.known(member)?;
            if self.members.contains(&party) {
                return Err(PolicyFault::MemberTwice((*member).to_owned()));
            }
            self.members.push(party);
            parties.push(party);
        }
        let decimal = |text: &str| text.parse().ok().filter(|n: &usize| n.to_string() == text);
        let threshold = match threshold {
            "all" => Some(parties.len()),
            "any" => Some(1),
            number => decimal(number),
        };
        let threshold =
            threshold.filter(|n| (1..=parties.len()).contains(n)).ok_or(PolicyFault::Threshold)?;
        room(&self.groups)?;
        self.name(name, Party::Group(self.groups.len()))?;
        self.groups.push(Group { threshold, members: parties });
        Ok(())
    }

    fn quorum(&mut self, name: &str) -> Result<(), PolicyFault> {
        let party = if name == NONE { None } else { Some(self.known(name)?) };
        if self.quorum.replace(party).is_some() { Err(PolicyFault::QuorumLines) } else { Ok(()) }
    }

    fn known(&self, name: &str) -> Result<Party, PolicyFault> {
        self.names.get(name).copied().ok_or_else(|| PolicyFault::UnknownName(name.to_owned()))
    }

    fn name(&mut self, name: &str, party: Party) -> Result<(), PolicyFault> {
        if name == NONE || self.names.insert(name.to_owned(), party).is_some() {
            return Err(PolicyFault::NameTaken(name.to_owned()));
        }
        Ok(())
    }
}

fn room<T>(list: &[T]) -> Result<(), PolicyFault> {
    if list.len() < MAX_POLICY_LINES { Ok(()) } else { Err(PolicyFault::TooMany) }
}

/// The quorum that asks for nobody; no witness and no group has this name.
const NONE: &str = "none";

#[cfg(test)]
mod tests;
