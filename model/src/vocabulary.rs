//! Text to token ids and back, and conversations to text.

mod gguf;
mod sound;
mod words;

use std::path::{Path, PathBuf};

use counterfoil_spec::ids::Hash;
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::config::json;
use crate::error::LoadError;
use crate::manifest::wide;
use crate::stream::TextStream;
use crate::template::{ChatTemplate, Marks};

use sound::Sound;

pub(crate) use gguf::endings;

/// A tokenizer and, where the model has one, its chat template.
pub struct Vocabulary {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

/// A text that cannot be turned into token ids, or the reverse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tokenizer refused: {0}")]
pub struct TokenizeError(pub(crate) String);

/// The files that a vocabulary is made of, as read.
#[derive(Default)]
pub(crate) struct VocabularyFiles {
    pub(crate) tokenizer: Option<(PathBuf, Vec<u8>)>,
    pub(crate) settings: Option<(PathBuf, Vec<u8>)>,
    pub(crate) template: Option<(PathBuf, Vec<u8>)>,
}

impl VocabularyFiles {
    /// What the manifest holds of them.
    pub(crate) fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("counterfoil v1 vocabulary");
        let tokenizer = self.tokenizer.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        let template = self.settings().ok().and_then(|settings| self.template_text(settings).ok().flatten());
        let template = template.map(|(_, text)| text).unwrap_or_default();
        for part in [tokenizer, template.as_bytes()] {
            hasher.update(&wide(part.len()).to_le_bytes());
            hasher.update(part);
        }
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The bytes of tokenizer, settings and template, where they are.
    pub(crate) fn parts(&self) -> [Option<&[u8]>; 3] {
        [&self.tokenizer, &self.settings, &self.template].map(|part| Some(part.as_ref()?.1.as_slice()))
    }

    /// Whether there is a chat template that could be read.
    pub(crate) fn has_template(&self) -> bool {
        self.settings().is_ok_and(|settings| self.template_text(settings).is_ok_and(|text| text.is_some()))
    }

    fn settings(&self) -> Result<Settings, LoadError> {
        self.settings.as_ref().map_or_else(|| Ok(Settings::default()), |(file, bytes)| json(file, bytes))
    }

    /// `chat_template.jinja`, else the default template of `tokenizer_config.json`.
    fn template_text(&self, settings: Settings) -> Result<Option<(&Path, String)>, LoadError> {
        if let Some((file, bytes)) = &self.template {
            let text = String::from_utf8(bytes.clone())
                .map_err(|e| LoadError::Malformed { file: file.clone(), reason: e.to_string() })?;
            return Ok(Some((file, text)));
        }
        let file = self.settings.as_ref().map_or(Path::new("tokenizer_config.json"), |(file, _)| file);
        let text = match settings.chat_template {
            None => None,
            Some(Templates::One(text)) => Some(text),
            Some(Templates::Named(all)) => all.into_iter().find(|t| t.name == "default").map(|t| t.template),
        };
        Ok(text.map(|text| (file, text)))
    }
}

#[derive(Default, Deserialize)]
struct Settings {
    bos_token: Option<Special>,
    eos_token: Option<Special>,
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Special {
    Text(String),
    Described { content: String },
}

impl Special {
    fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Described { content: text } => text.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl Vocabulary {
    pub(crate) fn load(files: &VocabularyFiles) -> Result<Self, LoadError> {
        let Some((file, bytes)) = &files.tokenizer else {
            let file = PathBuf::from("tokenizer.json");
            return Err(LoadError::Io { file, source: std::io::ErrorKind::NotFound.into() });
        };
        let malformed = |reason: String| LoadError::Malformed { file: file.clone(), reason };
        serde_json::from_slice::<Sound>(bytes).map_err(|e| malformed(e.to_string()))?;
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| malformed(e.to_string()))?;
        let settings = files.settings()?;
        for special in [&settings.bos_token, &settings.eos_token].into_iter().flatten().map(Special::text) {
            if tokenizer.token_to_id(&special).is_none() {
                let reason = format!("it has not the token {special:?}, which the model's settings name");
                return Err(LoadError::Malformed { file: file.clone(), reason });
            }
        }
        let text = |special: &Option<Special>| special.as_ref().map(Special::text).unwrap_or_default();
        let marks = Marks { bos: text(&settings.bos_token), eos: text(&settings.eos_token) };
        let template = match files.template_text(settings)? {
            None => None,
            Some((file, text)) => Some(
                ChatTemplate::parse(&text, marks)
                    .map_err(|e| LoadError::Malformed { file: file.to_path_buf(), reason: e.to_string() })?,
            ),
        };
        Ok(Self { tokenizer, template })
    }

    /// Text to token ids. Special tokens are recognised where they stand in the text (a rendered conversation has
    /// them); none are added.
    ///
    /// # Errors
    /// [`TokenizeError`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|e| TokenizeError(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids to text, special tokens left out.
    ///
    /// # Errors
    /// [`TokenizeError`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizeError> {
        self.tokenizer.decode(ids, true).map_err(|e| TokenizeError(e.to_string()))
    }

    /// Decodes ids one by one, never splitting a character.
    #[must_use]
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    /// The id of a token's exact text; `None` where it is no token.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Every id is one that the model has a row for.
    pub(crate) fn expect_within(&self, file: &Path, vocabulary: usize) -> Result<(), LoadError> {
        let known = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < vocabulary);
        match self
            .tokenizer
            .get_vocab(true)
            .into_iter()
            .filter(|(_, id)| !known(id))
            .min_by_key(|(_, id)| *id)
        {
            None => Ok(()),
            Some((token, id)) => Err(LoadError::Malformed {
                file: file.to_path_buf(),
                reason: format!(
                    "its token {token:?} has the id {id}, and the model has {vocabulary} rows of embeddings"
                ),
            }),
        }
    }

    /// How many ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Whether there is no id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chat template; `None` for a model that was not taught to converse.
    #[must_use]
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }
}

#[cfg(test)]
mod tests;
