//! One node, one router and one model, and what each check makes of the nearest thing that is wrong.

mod frame;
mod grant;
mod hours;
mod policy;
mod receipt;
mod rule;
mod subset;
mod token;
mod usage;

use counterfoil_identity::{SecretKey, VerifyKey};
use counterfoil_spec::amount::{MicroUsd, TokenCount};
use counterfoil_spec::claims::{
    CLAIMS_VERSION, Callers, Claims, PriceFloor, Purposes, Quota, Range, Serving,
};
use counterfoil_spec::ids::{Hash, ManifestId, NetId, NodeId, RouterId, Serial};
use counterfoil_spec::message::SignedOpen;
use counterfoil_spec::receipt::{Grant, Open, ReceiptBody};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Seconds};

use crate::{
    ActiveGrant, Booking, Expectation, Permit, Refused, Usage, check_token, open_hash, sign_open, sign_token,
};

pub(crate) const NOW: Seconds = Seconds(1_800_000_000);
pub(crate) const DAY: u64 = 86_400;
pub(crate) const MODEL: ManifestId = ManifestId::from_bytes([0xaa; 32]);

pub(crate) fn node() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

pub(crate) fn router() -> SecretKey {
    SecretKey::from_seed([20; 32])
}

pub(crate) fn root() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

pub(crate) fn net() -> NetId {
    root().public().net_id()
}

pub(crate) fn serial(n: u8) -> Serial {
    Serial::from_bytes([n; 16])
}

pub(crate) fn range(layers: (u32, u32), experts: (u32, u32)) -> Range {
    Range { manifest: MODEL, layers, experts }
}

/// Layers 0 to 3, experts 0 to 7; at most 1,000 tokens a request and 10,000 a day.
pub(crate) fn claims() -> Claims {
    Claims {
        issuer: node().public().node_id(),
        audience: router().public().router_id(),
        expires: NOW.plus(DAY),
        not_before: NOW,
        issued: NOW,
        cti: serial(1),
        version: CLAIMS_VERSION,
        net_id: net(),
        ranges: vec![range((0, 3), (0, 7))],
        quota: Quota {
            tokens_per_day: TokenCount(10_000),
            concurrent: 2,
            tokens_per_request: TokenCount(1000),
            requests_per_s: 3,
            bytes_per_s: 1_000_000,
        },
        price_floor: PriceFloor { micro_per_1k: MicroUsd(5000), currency: "USD".to_owned() },
        purposes: Purposes::CHAT.with(Purposes::CODE),
        callers: Callers { countries: vec!["DE".to_owned(), "FR".to_owned()], retention_s: 0 },
        epoch: 4,
        delegation_depth: 0,
        notice_hash: Hash::from_bytes([6; 32]),
        serving: Serving::EXPERT,
    }
}

/// What the router of these tests holds a token against; each field can be turned.
pub(crate) struct World {
    pub(crate) net_id: NetId,
    pub(crate) peer: NodeId,
    pub(crate) peer_key: VerifyKey,
    pub(crate) audience: RouterId,
    pub(crate) now: Seconds,
    pub(crate) deny_list_until: Option<Seconds>,
    pub(crate) min_epoch: u64,
    pub(crate) withdrawn: Vec<Serial>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            net_id: net(),
            peer: node().public().node_id(),
            peer_key: node().public(),
            audience: router().public().router_id(),
            now: NOW,
            deny_list_until: None,
            min_epoch: 4,
            withdrawn: Vec::new(),
        }
    }

    pub(crate) fn check(&self, token: &[u8]) -> Result<Permit, Refusal> {
        let expect = Expectation {
            net_id: &self.net_id,
            peer: &self.peer,
            peer_key: &self.peer_key,
            audience: &self.audience,
            now: self.now,
            deny_list_until: self.deny_list_until,
            min_epoch: self.min_epoch,
            withdrawn: &|cti| self.withdrawn.contains(cti),
            model_known: &|r| r.manifest == MODEL,
        };
        check_token(token, &expect).map_err(|Refused { refusal, .. }| refusal)
    }
}

pub(crate) fn permit() -> Permit {
    World::new().check(&sign_token(&claims(), &node()).unwrap()).unwrap()
}

pub(crate) fn grant() -> Grant {
    Grant {
        slot: 9,
        seq: 1,
        request: serial(50),
        cti: serial(1),
        manifest: MODEL,
        ranges: vec![range((0, 1), (0, 7))],
        max_tokens: 600,
        deadline: NOW.plus(30).millis(),
        purpose: Purposes::CHAT,
        transcript_key: Hash::from_bytes([3; 32]),
    }
}

pub(crate) fn open() -> Open {
    Open {
        serial: serial(60),
        request: serial(50),
        node: node().public().node_id(),
        router: router().public().router_id(),
        grant_hash: Hash::from_bytes([0; 32]),
        list_price_micro_per_1k: 10_000,
        caller_allowed: true,
        retention_s: 0,
        purpose: Purposes::CHAT,
        origin: "router.example/log".to_owned(),
        issued: NOW.millis(),
    }
}

pub(crate) fn order() -> SignedOpen {
    sign_open(open(), grant(), &router(), &net()).unwrap()
}

pub(crate) fn active() -> ActiveGrant {
    permit().check_open(&order(), &router().public(), &net(), NOW.millis(), &Usage::new()).unwrap()
}

pub(crate) fn receipt_body() -> ReceiptBody {
    ReceiptBody {
        serial: serial(60),
        open_hash: open_hash(&order().open),
        node: node().public().node_id(),
        router: router().public().router_id(),
        manifest: MODEL,
        cti: serial(1),
        forwards: 80,
        made: 90,
        transcript: Hash::from_bytes([4; 32]),
        opened: NOW.millis(),
        closed: Millis(NOW.0 * 1000 + 2500),
        compute_us: 1234,
    }
}
