//! Sets of purposes and of ways of serving, one bit each.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! bits {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $flag:ident = $bit:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
        #[cbor(transparent)]
        #[serde(transparent)]
        pub struct $name(#[n(0)] u32);

        impl $name {
            $($(#[$vdoc])* pub const $flag: Self = Self(1 << $bit);)+
            /// Every bit that has a meaning.
            pub const KNOWN: Self = Self(0 $(| 1 << $bit)+);

            /// Reads a bit set; `None` where a bit without meaning is set.
            #[must_use]
            pub const fn from_bits(bits: u32) -> Option<Self> {
                if bits & !Self::KNOWN.0 == 0 { Some(Self(bits)) } else { None }
            }

            /// The raw bits.
            #[must_use]
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// Whether only bits with a meaning are set.
            #[must_use]
            pub const fn is_known(self) -> bool {
                self.0 & !Self::KNOWN.0 == 0
            }

            /// Both sets together.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether all of `other` is in `self` and `other` is not empty.
            #[must_use]
            pub const fn allows(self, other: Self) -> bool {
                other.0 != 0 && self.0 & other.0 == other.0
            }

            /// The names of the bits that are set, in order.
            #[must_use]
            pub fn names(self) -> Vec<&'static str> {
                let mut out = Vec::new();
                $(if self.0 & Self::$flag.0 != 0 { out.push($text); })+
                out
            }
        }
    };
}

bits! {
    /// What a request is for; a purpose that is not set is denied.
    Purposes {
        /// Conversation.
        CHAT = 0, "chat";
        /// Writing and completing programs.
        CODE = 1, "code";
        /// Embeddings.
        EMBEDDING = 2, "embedding";
        /// Measuring a model's quality.
        EVALUATION = 3, "evaluation";
        /// Checking that a node computes what it says.
        VERIFICATION = 4, "verification";
    }
}

bits! {
    /// How a node serves.
    Serving {
        /// Expert forward passes only.
        EXPERT = 0, "expert";
        /// Contiguous layers with their attention.
        SEGMENT = 1, "segment";
        /// Whole models: the node sees the prompt's text.
        WHOLE = 2, "whole";
        /// May forward to a third party that the notice names.
        THIRD_PARTY = 3, "third-party";
    }
}
