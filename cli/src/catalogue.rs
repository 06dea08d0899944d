//! The models that the network is made for: who made them, under which licence, what for, and how large they are.

use clap::ValueEnum;
use counterfoil_model::{ElementType, Like, ModelConfig, Parameters, Quant, WeightBytes};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// What a model is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Use {
    /// Conversation
    Chat,
    /// Writing and explaining programs
    Code,
}

impl Use {
    /// As it is written in the catalogue and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Code => "code",
        }
    }
}

/// A model that is known here.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// What its makers say about it.
    pub(crate) about: About,
    /// Its configuration.
    pub(crate) config: ModelConfig,
}

/// What does not follow from a model's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// What it is called here.
    pub(crate) name: String,
    /// What its makers call it.
    pub(crate) title: String,
    /// Which configuration it has.
    like: String,
    /// Its repository on Hugging Face.
    pub(crate) source: String,
    /// An SPDX identifier, or `LicenseRef-` with a name.
    pub(crate) licence: String,
    /// The licence's own name.
    pub(crate) licence_title: String,
    /// What it is good for.
    pub(crate) tags: Vec<Use>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<About>,
}

/// The sizes that are printed: the checkpoint as it is published (16 bits), and what `model split` makes of it.
pub(crate) const QUANTS: [(&str, Quant); 3] =
    [("f16", Quant::Keep), ("q8_0", Quant::Q8_0), ("q4_k", Quant::Q4K)];

impl Entry {
    /// The catalogue inside this program.
    pub(crate) fn all() -> Result<Vec<Self>, Failure> {
        let broken = |reason: String| Failure::store(anyhow::anyhow!("the embedded catalogue: {reason}"));
        let file: File = toml::from_str(CATALOGUE).map_err(|e| broken(e.to_string()))?;
        let entries = file.model.into_iter().map(|about| {
            let like = Like::ALL.into_iter().find(|like| like.name() == about.like);
            let like = like.ok_or_else(|| broken(format!("{} is like {:?}", about.name, about.like)))?;
            Ok(Self { about, config: like.config() })
        });
        entries.collect()
    }

    /// Whether a router that says this id means this model: by its name here, its repository, or the last part of that.
    pub(crate) fn is_served_as(&self, id: &str) -> bool {
        let source = &self.about.source;
        let last = source.rsplit('/').next().unwrap_or(source);
        [&self.about.name, source, last].iter().any(|name| name.eq_ignore_ascii_case(id))
    }

    /// How many values it has.
    pub(crate) fn parameters(&self) -> Parameters {
        self.config.parameters()
    }

    /// What its tensors take once they are stored this way; those of its makers are 16-bit floats.
    pub(crate) fn bytes(&self, quant: Quant) -> WeightBytes {
        self.config.weight_bytes(quant, ElementType::F16)
    }
}

const CATALOGUE: &str = include_str!("../catalogue.toml");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::{ByteSize, count};

    #[test]
    fn the_embedded_catalogue_names_each_configuration_once() {
        let all = Entry::all().unwrap();
        let names: Vec<&str> = all.iter().map(|e| e.about.name.as_str()).collect();
        assert_eq!(names, Like::ALL.map(Like::name));
        assert!(all.iter().all(|e| e.about.like == e.about.name && !e.about.tags.is_empty()));
    }

    #[test]
    fn a_model_is_known_by_name_and_by_repository() {
        let all = Entry::all().unwrap();
        let found = |id: &str| all.iter().find(|e| e.is_served_as(id)).map(|e| e.about.name.as_str());
        assert_eq!(found("qwen1.5-moe"), Some("qwen1.5-moe"));
        assert_eq!(found("Qwen1.5-MoE-A2.7B-Chat"), Some("qwen1.5-moe"));
        assert_eq!(found("databricks/dbrx-instruct"), Some("dbrx"));
        assert_eq!((found("guide"), found("Qwen")), (None, None));
    }

    #[test]
    fn sizes_follow_from_the_configurations() {
        let shown = |e: &Entry| {
            let at = |quant| ByteSize(e.bytes(quant).expert).to_string();
            [count(e.parameters().total()), at(Quant::Keep), at(Quant::Q8_0), at(Quant::Q4K)]
        };
        let shown: Vec<_> = Entry::all().unwrap().iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                ["46.7 B", "352 MB", "187 MB", "99.0 MB"],
                ["15.7 B", "17.3 MB", "9.19 MB", "5.22 MB"],
                ["14.3 B", "17.3 MB", "9.19 MB", "5.22 MB"],
                ["132 B", "396 MB", "210 MB", "111 MB"],
            ]
        );
    }
}
