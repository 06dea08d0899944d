//! What a router's `/v1/models` says about a model that it serves.
//!
//! Members under `hosted` are taken where they are there: a router of an older release says only whether the model is
//! available, and why it is not.

use serde_json::{Value, json};

/// A model as the router tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coverage {
    pub(super) id: String,
    pub(super) available: bool,
    /// Why it is not available.
    pub(super) reason: Option<String>,
    pub(super) manifest: Option<String>,
    pub(super) family: Option<String>,
    pub(super) layers: Option<u64>,
    pub(super) experts: Option<u64>,
    pub(super) top_k: Option<u64>,
    pub(super) context: Option<u64>,
    pub(super) hosted: Hosted,
}

/// How its experts are spread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hosted {
    /// Experts that some node holds.
    pub(super) experts: Option<u64>,
    /// Of how many.
    pub(super) experts_in_all: Option<u64>,
    /// How many nobody holds.
    pub(super) missing: Option<u64>,
    /// The first of those, as (layer, expert).
    pub(super) missing_first: Vec<(u64, u64)>,
    /// On how many nodes the rarest expert is.
    pub(super) replicas_min: Option<u64>,
    /// On how many nodes half of the experts are at least.
    pub(super) replicas_median: Option<u64>,
    /// Nodes that hold any.
    pub(super) nodes: Option<u64>,
}

impl Coverage {
    /// Every model of an answer.
    pub(super) fn all(answer: &Value) -> Vec<Self> {
        let models = answer.get("data").and_then(Value::as_array);
        models.into_iter().flatten().filter_map(Self::of).collect()
    }

    fn of(model: &Value) -> Option<Self> {
        let text = |name: &str| model.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| model.get(name).and_then(Value::as_u64);
        Some(Self {
            id: text("id")?,
            available: model.get("available") == Some(&Value::Bool(true)),
            reason: text("reason"),
            manifest: text("manifest"),
            family: text("family"),
            layers: number("layers"),
            experts: number("experts"),
            top_k: number("top_k"),
            context: number("context"),
            hosted: model.get("hosted").map(Hosted::of).unwrap_or_default(),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let h = &self.hosted;
        json!({
            "id": self.id, "available": self.available, "reason": self.reason, "manifest": self.manifest,
            "experts": h.experts, "experts_in_all": h.experts_in_all, "missing": h.missing,
            "missing_first": h.missing_first, "replicas_min": h.replicas_min, "replicas_median": h.replicas_median,
            "nodes": h.nodes,
        })
    }
}

impl Hosted {
    fn of(hosted: &Value) -> Self {
        let number = |name: &str| hosted.get(name).and_then(Value::as_u64);
        let pair = |pair: &Value| Some((pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?));
        let first = hosted.get("missing_first").and_then(Value::as_array);
        Self {
            experts: number("experts"),
            experts_in_all: number("experts_in_all"),
            missing: number("missing"),
            missing_first: first.into_iter().flatten().filter_map(pair).collect(),
            replicas_min: number("replicas_min"),
            replicas_median: number("replicas_median"),
            nodes: number("nodes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_says_little_is_understood() {
        let answer =
            json!({ "data": [{ "id": "guide", "available": false, "reason": "no node", "top_k": 2 }, {}] });
        let [found] = Coverage::all(&answer).try_into().unwrap();
        assert_eq!(
            (found.available, found.reason.as_deref(), found.top_k),
            (false, Some("no node"), Some(2))
        );
        assert_eq!(found.hosted, Hosted::default());
        assert_eq!(found.to_json()["replicas_min"], Value::Null);
    }

    #[test]
    fn coverage_is_taken_over() {
        let answer = json!({ "data": [{ "id": "dbrx", "available": false, "hosted": {
            "experts": 638, "experts_in_all": 640, "missing": 2, "missing_first": [[3, 0], [39, 15], "?"],
            "replicas_min": 0, "replicas_median": 2, "nodes": 5,
        }}]});
        let [found] = Coverage::all(&answer).try_into().unwrap();
        assert_eq!(found.hosted.missing_first, [(3, 0), (39, 15)]);
        let said = found.to_json();
        assert_eq!((&said["experts"], &said["missing"], &said["nodes"]), (&json!(638), &json!(2), &json!(5)));
        assert_eq!(said["missing_first"], json!([[3, 0], [39, 15]]));
    }
}
