//! The join token: one string to paste, good for one node.
//!
//! ```text
//! "cfjoin1" ‖ base32( version(1) = 01 ‖ token id(16) ‖ seed(32) ‖ net_id(32) ‖ expires u64be(8) ‖ check(4) )
//! check = first 4 bytes of BLAKE3 derive_key("counterfoil v1 join-token", the 89 bytes before it)
//! ```
//!
//! base32 is RFC 4648, lowercase, without padding. `net_id` is the pin: it is the hash of the network root's key, which
//! the enrolment server must show. The check tells a token that was cut short from one that nobody knows.

use std::fmt;
use std::str::FromStr;

use counterfoil_spec::ids::{NetId, Serial};
use counterfoil_spec::time::Seconds;
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::digest::{self, context};
use crate::key::{SecretKey, VerifyKey};
use crate::random;

/// A text that is not a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenSyntax {
    /// Another prefix or alphabet, or another length.
    #[error("not a join token; it begins with \"cfjoin1\" and has 156 characters: paste all of it")]
    Shape,
    /// The check bytes do not fit.
    #[error("the join token was changed on its way; copy it again")]
    Check,
    /// Made by another version of the program.
    #[error("join token version {0} is not known here; update the program")]
    Version(u8),
}

/// A join token, with its secret.
#[derive(Clone)]
pub struct JoinToken {
    token_id: Serial,
    key: SecretKey,
    net_id: NetId,
    expires: Seconds,
}

/// What the router keeps of a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenFacts {
    /// Its id.
    pub token_id: Serial,
    /// The public key of its one-time seed.
    pub key: VerifyKey,
    /// The first second at which it is no longer accepted.
    pub expires: Seconds,
}

impl JoinToken {
    /// A fresh token for a network.
    #[must_use]
    pub fn generate(net_id: NetId, expires: Seconds) -> Self {
        Self { token_id: random::serial(), key: SecretKey::generate(), net_id, expires }
    }

    /// What the router keeps.
    #[must_use]
    pub fn facts(&self) -> TokenFacts {
        TokenFacts { token_id: self.token_id, key: self.key.public(), expires: self.expires }
    }

    /// Its id.
    #[must_use]
    pub const fn token_id(&self) -> Serial {
        self.token_id
    }

    /// The network that it pins.
    #[must_use]
    pub const fn net_id(&self) -> NetId {
        self.net_id
    }

    /// The first second at which it is no longer accepted.
    #[must_use]
    pub const fn expires(&self) -> Seconds {
        self.expires
    }

    pub(crate) const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The string to paste; whoever has it can enrol one node.
    #[must_use]
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES));
        bytes.push(VERSION);
        bytes.extend_from_slice(self.token_id.as_bytes());
        bytes.extend_from_slice(self.key.seed().as_slice());
        bytes.extend_from_slice(self.net_id.as_bytes());
        bytes.extend_from_slice(&self.expires.0.to_be_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        let mut text = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        text.make_ascii_lowercase();
        Zeroizing::new(format!("{PREFIX}{}", text.as_str()))
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_secret_string())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({} until {})", self.token_id, self.expires.0)
    }
}

impl FromStr for JoinToken {
    type Err = TokenSyntax;

    fn from_str(text: &str) -> Result<Self, TokenSyntax> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TokenSyntax::Shape)?;
        if body.len() != TEXT || body.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(TokenSyntax::Shape);
        }
        let upper = Zeroizing::new(body.to_ascii_uppercase());
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(upper.as_bytes()).map_err(|_| TokenSyntax::Shape)?);
        let (signed, found) = bytes.split_at_checked(BYTES - CHECK).ok_or(TokenSyntax::Shape)?;
        if found != check(signed) {
            return Err(TokenSyntax::Check);
        }
        let (version, rest) = signed.split_first().ok_or(TokenSyntax::Shape)?;
        if *version != VERSION {
            return Err(TokenSyntax::Version(*version));
        }
        fields(rest).ok_or(TokenSyntax::Shape)
    }
}

fn fields(rest: &[u8]) -> Option<JoinToken> {
    let (token_id, rest) = rest.split_at_checked(16)?;
    let (seed, rest) = rest.split_at_checked(32)?;
    let (net_id, expires) = rest.split_at_checked(32)?;
    Some(JoinToken {
        token_id: Serial::from_slice(token_id)?,
        key: SecretKey::from_seed(seed.try_into().ok()?),
        net_id: NetId::from_slice(net_id)?,
        expires: Seconds(u64::from_be_bytes(expires.try_into().ok()?)),
    })
}

fn check(signed: &[u8]) -> [u8; CHECK] {
    let hash = digest::derive(context::JOIN_TOKEN, &[signed]);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

const PREFIX: &str = "cfjoin1";
const VERSION: u8 = 1;
const CHECK: usize = 4;
const BYTES: usize = 1 + 16 + 32 + 32 + 8 + CHECK;
/// ⌈93 × 8 / 5⌉ characters.
const TEXT: usize = 149;
