//! Every refusal by its number and code; `spec/refusals.json` is the same table for other implementations.
//!
//! `C` certificates, `E` enrolment, `T` consent tokens, `R` grants and work, `S` sessions, `F` fetching. Numbers are never reused.

use serde::Serialize;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $code:literal;)+) => {
        /// Why a peer was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[$doc])* $name,)+
        }

        impl Refusal {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The number that travels.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)+ }
            }

            /// The code that people and vectors use.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Reads a number; `None` for one that is not assigned.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

refusals! {
    /// The chain does not lead to this network's root.
    CertUntrusted = 1, "C_UNTRUSTED";
    /// Outside the certificate's validity.
    CertExpired = 2, "C_EXPIRED";
    /// A field that the profile forbids or demands otherwise.
    CertProfile = 3, "C_PROFILE";
    /// The SAN is not one SPIFFE id of this network.
    CertName = 4, "C_NAME";
    /// The SAN's role is not the EKU's role, or not the role wanted here.
    CertRole = 5, "C_ROLE";
    /// The node binding is missing, malformed or not signed by the identity key.
    CertBinding = 6, "C_BINDING";
    /// The id is not the hash of the identity key.
    CertId = 7, "C_ID";
    /// A life longer than certificates may have, or shorter than half of what may be asked for.
    CertLifetime = 8, "C_LIFETIME";
    /// On the deny list.
    CertDenied = 9, "C_DENIED";
    /// A key that is small-order, non-canonical or not torsion-free.
    CertWeakKey = 10, "C_WEAK_KEY";
    /// No entry enrolled this id.
    CertUnknown = 11, "C_UNKNOWN";
    /// Not the router that this node pinned.
    CertPin = 12, "C_PIN";
    /// Of an earlier generation than one that was used, or another certificate of the same: a copy of the node's keys is in use.
    CertSuperseded = 13, "C_SUPERSEDED";
    /// No entry put the issuing CA to use.
    CertCaUnknown = 14, "C_CA_UNKNOWN";
    /// Another issuing CA took its place, and the last leaf that it may have issued has ended.
    CertCaRetired = 15, "C_CA_RETIRED";
    /// A deny list that is malformed, not signed by the router or the root whose it is, issued in the future, or a router's that is good for more than a minute.
    CertDenyList = 16, "C_DENY_LIST";
    /// A deny list of an epoch below the one that is known, or of that epoch with other names.
    CertDenyBack = 17, "C_DENY_BACK";

    /// No such join token.
    EnrolToken = 101, "E_TOKEN";
    /// The join token was used.
    EnrolUsed = 102, "E_USED";
    /// The join token expired.
    EnrolExpired = 103, "E_EXPIRED";
    /// A proof of possession does not verify.
    EnrolProof = 104, "E_PROOF";
    /// The certificate request is malformed or not self-signed.
    EnrolCsr = 105, "E_CSR";
    /// Malformed or too long.
    EnrolShape = 106, "E_SHAPE";
    /// A key that is another node's, the router's or the network's already, or whose key id collides with one.
    EnrolCollision = 107, "E_COLLISION";
    /// Not the generation that follows the one used last.
    EnrolGeneration = 108, "E_GENERATION";
    /// More than 30 days after the end of the node's last certificate.
    EnrolLate = 109, "E_LATE";
    /// More certificates, or sooner, than a node needs.
    EnrolRate = 110, "E_RATE";
    /// Not the recovery key that the node committed to when it enrolled, or not signed by it.
    EnrolRecovery = 111, "E_RECOVERY";

    /// Too long, malformed or not canonical.
    TokenCanon = 201, "T_CANON";
    /// Not the one algorithm.
    TokenAlg = 202, "T_ALG";
    /// Not the one content type.
    TokenType = 203, "T_TYPE";
    /// The key id or issuer is not the authenticated peer.
    TokenIssuer = 204, "T_ISSUER";
    /// Another claims version.
    TokenVersion = 205, "T_VERSION";
    /// Another network.
    TokenNet = 206, "T_NET";
    /// Another router.
    TokenAud = 207, "T_AUD";
    /// No longer valid.
    TokenExpired = 208, "T_EXPIRED";
    /// Not yet valid.
    TokenNotYet = 209, "T_NOT_YET";
    /// Longer than 30 days, or ending before it begins.
    TokenLifetime = 210, "T_LIFETIME";
    /// The deny list is too old to decide.
    TokenStale = 211, "T_STALE";
    /// Withdrawn.
    TokenRevoked = 212, "T_REVOKED";
    /// Of an epoch below the current one.
    TokenEpoch = 213, "T_EPOCH";
    /// The signature does not verify.
    TokenSig = 214, "T_SIG";
    /// Ranges empty, unsorted, overlapping or reversed.
    TokenRange = 215, "T_RANGE";
    /// A model or expert that the router does not publish.
    TokenModel = 216, "T_MODEL";
    /// No purpose, or one without meaning.
    TokenPurpose = 217, "T_PURPOSE";
    /// A value outside its domain.
    TokenValue = 218, "T_VALUE";
    /// Nobody proposed what it is for, and it goes on from no consent token of this lane.
    TokenUnasked = 219, "T_UNASKED";
    /// More consent tokens, or more that were refused, than a node needs.
    TokenRate = 220, "T_RATE";

    /// No such grant, or malformed.
    Grant = 301, "R_GRANT";
    /// Outside the consent token.
    Scope = 302, "R_SCOPE";
    /// A purpose that was not consented to.
    Purpose = 303, "R_PURPOSE";
    /// A caller from elsewhere.
    Jurisdiction = 304, "R_JURIS";
    /// Below the price floor.
    Price = 305, "R_PRICE";
    /// A quota is used up.
    Quota = 306, "R_QUOTA";
    /// Too many requests at once.
    Busy = 307, "R_BUSY";
    /// Past the deadline.
    Deadline = 308, "R_DEADLINE";
    /// A counter seen before or too old.
    Replay = 309, "R_REPLAY";
    /// The MAC does not match.
    Mac = 310, "R_MAC";
    /// Rows, width or experts that do not fit the model, or a non-finite value.
    Shape = 311, "R_SHAPE";
    /// The router owes countersignatures.
    Unsettled = 312, "R_UNSETTLED";
    /// The consent token ended while the request ran.
    Withdrawn = 313, "R_WITHDRAWN";

    /// Not the application protocol.
    SessionAlpn = 401, "S_ALPN";
    /// A frame or message out of order.
    SessionOrder = 402, "S_ORDER";
    /// Longer than its limit.
    SessionLength = 403, "S_LENGTH";
    /// Malformed.
    SessionShape = 404, "S_SHAPE";
    /// A protocol version that is not spoken here.
    SessionVersion = 405, "S_VERSION";
    /// A second lane, or a stream of a kind that is not used.
    SessionStream = 406, "S_STREAM";
    /// Silent for too long.
    SessionIdle = 407, "S_IDLE";
    /// Going away in good order.
    SessionDrain = 408, "S_DRAIN";
    /// A fault on the refuser's own side.
    SessionInternal = 409, "S_INTERNAL";
    /// As many connections of this node as may be stand already.
    SessionLanes = 410, "S_LANES";
    /// More connections arrive than the router has places for.
    SessionCrowded = 411, "S_CROWDED";
    /// More connections from one range of addresses than it may make.
    SessionPrefix = 412, "S_PREFIX";
    /// A head of the other side's log that its key did not sign, or that contradicts one that it signed before.
    SessionHead = 413, "S_HEAD";

    /// A model that is not published here.
    FetchModel = 501, "F_MODEL";
    /// An expert or a chunk that the model does not have.
    FetchShard = 502, "F_SHARD";
    /// No consent token in force covers the expert, or its operator does not share weights.
    FetchConsent = 503, "F_CONSENT";
    /// No source is left that has it.
    FetchSource = 504, "F_SOURCE";
    /// Bytes whose hash is not the one in the manifest.
    FetchHash = 505, "F_HASH";
}

impl Serialize for Refusal {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.code())
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl<C> minicbor::Encode<C> for Refusal {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u16(self.number())?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Refusal {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::from_number(d.u16()?)
            .ok_or_else(|| minicbor::decode::Error::message("a refusal number that is not assigned").at(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_distinct() {
        let mut numbers: Vec<_> = Refusal::ALL.iter().map(|r| r.number()).collect();
        let mut codes: Vec<_> = Refusal::ALL.iter().map(|r| r.code()).collect();
        numbers.dedup();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(numbers.len(), Refusal::ALL.len());
        assert!(numbers.is_sorted());
        assert_eq!(codes.len(), Refusal::ALL.len());
    }

    #[test]
    fn number_names_its_refusal() {
        for r in Refusal::ALL {
            assert_eq!(Refusal::from_number(r.number()), Some(*r));
        }
        assert_eq!(Refusal::from_number(0), None);
    }
}
