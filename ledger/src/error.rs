//! Why an entry cannot be applied, and which fault of the log that is.

use counterfoil_spec::amount::{Cents, MicroTokens, MicroUsd, TokenCount};
use counterfoil_spec::ids::{AccountId, ProviderId, Serial};
use counterfoil_spec::payload::PayoutOutcome;
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::Seconds;

use crate::book::BookError;
use crate::payout::NotPayable;

/// An entry that the state before it does not allow. The entry changes nothing; the log that holds it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Entries come one by one, in the order of the log.
    #[error("entry {found} was applied where entry {expected} is next; replay the log from the start")]
    OutOfOrder {
        /// The next index.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// An account that no entry opened.
    #[error("account {0} was never opened; an account-opened entry must come first")]
    UnknownAccount(AccountId),
    /// An account that an earlier entry opened.
    #[error("account {0} was opened before")]
    AccountExists(AccountId),
    /// An API key id or hash that an earlier entry introduced.
    #[error("API key {0} or its hash was introduced before")]
    KeyExists(Serial),
    /// An API key that no entry introduced.
    #[error("API key {0} was never created")]
    UnknownKey(Serial),
    /// An API key of another account.
    #[error("API key {0} belongs to another account")]
    KeyOfAnother(Serial),
    /// A lot that an earlier entry granted.
    #[error("lot {0} was granted before")]
    LotExists(Serial),
    /// A lot that no entry granted.
    #[error("lot {0} was never granted")]
    UnknownLot(Serial),
    /// A lot of another account.
    #[error("lot {0} belongs to another account")]
    LotOfAnother(Serial),
    /// A lot before its start or from its end on.
    #[error("lot {0} was not in force when the request started")]
    LotNotInForce(Serial),
    /// More than is left of a lot, holds of other requests left out.
    #[error("lot {lot} has {left} tokens for this request, which debits {debit}")]
    LotOverdrawn {
        /// The lot.
        lot: Serial,
        /// What is left for this request.
        left: TokenCount,
        /// What the entry takes.
        debit: TokenCount,
    },
    /// A lot that says it was paid, without a payment of that account that pays for no other lot.
    #[error("lot {0} is not backed by a payment of its account; name one, or grant it as unpaid")]
    LotWithoutPayment(Serial),
    /// A free or unpaid lot that names a payment.
    #[error("lot {0} names a payment but was not paid")]
    LotWithStrayPayment(Serial),
    /// More tokens than its plan, or the rules' free grant, gives.
    #[error("lot {lot} has {tokens} tokens where the rules give at most {limit}")]
    LotTooLarge {
        /// The lot.
        lot: Serial,
        /// What it grants.
        tokens: TokenCount,
        /// What the rules in force give.
        limit: TokenCount,
    },
    /// A second free lot for one account.
    #[error("account {0} received its free tokens before")]
    FreeTwice(AccountId),
    /// A plan that the rules in force do not list.
    #[error("plan {0:?} is not in the rules in force")]
    UnknownPlan(String),
    /// A period whose end is not after its start.
    #[error("a period must end after it starts")]
    EmptyPeriod,
    /// A payment that no entry recorded.
    #[error("payment {0} was never received")]
    UnknownPayment(Serial),
    /// More is held back of a payment than is left of it.
    #[error("payment {payment} of {paid} cannot have {taken} taken back, refunds and disputes together")]
    ChargebackBeyondPayment {
        /// The payment.
        payment: Serial,
        /// What it was.
        paid: MicroUsd,
        /// Its refunds and what disputes hold back of it, with this one.
        taken: MicroUsd,
    },
    /// A chargeback that says what is known.
    #[error("dispute {0} holds back as much as before")]
    ChargebackUnchanged(Serial),
    /// Refunds beyond what was paid.
    #[error("payment {payment} of {paid} cannot be refunded by {refunded} in all")]
    RefundBeyondPayment {
        /// The payment.
        payment: Serial,
        /// What it was.
        paid: MicroUsd,
        /// The sum of its refunds with this one.
        refunded: MicroUsd,
    },
    /// A request whose inference entry came before.
    #[error("request {0} was posted before; a request is posted at most once")]
    AlreadyPosted(Serial),
    /// A failed request that counts tokens.
    #[error("a failed request counts {0:?} tokens; it must count none")]
    FailedWithTokens(TokenCount),
    /// More cached prompt tokens than prompt tokens.
    #[error("{cached} cached prompt tokens of {prompt} prompt tokens")]
    CachedBeyondPrompt {
        /// Prompt tokens that were not computed again.
        cached: TokenCount,
        /// All prompt tokens.
        prompt: TokenCount,
    },
    /// Debits that are empty, repeated or too many.
    #[error("debits must name at most {limit} lots, each once, each with at least one token")]
    DebitShape {
        /// The most lots.
        limit: usize,
    },
    /// Debits that are not the request's tokens.
    #[error("the request is charged {charged} tokens and debits {debited}")]
    DebitsDiffer {
        /// Prompt and completion tokens times the model's weight; none for an unmetered account.
        charged: TokenCount,
        /// The sum of its debits.
        debited: TokenCount,
    },
    /// Credits that are not the request's tokens.
    #[error("the request is worth {worth} and credits {credited}")]
    CreditsDiffer {
        /// Prompt and completion tokens times the model's weight, in millionths.
        worth: MicroTokens,
        /// The sum of its credits.
        credited: MicroTokens,
    },
    /// A version of the rules that does not follow the one before.
    #[error("rules version {found} follows version {current}; versions rise by one")]
    RulesVersion {
        /// In force.
        current: u64,
        /// In the entry.
        found: u64,
    },
    /// Rules that contradict themselves.
    #[error("malformed rules: {0}")]
    RulesMalformed(&'static str),
    /// A tier that does not exist.
    #[error("tier {0} does not exist; tiers are 1 to 4")]
    UnknownTier(u8),
    /// A tier for more bytes than were proved.
    #[error("tier {tier} asks for {least} bytes and {bytes} were proved")]
    TierBeyondCapacity {
        /// What is claimed.
        tier: u8,
        /// What was proved.
        bytes: u64,
        /// What the tier asks for.
        least: u64,
    },
    /// Uptime that an hour cannot hold or that is not in order.
    #[error("malformed uptime: {0}")]
    UptimeMalformed(&'static str),
    /// Uptime of an hour that had not begun.
    #[error("uptime of an hour that begins after the entry's time")]
    UptimeAhead,
    /// A statement that does not continue the one before.
    #[error("a statement must continue the one before: {0}")]
    StatementOrder(&'static str),
    /// A statement with a pool below zero.
    #[error("a pool is never negative; a deficit is carried")]
    NegativePool,
    /// A provider that no entry registered.
    #[error("provider {0} was never registered; a provider-registered entry must come first")]
    UnknownProvider(ProviderId),
    /// Earnings that are not of a closed quarter, or not in order, or beyond the pool.
    #[error("earnings are not those of a quarter: {0}")]
    EarningsMalformed(&'static str),
    /// A dispute of a quarter that no statement closed.
    #[error("no statement closed this quarter")]
    QuarterNotClosed,
    /// A dispute that comes too late.
    #[error("the quarter was closed at {closed} (Unix seconds), and its shares are contested within 30 days")]
    DisputeLate {
        /// When it was closed.
        closed: Seconds,
    },
    /// A second dispute of one share while the first one has no answer.
    #[error("dispute {0} contests this share and has no answer yet")]
    DisputeOpen(Serial),
    /// A dispute or a correction that contradicts the quarter.
    #[error("a dispute or its answer: {0}")]
    DisputeMalformed(&'static str),
    /// A correction of no dispute.
    #[error("dispute {0} was never raised; its dispute entry must come first")]
    UnknownDispute(Serial),
    /// A second answer.
    #[error("dispute {0} has its answer")]
    DisputeAnswered(Serial),
    /// A second payout while one is under way.
    #[error("payout {0} is under way; a provider has one at a time")]
    PayoutOpen(Serial),
    /// Less is owed than the least payout.
    #[error("a payout of what is not payable: {0}")]
    PayoutNotOwed(NotPayable),
    /// There is no destination that money may go to.
    #[error("a payout without a destination: {0}")]
    PayoutNowhere(NotPayable),
    /// A payout of another sum than what is owed.
    #[error("a payout of {payout} cents where {owed} are owed; it is all of it")]
    PayoutDiffers {
        /// What is owed.
        owed: Cents,
        /// What the entry says.
        payout: Cents,
    },
    /// A payout to somewhere else.
    #[error("a payout that does not go to the destination of provider {0}")]
    PayoutElsewhere(ProviderId),
    /// A payout that no entry intended.
    #[error("payout {0} was never intended; its payout entry must come first")]
    UnknownPayout(Serial),
    /// A report with words that do not belong there.
    #[error("a report of a payment provider: {0}")]
    ReportMalformed(&'static str),
    /// A report that cannot follow the ones before.
    #[error("a report {outcome:?} cannot follow what is known of payout {payout}")]
    ReportOutOfOrder {
        /// Which.
        payout: Serial,
        /// What it says.
        outcome: PayoutOutcome,
    },
    /// More came back than went out, or something where nothing can.
    #[error("{returned} cents cannot have come back of payout {payout}")]
    ReturnedBeyondPayout {
        /// Which.
        payout: Serial,
        /// What it says.
        returned: Cents,
    },
    /// A sum beyond its type.
    #[error("a sum does not fit its type")]
    Overflow,
    /// Lines that do not sum to zero.
    #[error("a posting out of balance by {0}")]
    Unbalanced(i128),
}

impl LedgerError {
    /// The fault that the verifier names; `None` where another check of the verifier already names it.
    #[must_use]
    pub const fn fault(&self) -> Option<FaultKind> {
        Some(match self {
            // A request's serial is its entry's, and repeated entry serials are the log verifier's to report.
            Self::OutOfOrder { .. } | Self::AlreadyPosted(_) => return None,
            Self::UnknownAccount(_)
            | Self::KeyOfAnother(_)
            | Self::UnknownKey(_)
            | Self::UnknownProvider(_)
            | Self::UnknownPayout(_)
            | Self::QuarterNotClosed
            | Self::UnknownDispute(_)
            | Self::PayoutNowhere(_)
            | Self::PayoutElsewhere(_) => FaultKind::WrongParty,
            Self::AccountExists(_) | Self::KeyExists(_) | Self::LotExists(_) => FaultKind::DuplicateSerial,
            Self::UnknownLot(_)
            | Self::LotOfAnother(_)
            | Self::LotNotInForce(_)
            | Self::LotOverdrawn { .. }
            | Self::LotWithoutPayment(_)
            | Self::LotWithStrayPayment(_)
            | Self::LotTooLarge { .. }
            | Self::FreeTwice(_)
            | Self::UnknownPlan(_)
            | Self::UnknownPayment(_) => FaultKind::NoLot,
            Self::RefundBeyondPayment { .. }
            | Self::ChargebackBeyondPayment { .. }
            | Self::NegativePool
            | Self::ReturnedBeyondPayout { .. } => FaultKind::NegativeUnits,
            Self::EmptyPeriod
            | Self::FailedWithTokens(_)
            | Self::CachedBeyondPrompt { .. }
            | Self::DebitShape { .. }
            | Self::DebitsDiffer { .. }
            | Self::CreditsDiffer { .. }
            | Self::RulesMalformed(_)
            | Self::UnknownTier(_)
            | Self::TierBeyondCapacity { .. }
            | Self::UptimeMalformed(_)
            | Self::EarningsMalformed(_)
            | Self::DisputeMalformed(_)
            | Self::PayoutNotOwed(_)
            | Self::PayoutDiffers { .. }
            | Self::ReportMalformed(_)
            | Self::Unbalanced(_) => FaultKind::ConservationViolated,
            Self::RulesVersion { .. }
            | Self::ChargebackUnchanged(_)
            | Self::StatementOrder(_)
            | Self::PayoutOpen(_)
            | Self::DisputeOpen(_)
            | Self::DisputeAnswered(_)
            | Self::ReportOutOfOrder { .. } => FaultKind::NotMonotonic,
            Self::UptimeAhead | Self::DisputeLate { .. } => FaultKind::TimeOutOfBounds,
            Self::Overflow => FaultKind::SumOverflow,
        })
    }
}

impl From<BookError> for LedgerError {
    fn from(e: BookError) -> Self {
        match e {
            BookError::Overflow => Self::Overflow,
            BookError::Unbalanced(by) => Self::Unbalanced(by),
        }
    }
}
