//! The keys about rotation. Older checkpoints carry `rope_theta` and `rope_scaling` at the top, transformers 5 writes
//! `rope_parameters` (`modeling_rope_utils.py` of 5.23); both are read, and where both speak they must agree.

use counterfoil_spec::limits::MAX_CONTEXT;
use serde::Deserialize;

use super::{At, Yarn};
use crate::error::LoadError;

/// `rope_parameters` or `rope_scaling`.
#[derive(Deserialize)]
pub(super) struct RawRope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    /// The older name of `rope_type`. Newer versions of transformers write both.
    #[serde(rename = "type")]
    older_type: Option<String>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<u64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    attention_factor: Option<f64>,
    truncate: Option<bool>,
    partial_rotary_factor: Option<f64>,
}

/// What `config.json` says about rotation at the top.
pub(super) struct RopeKeys<'a> {
    /// `rope_theta`
    pub(super) theta: Option<f64>,
    /// `rope_scaling`
    pub(super) scaling: Option<&'a RawRope>,
    /// `rope_parameters`
    pub(super) parameters: Option<&'a RawRope>,
}

impl RopeKeys<'_> {
    /// The base of the frequencies.
    pub(super) fn theta(&self, at: &At<'_>, default: f64) -> Result<f64, LoadError> {
        let inner = self.parameters.and_then(|rope| rope.rope_theta);
        if let (Some(a), Some(b)) = (inner, self.theta)
            && a.to_bits() != b.to_bits()
        {
            return Err(at.malformed(format!("rope_parameters says rope_theta {a}, the top level says {b}")));
        }
        Ok(inner.or(self.theta).unwrap_or(default))
    }

    /// Refuses everything but plain rotation.
    pub(super) fn plain(&self, at: &At<'_>) -> Result<(), LoadError> {
        for rope in self.given() {
            at.only("rope_type", rope.kind(at)?, &"default".to_owned())?;
            at.only("partial_rotary_factor", rope.partial_rotary_factor.as_ref(), &1.0)?;
        }
        Ok(())
    }

    /// YaRN's numbers, where it is asked for.
    pub(super) fn yarn(&self, at: &At<'_>) -> Result<Option<Yarn>, LoadError> {
        let mut found: Option<Option<Yarn>> = None;
        for rope in self.given() {
            at.only("partial_rotary_factor", rope.partial_rotary_factor.as_ref(), &1.0)?;
            let yarn = match rope.kind(at)?.map(String::as_str) {
                None | Some("default") => None,
                Some("yarn") => Some(rope.yarn(at)?),
                Some(other) => return Err(at.unsupported("rope_type", other, "default or yarn")),
            };
            if found.replace(yarn).is_some_and(|before| before != yarn) {
                return Err(at.malformed("rope_parameters and rope_scaling disagree".to_owned()));
            }
        }
        Ok(found.flatten())
    }

    fn given(&self) -> impl Iterator<Item = &RawRope> {
        [self.parameters, self.scaling].into_iter().flatten()
    }
}

impl RawRope {
    /// `rope_type`, under either of its names.
    fn kind(&self, at: &At<'_>) -> Result<Option<&String>, LoadError> {
        if let (Some(newer), Some(older)) = (&self.rope_type, &self.older_type)
            && newer != older
        {
            return Err(at.malformed(format!("rotation has the rope_type {newer} and the type {older}")));
        }
        Ok(self.rope_type.as_ref().or(self.older_type.as_ref()))
    }

    fn yarn(&self, at: &At<'_>) -> Result<Yarn, LoadError> {
        if let Some(found) = self.attention_factor {
            return Err(at.unsupported("attention_factor", &found.to_string(), "null"));
        }
        at.only("truncate", self.truncate.as_ref(), &true)?;
        let wanted = |key: &str| at.malformed(format!("yarn needs {key}"));
        let factor = self.factor.ok_or_else(|| wanted("factor"))?;
        let original = self.original_max_position_embeddings;
        let original = original.ok_or_else(|| wanted("original_max_position_embeddings"))?;
        Ok(Yarn {
            factor,
            original: at.size("original_max_position_embeddings", original, MAX_CONTEXT)?,
            beta_fast: self.beta_fast.unwrap_or(32.0),
            beta_slow: self.beta_slow.unwrap_or(1.0),
            mscale: self.mscale.unwrap_or(0.0),
            mscale_all_dim: self.mscale_all_dim.unwrap_or(0.0),
        })
    }
}
