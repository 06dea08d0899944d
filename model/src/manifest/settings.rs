//! The configuration as it stands in a manifest: every number that is computed with, in place.
//!
//! ```text
//! settings   {1: hidden, 2: layers, 3: vocabulary, 4: context, 5: norm eps, 6: tied, 7: [end-of-answer id …],
//!             8: attention, 9: rope, 10: norm, 11: inner, 12: experts, 13: top k, 14: gate, ?15: dense layers,
//!             ?16: shared expert}
//! attention  [1, [heads, kv heads, head dim, bias, ?clip]]
//!          / [2, [heads, kv lora, unrotated, rotated, value, ?q lora]]
//! rope       [theta, dims, 1 halves / 2 interleaved, ?yarn]
//! yarn       [factor, original, beta fast, beta slow, mscale, mscale all dim]
//! norm       1 root mean square / 2 layer
//! gate       [normalise, scale, ?groups]; groups [groups, kept]
//! dense      [[layer …], inner];  shared [inner, gated]
//! ```
//!
//! A float is its IEEE 754 bits as an unsigned integer: of 32 bits for norm eps, clip and scale, of 64 for the rest.

use std::path::Path;

use minicbor::{Decode, Encode};

use super::wide;
use crate::config::{
    At, Attention, DenseLayers, Family, GateRule, Groups, ModelConfig, NormKind, Pairing, RopeShape, Shared,
    Yarn,
};

/// A configuration without its family, as encoded.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Settings {
    #[n(1)]
    hidden: u64,
    #[n(2)]
    layers: u32,
    #[n(3)]
    vocab: u64,
    #[n(4)]
    context: u64,
    #[n(5)]
    norm_eps: u32,
    #[n(6)]
    tied: bool,
    #[n(7)]
    eos: Vec<u32>,
    #[n(8)]
    attention: WireAttention,
    #[n(9)]
    rope: WireRope,
    #[n(10)]
    norm: WireNorm,
    #[n(11)]
    inner: u64,
    #[n(12)]
    experts: u32,
    #[n(13)]
    top_k: u64,
    #[n(14)]
    gate: WireGate,
    #[n(15)]
    dense: Option<WireDense>,
    #[n(16)]
    shared: Option<WireShared>,
}

#[derive(Encode, Decode)]
enum WireAttention {
    #[n(1)]
    Grouped(#[n(0)] u64, #[n(1)] u64, #[n(2)] u64, #[n(3)] bool, #[n(4)] Option<u32>),
    #[n(2)]
    Latent(#[n(0)] u64, #[n(1)] u64, #[n(2)] u64, #[n(3)] u64, #[n(4)] u64, #[n(5)] Option<u64>),
}

#[derive(Encode, Decode)]
struct WireRope {
    #[n(0)]
    theta: u64,
    #[n(1)]
    dims: u64,
    #[n(2)]
    pairing: WirePairing,
    #[n(3)]
    yarn: Option<WireYarn>,
}

#[derive(Encode, Decode)]
#[cbor(index_only)]
enum WirePairing {
    #[n(1)]
    Halves,
    #[n(2)]
    Interleaved,
}

#[derive(Encode, Decode)]
struct WireYarn {
    #[n(0)]
    factor: u64,
    #[n(1)]
    original: u64,
    #[n(2)]
    beta_fast: u64,
    #[n(3)]
    beta_slow: u64,
    #[n(4)]
    mscale: u64,
    #[n(5)]
    mscale_all_dim: u64,
}

#[derive(Encode, Decode)]
#[cbor(index_only)]
enum WireNorm {
    #[n(1)]
    Rms,
    #[n(2)]
    Layer,
}

#[derive(Encode, Decode)]
struct WireGate {
    #[n(0)]
    normalise: bool,
    #[n(1)]
    scale: u32,
    #[n(2)]
    groups: Option<WireGroups>,
}

#[derive(Encode, Decode)]
struct WireGroups {
    #[n(0)]
    groups: u64,
    #[n(1)]
    kept: u64,
}

#[derive(Encode, Decode)]
struct WireDense {
    #[n(0)]
    layers: Vec<u32>,
    #[n(1)]
    inner: u64,
}

#[derive(Encode, Decode)]
struct WireShared {
    #[n(0)]
    inner: u64,
    #[n(1)]
    gated: bool,
}

impl Settings {
    pub(super) fn of(config: &ModelConfig) -> Self {
        Self {
            hidden: wide(config.hidden),
            layers: config.layers,
            vocab: wide(config.vocab),
            context: wide(config.context),
            norm_eps: config.norm_eps.to_bits(),
            tied: config.tied,
            eos: config.eos.clone(),
            attention: WireAttention::of(&config.attention),
            rope: WireRope::of(&config.rope),
            norm: match config.norm {
                NormKind::Rms => WireNorm::Rms,
                NormKind::Layer => WireNorm::Layer,
            },
            inner: wide(config.inner),
            experts: config.experts,
            top_k: wide(config.top_k),
            gate: WireGate {
                normalise: config.gate.normalise,
                scale: config.gate.scale.to_bits(),
                groups: config.gate.groups.map(|g| WireGroups { groups: wide(g.groups), kept: wide(g.kept) }),
            },
            dense: config
                .dense
                .as_ref()
                .map(|d| WireDense { layers: d.layers.clone(), inner: wide(d.inner) }),
            shared: config.shared.map(|s| WireShared { inner: wide(s.inner), gated: s.gated }),
        }
    }

    /// The configuration, held to every limit that one from a file is held to.
    pub(super) fn into_config(self, family: Family) -> Result<ModelConfig, String> {
        let config = ModelConfig {
            family,
            hidden: narrow(self.hidden)?,
            layers: self.layers,
            vocab: narrow(self.vocab)?,
            context: narrow(self.context)?,
            norm_eps: f32::from_bits(self.norm_eps),
            tied: self.tied,
            eos: self.eos,
            attention: self.attention.into_attention()?,
            rope: self.rope.into_rope()?,
            norm: match self.norm {
                WireNorm::Rms => NormKind::Rms,
                WireNorm::Layer => NormKind::Layer,
            },
            inner: narrow(self.inner)?,
            experts: self.experts,
            top_k: narrow(self.top_k)?,
            gate: GateRule {
                normalise: self.gate.normalise,
                scale: f32::from_bits(self.gate.scale),
                groups: match self.gate.groups {
                    Some(g) => Some(Groups { groups: narrow(g.groups)?, kept: narrow(g.kept)? }),
                    None => None,
                },
            },
            dense: match self.dense {
                Some(d) => Some(DenseLayers { layers: d.layers, inner: narrow(d.inner)? }),
                None => None,
            },
            shared: match self.shared {
                Some(s) => Some(Shared { inner: narrow(s.inner)?, gated: s.gated }),
                None => None,
            },
        };
        config.bounded(&At(Path::new("manifest"))).map_err(|e| e.to_string())
    }
}

impl WireAttention {
    fn of(attention: &Attention) -> Self {
        match *attention {
            Attention::Grouped { heads, kv_heads, head_dim, bias, clip } => {
                Self::Grouped(wide(heads), wide(kv_heads), wide(head_dim), bias, clip.map(f32::to_bits))
            }
            Attention::Latent { heads, q_lora, kv_lora, nope, rope, value } => Self::Latent(
                wide(heads),
                wide(kv_lora),
                wide(nope),
                wide(rope),
                wide(value),
                q_lora.map(wide),
            ),
        }
    }

    fn into_attention(self) -> Result<Attention, String> {
        Ok(match self {
            Self::Grouped(heads, kv_heads, head_dim, bias, clip) => Attention::Grouped {
                heads: narrow(heads)?,
                kv_heads: narrow(kv_heads)?,
                head_dim: narrow(head_dim)?,
                bias,
                clip: clip.map(f32::from_bits),
            },
            Self::Latent(heads, kv_lora, nope, rope, value, q_lora) => Attention::Latent {
                heads: narrow(heads)?,
                q_lora: q_lora.map(narrow).transpose()?,
                kv_lora: narrow(kv_lora)?,
                nope: narrow(nope)?,
                rope: narrow(rope)?,
                value: narrow(value)?,
            },
        })
    }
}

impl WireRope {
    fn of(rope: &RopeShape) -> Self {
        Self {
            theta: rope.theta.to_bits(),
            dims: wide(rope.dims),
            pairing: match rope.pairing {
                Pairing::Halves => WirePairing::Halves,
                Pairing::Interleaved => WirePairing::Interleaved,
            },
            yarn: rope.yarn.map(|yarn| WireYarn {
                factor: yarn.factor.to_bits(),
                original: wide(yarn.original),
                beta_fast: yarn.beta_fast.to_bits(),
                beta_slow: yarn.beta_slow.to_bits(),
                mscale: yarn.mscale.to_bits(),
                mscale_all_dim: yarn.mscale_all_dim.to_bits(),
            }),
        }
    }

    fn into_rope(self) -> Result<RopeShape, String> {
        let yarn = match self.yarn {
            Some(yarn) => Some(Yarn {
                factor: f64::from_bits(yarn.factor),
                original: narrow(yarn.original)?,
                beta_fast: f64::from_bits(yarn.beta_fast),
                beta_slow: f64::from_bits(yarn.beta_slow),
                mscale: f64::from_bits(yarn.mscale),
                mscale_all_dim: f64::from_bits(yarn.mscale_all_dim),
            }),
            None => None,
        };
        Ok(RopeShape {
            theta: f64::from_bits(self.theta),
            dims: narrow(self.dims)?,
            pairing: match self.pairing {
                WirePairing::Halves => Pairing::Halves,
                WirePairing::Interleaved => Pairing::Interleaved,
            },
            yarn,
        })
    }
}

fn narrow(n: u64) -> Result<usize, String> {
    usize::try_from(n).map_err(|_| format!("{n} is more than can be counted here"))
}
