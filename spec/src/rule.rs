//! What the verifier reports, and the trait through which other crates check an entry's meaning.
//!
//! `audit` proves that the record is whole; whether an entry was allowed is checked by rules that `consent` and
//! `ledger` implement and the program composes, so that neither crate has to know the other.

use serde::Serialize;

use crate::entry::Body;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident;)+) => {
        /// A named fault of a log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[non_exhaustive]
        pub enum FaultKind {
            $($(#[$doc])* $name,)+
        }

        impl FaultKind {
            /// The name that `audit verify` prints.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

faults! {
    /// A stored leaf is not the one that the tree commits to.
    LeafHashMismatch;
    /// A published tile differs from the tree.
    TileMismatch;
    /// A tile that the checkpoint's size asks for is not there.
    TileMissing;
    /// The log's signature on a checkpoint does not verify.
    BadLogSignature;
    /// No signature on a note is by a key that was pinned.
    NoTrustedSignature;
    /// Only a key signed that the log had retired at that size.
    RetiredKey;
    /// Another origin than the one that was pinned.
    OriginNotPinned;
    /// Smaller than a size seen before.
    Rollback;
    /// Two signed heads that cannot both be true.
    Fork;
    /// The leaves do not give the root that was signed.
    InconsistentTree;
    /// Too few witnesses.
    QuorumNotMet;
    /// A serial that an earlier entry carries.
    DuplicateSerial;
    /// An entry's signature does not verify, or a required one is missing.
    BadEntrySignature;
    /// A key that no entry introduced.
    UnknownKey;
    /// An author's sequence number is not the next.
    AuthorSeqGap;
    /// An entry does not name its author's previous one.
    PrevMismatch;
    /// Damaged bytes in a segment file.
    Corrupt;
    /// An entry of which the hash alone is there, and no prune removed it.
    EntryMissing;
    /// What is missing is not what a prune says that it removed, or nothing that may be.
    PruneMismatch;
    /// Bytes that no canonical encoder makes.
    NonCanonical;
    /// A signed note that cannot be read.
    MalformedNote;
    /// A small-order, non-canonical or mixed-order key.
    WeakKey;
    /// Earlier than the entry before it.
    ClockRegression;
    /// Outside the time that a cosigned checkpoint allows.
    TimeOutOfBounds;
    /// A grant or receipt beyond its consent token.
    OverGrant;
    /// Less than nothing.
    NegativeUnits;
    /// A number that only rises has fallen.
    NotMonotonic;
    /// Used after its end.
    Expired;
    /// Signed by, made for or sent to somebody else.
    WrongParty;
    /// Work without a consent token that was in force.
    NoConsent;
    /// A receipt that lacks its other half.
    UncounteredReceipt;
    /// A countersigned receipt that did not reach the log in time.
    BrokenPromise;
    /// The forwards receipted do not add up to those the model needs.
    ForwardsMismatch;
    /// A debit without a lot, or a lot without a payment.
    NoLot;
    /// A sum that does not fit.
    SumOverflow;
    /// Parts that do not add up to their whole.
    ConservationViolated;
    /// A proof of the wrong length or form.
    ProofShape;
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its name.
    #[serde(rename = "fault")]
    pub kind: FaultKind,
    /// The entry it concerns.
    pub index: Option<u64>,
    /// The file it was found in, relative to the log's folder.
    pub file: Option<String>,
    /// What was found and what was expected.
    pub detail: String,
}

impl Fault {
    /// A fault of one entry.
    #[must_use]
    pub fn at(kind: FaultKind, index: u64, detail: impl Into<String>) -> Self {
        Self { kind, index: Some(index), file: None, detail: detail.into() }
    }
}

/// One entry as the verifier hands it to a rule: decoded, in canonical form, its signatures checked.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its index in the log.
    pub index: u64,
    /// The entry.
    pub body: &'a Body,
}

/// A check of what entries mean; sees every entry of one log once, in order.
pub trait Rule {
    /// Looks at the next entry and appends what is wrong with it.
    fn entry(&mut self, seen: &Seen<'_>, faults: &mut Vec<Fault>);

    /// Called after the last entry.
    fn finish(&mut self, faults: &mut Vec<Fault>);
}
