//! A log in memory, written as a router writes it.

use counterfoil_spec::amount::{MicroUsd, TokenCount};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::entry::{Body, ENTRY_VERSION};
use counterfoil_spec::ids::{
    AccountId, Hash, Kid, ManifestId, NodeId, ProviderId, RouterId, Serial, Signature,
};
use counterfoil_spec::payload::{
    AccountOpened, CapacityAttested, FinishReason, Inference, Lot, ModelPublished, NodeUptime, Payload,
    ProviderRegistered, Refund, Uptime, Work,
};
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::rule::{Fault, FaultKind, Rule as _, Seen};
use counterfoil_spec::time::{Millis, Seconds};

use crate::calendar::Date;
use crate::grant::{Funding, PlanPeriod, free_lot, subscribe};
use crate::settle::{CloseError, Period, Quarter};
use crate::{Ledger, LedgerError, LedgerRule, credits, founding_rules};

pub(super) const MODEL: ManifestId = ManifestId::from_bytes([9; 32]);
/// Two MoE layers with two experts per token.
pub(super) const FORWARDS_PER_POSITION: u64 = 4;

pub(super) fn account(n: u8) -> AccountId {
    AccountId::from_bytes([n; 32])
}

pub(super) fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

pub(super) fn provider(n: u8) -> ProviderId {
    ProviderId::from_bytes([n; 32])
}

pub(super) fn midnight(year: u64, month: u64, day: u64) -> Seconds {
    Date::new(year, month, day).unwrap().midnight()
}

pub(super) struct Log {
    pub(super) entries: Vec<Body>,
    pub(super) ledger: Ledger,
    now: Millis,
    serials: u64,
}

/// One answered request before it is posted.
pub(super) struct Asked {
    pub(super) request: Serial,
    pub(super) works: Vec<(Serial, Work)>,
    pub(super) entry: Inference,
}

impl Log {
    /// With the founding rules and one model.
    pub(super) fn new(start: Seconds) -> Self {
        let mut log =
            Self { entries: Vec::new(), ledger: Ledger::default(), now: start.millis(), serials: 0 };
        log.write(founding_rules(1));
        log.write(ModelPublished {
            manifest: MODEL,
            name: "guide".to_owned(),
            family: "mixtral".to_owned(),
            layers: 2,
            moe_layers: vec![0, 1],
            experts: 8,
            top_k: 2,
            source: None,
            size: None,
        });
        log
    }

    pub(super) fn serial(&mut self) -> Serial {
        self.serials += 1;
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&self.serials.to_be_bytes());
        Serial::from_bytes(bytes)
    }

    pub(super) fn turn(&mut self, to: Seconds) {
        assert!(to.millis() >= self.now);
        self.now = to.millis();
    }

    pub(super) fn now(&self) -> Seconds {
        self.now.seconds()
    }

    pub(super) fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn body(&self, serial: Serial, payload: Payload) -> Body {
        Body {
            version: ENTRY_VERSION,
            author: Kid::from_bytes([0; 8]),
            seq: self.size(),
            prev: Hash::from_bytes([0; 32]),
            time: self.now,
            serial,
            payload,
            anchor: None,
        }
    }

    /// Appends an entry that the ledger takes; both books must be in balance after it.
    pub(super) fn append(&mut self, serial: Serial, payload: impl Into<Payload>) {
        let body = self.body(serial, payload.into());
        self.ledger.apply(self.size(), &body).unwrap();
        self.entries.push(body);
        assert_eq!(self.ledger.token_book().trial_balance(), Some(0));
        assert_eq!(self.ledger.money_book().trial_balance(), Some(0));
    }

    pub(super) fn write(&mut self, payload: impl Into<Payload>) -> Serial {
        let serial = self.serial();
        self.append(serial, payload);
        serial
    }

    /// What the ledger says to an entry, which is not appended.
    pub(super) fn try_write(&mut self, payload: impl Into<Payload>) -> Result<(), LedgerError> {
        let serial = self.serial();
        self.try_append(serial, payload)
    }

    pub(super) fn try_append(&self, serial: Serial, payload: impl Into<Payload>) -> Result<(), LedgerError> {
        let mut ledger = self.ledger.clone();
        let result = ledger.apply(self.size(), &self.body(serial, payload.into()));
        if result.is_err() {
            ledger.applied -= 1;
            assert_eq!(ledger, self.ledger, "a refused entry changes nothing");
        }
        result
    }

    pub(super) fn open(&mut self, n: u8) -> AccountId {
        self.write(AccountOpened { account: account(n), metered: true, country: None });
        account(n)
    }

    /// An unmetered account, opened where it is first asked for.
    pub(super) fn open_spare(&mut self) -> AccountId {
        if self.ledger.account(&account(0)).is_none() {
            self.write(AccountOpened { account: account(0), metered: false, country: None });
        }
        account(0)
    }

    pub(super) fn grant_free(&mut self, account: AccountId) -> Serial {
        let lot = self.serial();
        let lot = free_lot(self.ledger.rules(), account, lot, self.now()).unwrap();
        let serial = lot.lot;
        self.write(lot);
        serial
    }

    /// A paid period of a plan from now on: (payment, lot).
    pub(super) fn pay(&mut self, account: AccountId, plan: &str) -> (Serial, Serial) {
        let (payment, lot) = (self.serial(), self.serial());
        let funding = Funding::Paid(payment);
        let period = PlanPeriod { account, plan, anchor: self.now(), n: 0, lot, funding };
        let made = subscribe(self.ledger.rules(), &period).unwrap();
        let (serial, paid) = made.payment.unwrap();
        self.append(serial, paid);
        self.write(made.lot);
        (payment, lot)
    }

    pub(super) fn lot(&mut self, account: AccountId, lot: Lot) -> Serial {
        let serial = self.serial();
        self.write(Lot { lot: serial, account, ..lot });
        serial
    }

    pub(super) fn refund(&mut self, payment: Serial, dollars: u64) {
        self.write(Refund { payment, amount: MicroUsd(dollars * 1_000_000) });
    }

    pub(super) fn attest(&mut self, n: u8, tier: u8) {
        let expires = self.now().plus(7 * 86_400);
        self.write(CapacityAttested { node: node(n), bytes: 24_000_000_000, tier, expires });
    }

    pub(super) fn register(&mut self, n: u8, nodes: &[u8]) {
        self.write(ProviderRegistered {
            provider: provider(n),
            nodes: nodes.iter().map(|n| node(*n)).collect(),
            accounts: Vec::new(),
            affiliated: false,
        });
    }

    pub(super) fn up(&mut self, hour: Seconds, nodes: &[(u8, u32)]) {
        let nodes = nodes.iter().map(|(n, seconds)| NodeUptime { node: node(*n), seconds: *seconds });
        self.write(Uptime { hour, nodes: nodes.collect() });
    }

    /// Holds and settles `tokens`, with one receipt for each node; the caller posts it.
    pub(super) fn ask(&mut self, account: AccountId, tokens: u64, by: &[(u8, u64)]) -> Asked {
        let request = self.serial();
        let used = TokenCount(tokens);
        self.ledger.hold(&account, request, used, self.now()).unwrap();
        let debits = self.ledger.settle(&request, used).unwrap();
        let works: Vec<_> =
            by.iter().map(|(n, forwards)| (self.serial(), self.work(request, *n, *forwards))).collect();
        let forwards: Vec<_> = by.iter().map(|(n, forwards)| (node(*n), *forwards)).collect();
        let entry = Inference {
            prompt_commitment: Hash::from_bytes([1; 32]),
            output_commitment: Hash::from_bytes([2; 32]),
            manifest: MODEL,
            account,
            key_id: None,
            prompt_tokens: TokenCount(tokens / 2),
            cached_tokens: TokenCount(0),
            completion_tokens: TokenCount(tokens - tokens / 2),
            positions: by.iter().map(|(_, f)| f).sum::<u64>() / FORWARDS_PER_POSITION,
            price_micro_per_1k: 10_000,
            debits,
            started: self.now,
            ended: self.now,
            finish: FinishReason::Stop,
            works: works.iter().map(|(serial, _)| *serial).collect(),
            credits: credits(used, &forwards).unwrap(),
            unreceipted: 0,
            failed_node: None,
        };
        Asked { request, works, entry }
    }

    pub(super) fn post(&mut self, asked: Asked) -> Serial {
        for (serial, work) in asked.works {
            self.append(serial, work);
        }
        self.append(asked.request, asked.entry);
        asked.request
    }

    pub(super) fn serve(&mut self, account: AccountId, tokens: u64, by: &[(u8, u64)]) -> Serial {
        let asked = self.ask(account, tokens, by);
        self.post(asked)
    }

    pub(super) fn work(&self, request: Serial, n: u8, forwards: u64) -> Work {
        let body = ReceiptBody {
            serial: request,
            open_hash: Hash::from_bytes([3; 32]),
            node: node(n),
            router: RouterId::from_bytes([4; 32]),
            manifest: MODEL,
            cti: Serial::from_bytes([5; 16]),
            forwards,
            made: forwards,
            transcript: Hash::from_bytes([6; 32]),
            opened: self.now,
            closed: self.now,
            compute_us: 7,
        };
        let receipt = Receipt {
            body: to_canonical(&body),
            node_sig: Signature::from_bytes([7; 64]),
            router_sig: Signature::from_bytes([8; 64]),
            include_by: self.now.plus(60_000),
        };
        Work { receipt, request }
    }

    pub(super) fn period(&self, quarter: &str, end: u64) -> Result<Period, CloseError> {
        let quarter: Quarter = quarter.parse().unwrap();
        let mut period = Period::new(quarter, self.ledger.statements(), end)?.with_lots();
        for (index, body) in self.entries.iter().enumerate() {
            period.apply(index as u64, body)?;
        }
        Ok(period)
    }

    /// What the verifier's rule finds in the log.
    pub(super) fn faults(&self) -> Vec<(FaultKind, u64)> {
        faults(&self.entries).iter().map(|f| (f.kind, f.index.unwrap())).collect()
    }
}

pub(super) fn faults(entries: &[Body]) -> Vec<Fault> {
    let mut rule = LedgerRule::default();
    let mut faults = Vec::new();
    for (index, body) in entries.iter().enumerate() {
        rule.entry(&Seen { index: index as u64, body }, &mut faults);
    }
    rule.finish(&mut faults);
    faults
}
