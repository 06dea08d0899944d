//! Who may begin a handshake: decided from an address and a clock alone, before any certificate was seen.
//!
//! Nothing here believes an address that was not proved. Whoever sends under a false one can use up the few places and
//! the small rate that need no proof, and then costs the others one round trip (a Retry); the places and buckets of
//! proved addresses are out of its reach. Memory is bounded: buckets stand in a table of fixed size.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;

use counterfoil_spec::limits::{
    MAX_ARRIVAL_MS, MAX_ARRIVING, MAX_ARRIVING_OF_PREFIX, MAX_ARRIVING_UNPROVED, MAX_HANDSHAKE_MS,
    MAX_PREFIXES, PREFIX_BURST, PREFIX_PER_S, RETRIES_PER_S, UNPROVED_PER_S,
};
use counterfoil_spec::refusal::Refusal;

mod table;

pub use table::Rate;
use table::{Bucket, Table};

/// How many may come, how fast, and how long they may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of nobody known yet, at a time.
    pub arriving: usize,
    /// Those of them whose address was not proved.
    pub unproved: usize,
    /// Those of them that come from one prefix.
    pub of_prefix: usize,
    /// How fast connections may begin without proof of their address.
    pub unproved_rate: Rate,
    /// How fast connections of one prefix may begin.
    pub prefix_rate: Rate,
    /// How fast proof may be asked for.
    pub retry_rate: Rate,
    /// Prefixes that are remembered.
    pub prefixes: usize,
    /// How long a handshake may take, in milliseconds.
    pub handshake_ms: u64,
    /// How long it may take from the first packet to the first message, in milliseconds.
    pub arrival_ms: u64,
}

impl Default for Limits {
    /// Those of the specification.
    fn default() -> Self {
        Self {
            arriving: MAX_ARRIVING,
            unproved: MAX_ARRIVING_UNPROVED,
            of_prefix: MAX_ARRIVING_OF_PREFIX,
            unproved_rate: Rate { per_s: UNPROVED_PER_S, burst: UNPROVED_PER_S },
            prefix_rate: Rate { per_s: PREFIX_PER_S, burst: PREFIX_BURST },
            retry_rate: Rate { per_s: RETRIES_PER_S, burst: RETRIES_PER_S },
            prefixes: MAX_PREFIXES,
            handshake_ms: MAX_HANDSHAKE_MS,
            arrival_ms: MAX_ARRIVAL_MS,
        }
    }
}

/// The range of addresses that one party is taken to have: a /24 of IPv4, a /56 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix(u64);

impl Prefix {
    /// Where an address lies; one of IPv4 written as IPv6 is one of IPv4.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(IPV4 | u64::from(ip.to_bits() >> (32 - IPV4_BITS))),
            IpAddr::V6(ip) => Self(u64::try_from(ip.to_bits() >> (128 - IPV6_BITS)).unwrap_or(u64::MAX)),
        }
    }
}

/// Whether the sender of a first packet has shown that it hears what is sent to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// It repeated what a Retry had told it.
    Proved,
    /// Anybody may have written it.
    Unproved,
}

/// What becomes of a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A handshake may begin; give the place back with [`Gate::left`] once it is known who it is.
    Enter(Entrant),
    /// It is to prove its address first.
    Prove,
    /// It is told no.
    Refuse(Refusal),
    /// It is not answered: whoever wrote it has proved nothing.
    Ignore(Refusal),
}

/// Somebody who has a place among those that nobody knows yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrant {
    prefix: Prefix,
    address: Address,
}

/// The state of one endpoint. Times are milliseconds of any clock that does not run backwards.
#[derive(Debug)]
pub struct Gate<S = RandomState> {
    limits: Limits,
    arriving: Vec<Entrant>,
    unproved: Bucket,
    retries: Bucket,
    prefixes: Table<S>,
}

impl Gate {
    /// Nobody has come yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_hasher(limits, RandomState::new())
    }
}

impl<S: BuildHasher> Gate<S> {
    /// As [`Gate::new`], with a hash that decides which prefixes share a place in the table.
    #[must_use]
    pub fn with_hasher(limits: Limits, hasher: S) -> Self {
        Self {
            limits,
            arriving: Vec::with_capacity(limits.arriving),
            unproved: Bucket::full(limits.unproved_rate),
            retries: Bucket::full(limits.retry_rate),
            prefixes: Table::new(limits.prefixes, hasher),
        }
    }

    /// Judges a first packet.
    pub fn knock(&mut self, from: IpAddr, address: Address, now_ms: u64) -> Verdict {
        let entrant = Entrant { prefix: Prefix::of(from), address };
        let verdict = match address {
            Address::Unproved => self.unproved(entrant, now_ms),
            Address::Proved => self.proved(entrant, now_ms),
        };
        if let Verdict::Enter(entrant) = verdict {
            self.arriving.push(entrant);
        }
        verdict
    }

    /// Somebody is known now, or was sent away.
    pub fn left(&mut self, entrant: Entrant) {
        if let Some(at) = self.arriving.iter().position(|one| *one == entrant) {
            self.arriving.swap_remove(at);
        }
    }

    /// How many are arriving.
    #[must_use]
    pub fn arriving(&self) -> usize {
        self.arriving.len()
    }

    fn unproved(&mut self, entrant: Entrant, now_ms: u64) -> Verdict {
        let limits = self.limits;
        let all = self.arriving.len();
        let here = self.arriving.iter().filter(|one| one.address == Address::Unproved).count();
        let place = here < limits.unproved && all < limits.arriving;
        if place && self.unproved.take(limits.unproved_rate, now_ms) {
            return Verdict::Enter(entrant);
        }
        // Asking costs less than a handshake, but not nothing, and the answer goes to whoever's address it is.
        if self.retries.take(limits.retry_rate, now_ms) {
            Verdict::Prove
        } else {
            Verdict::Ignore(Refusal::SessionCrowded)
        }
    }

    fn proved(&mut self, entrant: Entrant, now_ms: u64) -> Verdict {
        let limits = self.limits;
        let own = |one: &&Entrant| one.address == Address::Proved && one.prefix == entrant.prefix;
        let here = self.arriving.iter().filter(own).count();
        let may = here < limits.of_prefix;
        if !may
            || !self
                .prefixes
                .bucket(entrant.prefix, limits.prefix_rate, now_ms)
                .take(limits.prefix_rate, now_ms)
        {
            return Verdict::Refuse(Refusal::SessionPrefix);
        }
        if self.arriving.len() >= limits.arriving {
            return Verdict::Refuse(Refusal::SessionCrowded);
        }
        Verdict::Enter(entrant)
    }
}

const IPV4_BITS: u32 = 24;
const IPV6_BITS: u32 = 56;
/// Beside the 56 bits of an IPv6 prefix.
const IPV4: u64 = 1 << IPV6_BITS;

#[cfg(test)]
mod tests;
