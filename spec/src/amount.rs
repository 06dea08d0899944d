//! Money and token counts: integers with their unit in the name. Arithmetic on them is checked where it happens.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
        )]
        #[cbor(transparent)]
        #[serde(transparent)]
        pub struct $name(#[n(0)] pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The sum, or `None` where it does not fit.
            #[must_use]
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            /// The difference, or `None` where it does not fit.
            #[must_use]
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }
        }
    };
}

amount!(
    /// Millionths of the network's currency unit.
    MicroUsd, u64
);
amount!(
    /// Hundredths of the network's currency unit; negative only for a carried deficit.
    Cents, i64
);
amount!(
    /// Whole tokens, as the router's tokenizer counts them.
    TokenCount, u64
);
amount!(
    /// Millionths of a token: what nodes are credited in.
    MicroTokens, u64
);

impl TokenCount {
    /// The same count in millionths, or `None` where it does not fit.
    #[must_use]
    pub fn micro(self) -> Option<MicroTokens> {
        self.0.checked_mul(1_000_000).map(MicroTokens)
    }
}
