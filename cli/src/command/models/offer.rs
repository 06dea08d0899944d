//! What of a model finds room here.

use counterfoil_model::WeightBytes;
use serde_json::{Value, json};

use crate::catalogue::{Entry, QUANTS};

/// A model at one quantisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Size {
    /// What the quantisation is called.
    pub(super) quant: &'static str,
    /// Bytes of its parts.
    pub(super) bytes: WeightBytes,
    /// Experts of one layer.
    pub(super) per_layer: u64,
    /// What finds room; `None` where it is not known how much room there is.
    pub(super) host: Option<Host>,
}

/// How much of a model fits, each line as if nothing else were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host {
    /// Experts of any layers.
    pub(super) experts: u64,
    /// Of how many.
    pub(super) experts_in_all: u64,
    /// Layers with all of their experts.
    pub(super) layers: u64,
    /// Of how many that have experts.
    pub(super) layers_in_all: u64,
    /// Whether a router's part does.
    pub(super) dense: bool,
    /// Whether a router's part and all experts do, together.
    pub(super) whole: bool,
}

/// A model at each quantisation, and what of it fits into `room` bytes of memory and disk.
pub(super) fn sizes(entry: &Entry, room: Option<u64>) -> Vec<Size> {
    let layers = super::wide(entry.config.moe_layers().len());
    let per_layer = u64::from(entry.config.experts);
    QUANTS
        .map(|(name, quant)| {
            let bytes = entry.bytes(quant);
            let host = room.map(|room| fit(&bytes, per_layer, layers, room));
            Size { quant: name, bytes, per_layer, host }
        })
        .to_vec()
}

fn fit(bytes: &WeightBytes, per_layer: u64, layers: u64, room: u64) -> Host {
    let in_all = per_layer.saturating_mul(layers);
    let experts = room.checked_div(bytes.expert).unwrap_or(0).min(in_all);
    Host {
        experts,
        experts_in_all: in_all,
        layers: experts.checked_div(per_layer).unwrap_or(0),
        layers_in_all: layers,
        dense: bytes.dense <= room,
        whole: bytes.total() <= room,
    }
}

impl Size {
    /// Bytes of one layer's experts.
    pub(super) const fn layer(&self) -> u64 {
        self.bytes.expert.saturating_mul(self.per_layer)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "quant": self.quant, "expert_bytes": self.bytes.expert, "layer_bytes": self.layer(),
            "experts_bytes": self.bytes.experts, "dense_bytes": self.bytes.dense, "total_bytes": self.bytes.total(),
            "host": self.host.map(|h| json!({
                "experts": h.experts, "experts_in_all": h.experts_in_all,
                "layers": h.layers, "layers_in_all": h.layers_in_all,
                "all_experts": h.experts == h.experts_in_all, "dense": h.dense, "whole": h.whole,
            })),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers of three experts of ten bytes, and a dense part of twenty.
    fn hosted(room: u64) -> (u64, u64, bool, bool) {
        let bytes = WeightBytes { expert: 10, experts: 60, dense: 20 };
        let host = fit(&bytes, 3, 2, room);
        assert_eq!((host.experts_in_all, host.layers_in_all), (6, 2));
        (host.experts, host.layers, host.dense, host.whole)
    }

    #[test]
    fn room_is_filled_and_never_exceeded() {
        assert_eq!(hosted(0), (0, 0, false, false));
        assert_eq!(hosted(19), (1, 0, false, false));
        assert_eq!(hosted(29), (2, 0, true, false));
        assert_eq!(hosted(30), (3, 1, true, false));
        assert_eq!(hosted(79), (6, 2, true, false));
        assert_eq!(hosted(80), (6, 2, true, true));
        assert_eq!(hosted(u64::MAX), (6, 2, true, true));
    }
}
