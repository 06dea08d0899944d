//! What holds for every configuration, whichever file it was read from.

use counterfoil_spec::limits::{
    MAX_CONTEXT, MAX_EXPERTS, MAX_HIDDEN, MAX_INNER, MAX_LAYERS, MAX_ROW_EXPERTS, MAX_VOCABULARY,
};

use super::{At, Attention, ModelConfig, RopeShape};
use crate::error::LoadError;

impl ModelConfig {
    /// The configuration, if it is one that can be computed within the limits.
    pub(crate) fn bounded(self, at: &At<'_>) -> Result<Self, LoadError> {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        at.size("hidden", wide(self.hidden), MAX_HIDDEN)?;
        at.count("layers", self.layers.into(), MAX_LAYERS)?;
        at.size("vocabulary", wide(self.vocab), MAX_VOCABULARY)?;
        at.size("context", wide(self.context), MAX_CONTEXT)?;
        at.size("inner", wide(self.inner), MAX_INNER)?;
        let experts = at.count("experts", self.experts.into(), MAX_EXPERTS)?;
        let experts = usize::try_from(experts).unwrap_or(usize::MAX);
        at.size("top_k", wide(self.top_k), experts.min(MAX_ROW_EXPERTS))?;
        if !(self.norm_eps.is_normal() && self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(
                at.malformed(format!("a norm's eps of {} is not a small positive number", self.norm_eps))
            );
        }
        let outside = |id: &&u32| usize::try_from(**id).is_ok_and(|id| id >= self.vocab);
        if let Some(id) = self.eos.iter().find(outside) {
            return Err(at.malformed(format!("eos_token_id {id} is outside the vocabulary")));
        }
        self.attention.bounded(at)?;
        self.rope.bounded(at)?;
        let rotated = match self.attention {
            Attention::Grouped { head_dim, .. } => head_dim,
            Attention::Latent { rope, .. } => rope,
        };
        if self.rope.dims != rotated {
            return Err(at.malformed(format!("{} of a head's {rotated} values are rotated", self.rope.dims)));
        }
        self.feed_bounded(at, experts)?;
        Ok(self)
    }

    fn feed_bounded(&self, at: &At<'_>, experts: usize) -> Result<(), LoadError> {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        if !(self.gate.scale.is_finite() && self.gate.scale > 0.0) {
            return Err(
                at.malformed(format!("a gate's scale of {} is not a positive number", self.gate.scale))
            );
        }
        if let Some(groups) = self.gate.groups {
            at.size("groups", wide(groups.groups), experts)?;
            at.size("groups kept", wide(groups.kept), groups.groups)?;
            if !experts.is_multiple_of(groups.groups) {
                return Err(at.malformed(format!("{experts} experts are not {} equal groups", groups.groups)));
            }
            let eligible = experts / groups.groups * groups.kept;
            if self.top_k > eligible {
                let (top_k, kept) = (self.top_k, groups.kept);
                return Err(
                    at.malformed(format!("{top_k} of {eligible} experts in {kept} groups are wanted"))
                );
            }
        }
        if let Some(shared) = self.shared {
            at.size("inner of the shared expert", wide(shared.inner), MAX_INNER)?;
        }
        if let Some(dense) = &self.dense {
            at.size("inner of dense layers", wide(dense.inner), MAX_INNER)?;
            let ascending = dense.layers.is_sorted_by(|a, b| a < b);
            if !ascending || dense.layers.last().is_none_or(|last| *last >= self.layers) {
                return Err(at.malformed("dense layers are not some of the layers, ascending".to_owned()));
            }
            if self.moe_layers().len() == 0 {
                return Err(at.malformed("no layer has experts".to_owned()));
            }
        }
        Ok(())
    }
}

impl Attention {
    fn bounded(&self, at: &At<'_>) -> Result<(), LoadError> {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let each = |what, n: usize| at.size(what, wide(n), MAX_HIDDEN);
        match *self {
            Self::Grouped { heads, kv_heads, head_dim, clip, .. } => {
                each("heads", heads)?;
                each("key-value heads", kv_heads)?;
                if !heads.is_multiple_of(kv_heads) {
                    return Err(
                        at.malformed(format!("{heads} query heads cannot share {kv_heads} key-value heads"))
                    );
                }
                if !rotates(head_dim) || heads.saturating_mul(head_dim) > MAX_HIDDEN {
                    return Err(at.malformed(format!("{heads} heads of {head_dim} values cannot be rotated")));
                }
                match clip {
                    Some(clip) if !(clip.is_finite() && clip > 0.0) => {
                        Err(at.malformed(format!("values cannot be cut to ±{clip}")))
                    }
                    _ => Ok(()),
                }
            }
            Self::Latent { heads, q_lora, kv_lora, nope, rope, value } => {
                each("heads", heads)?;
                if let Some(q_lora) = q_lora {
                    each("the queries' latent", q_lora)?;
                }
                each("the latent", kv_lora)?;
                each("unrotated values of a head", nope)?;
                each("values of a head's output", value)?;
                if !rotates(rope) {
                    return Err(at.malformed(format!("{heads} heads of {rope} values cannot be rotated")));
                }
                let widest = (nope + rope).max(value).max(kv_lora + rope);
                at.size("values of all heads", wide(heads.saturating_mul(widest)), MAX_INNER)?;
                Ok(())
            }
        }
    }
}

impl RopeShape {
    fn bounded(&self, at: &At<'_>) -> Result<(), LoadError> {
        if !(self.theta.is_finite() && self.theta >= 1.0) {
            return Err(at.malformed(format!("rope_theta {} is not a number of at least 1", self.theta)));
        }
        let Some(yarn) = self.yarn else { return Ok(()) };
        at.size("yarn's original context", u64::try_from(yarn.original).unwrap_or(u64::MAX), MAX_CONTEXT)?;
        if self.theta <= 1.0 {
            return Err(at.malformed("yarn needs a rope_theta above 1".to_owned()));
        }
        if !(1.0..=MAX_YARN).contains(&yarn.factor) {
            return Err(at.malformed(format!("yarn's factor {} is not from 1 to {MAX_YARN}", yarn.factor)));
        }
        let turns = |beta: f64| (1.0 / MAX_YARN..=MAX_YARN).contains(&beta);
        if !(turns(yarn.beta_fast) && turns(yarn.beta_slow) && yarn.beta_slow <= yarn.beta_fast) {
            return Err(at.malformed(format!(
                "yarn's beta_fast {} and beta_slow {} are no range of turns",
                yarn.beta_fast, yarn.beta_slow
            )));
        }
        let weight = |mscale: f64| (0.0..=MAX_YARN).contains(&mscale);
        if !(weight(yarn.mscale) && weight(yarn.mscale_all_dim)) {
            return Err(at.malformed(format!(
                "yarn's mscale {} and mscale_all_dim {} are not from 0 to {MAX_YARN}",
                yarn.mscale, yarn.mscale_all_dim
            )));
        }
        Ok(())
    }
}

/// Whether a head of this many values is whole pairs.
const fn rotates(values: usize) -> bool {
    values > 0 && values <= MAX_HIDDEN && values.is_multiple_of(2)
}

/// The greatest factor, number of turns or weight in YaRN.
const MAX_YARN: f64 = 65_536.0;
