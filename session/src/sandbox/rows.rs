//! What a consent token or an order is refused for, as one table. Router and node make the same checks, and the tests of
//! either walk these rows: neither has a list of its own that could say something else.

use counterfoil_consent::{Issuance, Permit, Policy, issue, sign_open, sign_token};
use counterfoil_identity::{Refused, SecretKey, Signer, random};
use counterfoil_spec::claims::{Claims, Purposes};
use counterfoil_spec::ids::{ManifestId, NetId, RouterId, Serial};
use counterfoil_spec::message::SignedOpen;
use counterfoil_spec::receipt::{Grant, Open};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use super::{Member, Sandbox, open_policy};

/// How long tokens live under [`policy`], in seconds.
pub const LIFE_S: u64 = 600;
/// A model that nobody publishes.
pub const UNKNOWN: ManifestId = ManifestId::from_bytes([0xee; 32]);

/// What must have happened before a row is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// The token was withdrawn.
    Withdrawn,
    /// The token's time is over, as is that by which clocks may differ.
    Over,
    /// As many orders as are allowed at one time are open.
    Full,
    /// An order with this serial was closed.
    Closed,
    /// The router owes more countersignatures than it may.
    Owed,
}

/// One way in which a token is not what it must be.
pub struct TokenRow {
    /// What it is refused with.
    pub refusal: Refusal,
    /// In words.
    pub what: &'static str,
    /// What must have happened before.
    pub before: Before,
    claims: fn(&mut Claims),
    bytes: fn(&mut Vec<u8>),
}

/// One way in which an order is not what its token allows.
pub struct OrderRow {
    /// What it is refused with.
    pub refusal: Refusal,
    /// In words.
    pub what: &'static str,
    /// What must have happened before; what the node's books show is not the router's to check.
    pub before: Before,
    change: fn(&mut Open, &mut Grant),
    forge: Option<fn(&mut SignedOpen)>,
}

impl TokenRow {
    const fn claims(refusal: Refusal, what: &'static str, claims: fn(&mut Claims)) -> Self {
        Self { refusal, what, before: Before::Nothing, claims, bytes: |_| () }
    }

    const fn bytes(refusal: Refusal, what: &'static str, bytes: fn(&mut Vec<u8>)) -> Self {
        Self { refusal, what, before: Before::Nothing, claims: |_| (), bytes }
    }

    /// The token of this row, beside one that is as it must be.
    #[must_use]
    pub fn token(&self, honest: &Claims, key: &dyn Signer) -> Vec<u8> {
        let mut claims = honest.clone();
        (self.claims)(&mut claims);
        #[expect(clippy::expect_used, reason = "the key is in memory")]
        let mut token = sign_token(&claims, key).expect("a key in memory signs");
        (self.bytes)(&mut token);
        token
    }
}

impl OrderRow {
    const fn of(refusal: Refusal, what: &'static str, change: fn(&mut Open, &mut Grant)) -> Self {
        Self { refusal, what, before: Before::Nothing, change, forge: None }
    }

    const fn after(refusal: Refusal, what: &'static str, before: Before) -> Self {
        Self { refusal, what, before, change: |_, _| (), forge: None }
    }

    const fn forged(refusal: Refusal, what: &'static str, forge: fn(&mut SignedOpen)) -> Self {
        Self { refusal, what, before: Before::Nothing, change: |_, _| (), forge: Some(forge) }
    }

    /// The order of this row for a slot, and with this serial.
    #[must_use]
    pub fn order(&self, net: &Sandbox, permit: &Permit, (slot, serial): (u32, Serial)) -> SignedOpen {
        let mut order = order(net, permit, (slot, serial));
        (self.change)(&mut order.open, &mut order.grant);
        let mut order = signed(net, order.open, order.grant, &net.router_key);
        if let Some(forge) = self.forge {
            forge(&mut order);
        }
        order
    }

    /// Whether only the node's books show it.
    #[must_use]
    pub fn is_in_the_books(&self) -> bool {
        matches!(self.before, Before::Full | Before::Closed | Before::Owed)
    }
}

/// A policy under which each row differs from what is allowed in one thing.
#[must_use]
pub fn policy(name: &str) -> Policy {
    let mut policy = open_policy(name);
    policy.price_floor_micro_per_1k = 5000;
    policy.purposes = Purposes::CHAT.with(Purposes::CODE);
    policy.life_s = LIFE_S;
    policy.quota.concurrent = 2;
    policy.quota.tokens_per_request.0 = 1000;
    policy
}

/// A token under that policy, as the router checked it.
///
/// # Errors
/// What the check says.
pub fn permit(net: &Sandbox, member: &Member, model: (ManifestId, &str)) -> Result<Permit, Refused> {
    let issuance = Issuance::fresh(net.domain.net_id(), (net.now)().seconds(), 1);
    let proposal = net.proposal(model.0, model.1);
    #[expect(clippy::expect_used, reason = "the policy names the model")]
    let (token, _) = issue(&policy(model.1), &proposal, &member.key, &issuance).expect("it is allowed");
    net.check(&token, member)
}

/// An order that the token allows.
#[must_use]
pub fn order(net: &Sandbox, permit: &Permit, (slot, serial): (u32, Serial)) -> SignedOpen {
    let mut order = net.order(permit, slot);
    order.open.serial = serial;
    order.grant.max_tokens = 1000;
    signed(net, order.open, order.grant, &net.router_key)
}

fn signed(net: &Sandbox, open: Open, grant: Grant, key: &dyn Signer) -> SignedOpen {
    #[expect(clippy::expect_used, reason = "the key is in memory")]
    sign_open(open, grant, key, &net.domain.net_id()).expect("a key in memory signs")
}

fn flip(bytes: &mut [u8], at: usize, mask: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= mask;
    }
}

/// Where the parts of a token's header lie: its algorithm, its key id and its type's last letter.
const ALG_AT: usize = 6;
const KID_AT: usize = 10;
const TYPE_END_AT: usize = 79;

/// Every refusal of a token that its bytes or its past can show. A deny list that is too old (`T_STALE`) decides nothing
/// at its author's, so the router has no such row; what was proposed and how many came before (`T_UNASKED`, `T_RATE`) only its
/// own lanes show.
pub const TOKENS: [TokenRow; 21] = [
    TokenRow::bytes(Refusal::TokenCanon, "a byte after it", |t| t.push(0)),
    TokenRow::bytes(Refusal::TokenCanon, "a byte short", |t| t.truncate(t.len() - 1)),
    // -19 is 0x32, and -8 is 0x27.
    TokenRow::bytes(Refusal::TokenAlg, "an algorithm that is not fully specified", |t| {
        flip(t, ALG_AT, 0x32 ^ 0x27);
    }),
    TokenRow::bytes(Refusal::TokenType, "another type", |t| flip(t, TYPE_END_AT, 1)),
    TokenRow::bytes(Refusal::TokenIssuer, "the kid of another node", |t| flip(t, KID_AT, 1)),
    TokenRow::claims(Refusal::TokenVersion, "another version", |c| c.version += 1),
    TokenRow::claims(Refusal::TokenNet, "another network", |c| c.net_id = NetId::from_bytes([0; 32])),
    TokenRow::claims(Refusal::TokenAud, "another router", |c| c.audience = RouterId::from_bytes([0; 32])),
    TokenRow::claims(Refusal::TokenExpired, "over", |c| {
        c.expires = Seconds(c.issued.0 - 100);
        c.not_before = Seconds(c.issued.0 - 200);
    }),
    TokenRow::claims(Refusal::TokenNotYet, "of later", |c| {
        c.not_before = c.issued.plus(200);
        c.expires = c.issued.plus(400);
    }),
    TokenRow::claims(Refusal::TokenNotYet, "signed later", |c| c.issued = c.issued.plus(200)),
    TokenRow::claims(Refusal::TokenLifetime, "30 days and a second", |c| {
        c.expires = c.issued.plus(30 * 86_400 + 1);
    }),
    TokenRow { before: Before::Withdrawn, ..TokenRow::claims(Refusal::TokenRevoked, "withdrawn", |_| ()) },
    TokenRow::claims(Refusal::TokenEpoch, "of an epoch below the first", |c| c.epoch = 0),
    TokenRow::bytes(Refusal::TokenSig, "a bit of the signature", |t| {
        let last = t.len() - 1;
        flip(t, last, 1);
    }),
    TokenRow::claims(Refusal::TokenRange, "no range", |c| c.ranges.clear()),
    TokenRow::claims(Refusal::TokenRange, "a range the wrong way round", |c| {
        c.ranges.iter_mut().for_each(|range| range.layers = (1, 0));
    }),
    TokenRow::claims(Refusal::TokenModel, "a model that is not published", |c| {
        c.ranges.iter_mut().for_each(|range| range.manifest = UNKNOWN);
    }),
    TokenRow::claims(Refusal::TokenPurpose, "no purpose", |c| c.purposes = Purposes::default()),
    TokenRow::claims(Refusal::TokenValue, "passed on", |c| c.delegation_depth = 1),
    TokenRow::claims(Refusal::TokenValue, "a currency in small letters", |c| {
        c.price_floor.currency = "usd".to_owned();
    }),
];

/// Every refusal of an order; those of frames (`R_MAC`, `R_SHAPE`) are no order's.
pub const ORDERS: [OrderRow; 17] = [
    OrderRow::forged(Refusal::Grant, "changed after it was signed", |o| o.open.list_price_micro_per_1k += 1),
    OrderRow::forged(Refusal::Grant, "another grant than the one ordered", |o| o.grant.max_tokens -= 1),
    OrderRow::of(Refusal::Grant, "for another node", |o, _| flip_node(o)),
    OrderRow::of(Refusal::Grant, "of another request", |_, g| g.request = Serial::from_bytes([0; 16])),
    OrderRow::of(Refusal::Grant, "without the origin of a log", |o, _| o.origin.clear()),
    OrderRow::of(Refusal::Grant, "without a range", |_, g| g.ranges.clear()),
    OrderRow::after(Refusal::Withdrawn, "under a token that is over", Before::Over),
    OrderRow::of(Refusal::Scope, "for another model", |_, g| g.manifest = UNKNOWN),
    OrderRow::of(Refusal::Purpose, "for another purpose", |o, g| {
        (o.purpose, g.purpose) = (Purposes::EMBEDDING, Purposes::EMBEDDING);
    }),
    OrderRow::of(Refusal::Jurisdiction, "for a caller from elsewhere", |o, _| o.caller_allowed = false),
    OrderRow::of(Refusal::Jurisdiction, "kept for longer", |o, _| o.retention_s = 1),
    OrderRow::of(Refusal::Price, "below the floor", |o, _| o.list_price_micro_per_1k = 4999),
    OrderRow::of(Refusal::Quota, "a token more than a request may have", |_, g| g.max_tokens = 1001),
    OrderRow::after(Refusal::Busy, "one more than at one time", Before::Full),
    OrderRow::of(Refusal::Deadline, "too late", |o, g| g.deadline = o.issued),
    OrderRow::after(Refusal::Replay, "the same again", Before::Closed),
    OrderRow::after(Refusal::Unsettled, "by who owes too much", Before::Owed),
];

fn flip_node(open: &mut Open) {
    open.node = SecretKey::generate().public().node_id();
}

/// A serial that no other order has.
#[must_use]
pub fn serial() -> Serial {
    random::serial()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::machine_clock;

    fn refusals(family: &str, but: &[Refusal]) -> Vec<&'static str> {
        let all = Refusal::ALL.iter().filter(|refusal| !but.contains(refusal)).map(|refusal| refusal.code());
        let mut all: Vec<&str> = all.filter(|code| code.starts_with(family)).collect();
        all.sort_unstable();
        all
    }

    fn met(rows: impl Iterator<Item = Refusal>) -> Vec<&'static str> {
        let mut met: Vec<&str> = rows.map(Refusal::code).collect();
        met.sort_unstable();
        met.dedup();
        met
    }

    #[test]
    fn the_rows_meet_every_refusal_of_a_token_and_of_an_order() {
        let tokens = met(TOKENS.iter().map(|row| row.refusal));
        let of_lanes = [Refusal::TokenStale, Refusal::TokenUnasked, Refusal::TokenRate];
        assert_eq!(tokens, refusals("T_", &of_lanes));
        let orders = met(ORDERS.iter().map(|row| row.refusal));
        assert_eq!(orders, refusals("R_", &[Refusal::Mac, Refusal::Shape]));
    }

    #[test]
    fn beside_each_row_there_is_what_is_accepted() {
        let net = Sandbox::new(machine_clock()).unwrap();
        let member = net.member().unwrap();
        let permit = permit(&net, &member, (ManifestId::from_bytes([1; 32]), "guide")).unwrap();
        let now = (net.now)();
        let order = order(&net, &permit, (1, serial()));
        let (key, id, usage) =
            (net.router_key.public(), net.domain.net_id(), counterfoil_consent::Usage::new());
        assert_eq!(permit.check_open(&order, &key, &id, now, &usage).unwrap().slot(), 1);
    }
}
