//! A tokenizer out of a GGUF file's settings, as the `tokenizer.json` that it would be in a Hugging Face folder.
//!
//! ```text
//! tokenizer.ggml.model          gpt2: byte-level BPE   llama: SentencePiece BPE, with scores instead of merges
//! tokenizer.ggml.pre            how text is cut into words before (gpt2)
//! tokenizer.ggml.tokens         the text of every id
//! tokenizer.ggml.token_type     1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
//! tokenizer.ggml.scores         (llama) the greater is merged first
//! tokenizer.ggml.merges         (gpt2) "left right", the first is merged first
//! tokenizer.ggml.*_token_id     bos, eos, eot, eom, unknown
//! tokenizer.chat_template       Jinja
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use counterfoil_spec::limits::MAX_TOKEN_BYTES;

use super::VocabularyFiles;
use super::words::{decoder, normalizer, words};
use crate::error::LoadError;
use crate::gguf::Gguf;
use crate::manifest::wide;

impl VocabularyFiles {
    /// The files that a Hugging Face folder would hold; none where the file carries no tokenizer.
    pub(crate) fn of_gguf(file: &Gguf<'_>) -> Result<Self, LoadError> {
        let tokenizer = match file.text("tokenizer.ggml.model")? {
            None | Some("none" | "no_vocab") => {
                return Ok(Self { tokenizer: None, settings: None, template: None });
            }
            Some("gpt2") => Listed::read(file)?.byte_level(file)?,
            Some("llama") => Listed::read(file)?.sentence_pieces(file)?,
            Some(other) => {
                return Err(LoadError::Unsupported {
                    file: file.path().to_path_buf(),
                    key: "tokenizer.ggml.model",
                    found: other.chars().take(80).collect(),
                    expected: "gpt2 or llama".to_owned(),
                });
            }
        };
        let named = |bytes: Vec<u8>| Some((file.path().to_path_buf(), bytes));
        let template = match file.text("tokenizer.chat_template")? {
            Some(template) => Some(template),
            None => file.text("tokenizer.chat_template.default")?,
        };
        let settings = marks(file)?;
        Ok(Self {
            tokenizer: named(tokenizer.to_string().into_bytes()),
            settings: named(settings.to_string().into_bytes()),
            template: template.and_then(|text| named(text.as_bytes().to_vec())),
        })
    }
}

/// The ids that end an answer: those that the file names, and tokens that end a message in the templates of the
/// families, as such files often name only the one that ends a text.
pub(crate) fn endings(file: &Gguf<'_>) -> Result<Vec<u32>, LoadError> {
    if file.array("tokenizer.ggml.tokens")?.is_none() {
        return Ok(Vec::new());
    }
    let listed = Listed::read(file)?;
    let mut ids = Vec::new();
    for key in ["eos", "eot", "eom"] {
        ids.extend(listed.named(file, key)?);
    }
    if ids.is_empty() {
        return Err(file.malformed("tokenizer.ggml.eos_token_id is missing".to_owned()));
    }
    let ends = |(id, token): (u32, &&str)| {
        (listed.kind(id) == CONTROL && MESSAGE_ENDS.contains(token)).then_some(id)
    };
    ids.extend((0..).zip(&listed.tokens).filter_map(ends));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// What `tokenizer_config.json` would say.
fn marks(file: &Gguf<'_>) -> Result<Value, LoadError> {
    let listed = Listed::read(file)?;
    let mut marks = Map::new();
    for key in ["bos", "eos"] {
        let id = listed.named(file, key)?.and_then(|id| usize::try_from(id).ok());
        if let Some(token) = id.and_then(|id| listed.tokens.get(id)) {
            marks.insert(format!("{key}_token"), json!(token));
        }
    }
    Ok(Value::Object(marks))
}

/// The tokens and their types.
struct Listed<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<i64>,
}

impl<'a> Listed<'a> {
    fn read(file: &Gguf<'a>) -> Result<Self, LoadError> {
        let listed = file.array("tokenizer.ggml.tokens")?;
        let listed = listed.ok_or_else(|| file.malformed("tokenizer.ggml.tokens is missing".to_owned()))?;
        let tokens = texts(file, "tokenizer.ggml.tokens", listed)?;
        let kinds: Vec<i64> = match file.array("tokenizer.ggml.token_type")? {
            None => Vec::new(),
            Some(array) => match array.integers().filter(|_| array.len() == tokens.len()) {
                Some(kinds) => kinds.collect(),
                None => {
                    let reason = format!("tokenizer.ggml.token_type is not {} whole numbers", tokens.len());
                    return Err(file.malformed(reason));
                }
            },
        };
        Ok(Self { tokens, kinds })
    }

    /// 1 where nothing is said.
    fn kind(&self, id: u32) -> i64 {
        usize::try_from(id).ok().and_then(|id| self.kinds.get(id)).copied().unwrap_or(NORMAL)
    }

    /// The id that a setting gives.
    fn named(&self, file: &Gguf<'_>, which: &str) -> Result<Option<u32>, LoadError> {
        let key = format!("tokenizer.ggml.{which}_token_id");
        let Some(id) = file.unsigned(&key)? else { return Ok(None) };
        let inside = usize::try_from(id).is_ok_and(|id| id < self.tokens.len());
        let id = u32::try_from(id).ok().filter(|_| inside);
        id.map(Some)
            .ok_or_else(|| file.malformed(format!("{key} is not one of {} tokens", self.tokens.len())))
    }

    /// Every token to its id.
    fn vocabulary(&self, file: &Gguf<'_>) -> Result<BTreeMap<&'a str, u32>, LoadError> {
        let mut ids = BTreeMap::new();
        for (id, token) in (0..).zip(&self.tokens) {
            if token.len() > MAX_TOKEN_BYTES {
                return Err(LoadError::TooLarge {
                    file: file.path().to_path_buf(),
                    what: "bytes of a token",
                    found: wide(token.len()),
                    limit: wide(MAX_TOKEN_BYTES),
                });
            }
            if let Some(other) = ids.insert(*token, id) {
                let reason = format!("tokenizer.ggml.tokens has {token:?} twice, as {other} and {id}");
                return Err(file.malformed(reason));
            }
        }
        Ok(ids)
    }

    /// The tokens that are looked for in a text before anything else.
    fn added(&self) -> Vec<Value> {
        let added = |(id, token): (u32, &&str)| {
            let special = match self.kind(id) {
                CONTROL | UNKNOWN => true,
                USER_DEFINED => false,
                _ => return None,
            };
            Some(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special,
            }))
        };
        (0..).zip(&self.tokens).filter(|(_, token)| !token.is_empty()).filter_map(added).collect()
    }

    fn byte_level(&self, file: &Gguf<'_>) -> Result<Value, LoadError> {
        let ids = self.vocabulary(file)?;
        let listed = file.array("tokenizer.ggml.merges")?;
        let listed = listed.ok_or_else(|| file.malformed("tokenizer.ggml.merges is missing".to_owned()))?;
        let mut merges = Vec::with_capacity(listed.len());
        for (at, text) in texts(file, "tokenizer.ggml.merges", listed)?.into_iter().enumerate() {
            // A space may stand first, as a token of its own.
            let cut = text.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
            let pair = cut.and_then(|cut| Some((text.get(..cut)?, text.get(cut + 1..)?)));
            let known = pair.filter(|(left, right)| {
                ids.contains_key(left)
                    && ids.contains_key(right)
                    && ids.contains_key([*left, *right].concat().as_str())
            });
            let (left, right) = known.ok_or_else(|| {
                file.malformed(format!("tokenizer.ggml.merges {at}, {text:?}, joins what are no tokens"))
            })?;
            merges.push(json!([left, right]));
        }
        let pre = words(file)?;
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": pre.whole_words_first, "vocab": ids, "merges": merges,
        });
        Ok(self.tokenizer(pre.normalizer, pre.cuts, decoder(), model))
    }

    fn sentence_pieces(&self, file: &Gguf<'_>) -> Result<Value, LoadError> {
        let ids = self.vocabulary(file)?;
        let scores = file.array("tokenizer.ggml.scores")?.and_then(|array| array.singles());
        let scores: Vec<f32> = scores.into_iter().flatten().collect();
        if scores.len() != self.tokens.len() || scores.iter().any(|score| score.is_nan()) {
            let reason = format!("tokenizer.ggml.scores is not {} numbers", self.tokens.len());
            return Err(file.malformed(reason));
        }
        let prefix = file.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let unknown =
            (0..).find(|id| self.kind(*id) == UNKNOWN || usize::try_from(*id) == Ok(self.tokens.len()));
        let unknown = unknown.and_then(|id| self.tokens.get(usize::try_from(id).ok()?));
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": ids, "merges": self.merges(&ids, &scores),
        });
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let decoder = json!({"type": "Sequence", "decoders": decoders});
        Ok(self.tokenizer(normalizer(prefix), Value::Null, decoder, model))
    }

    /// All ways to make a piece of two others, the piece of the greatest score first; of equal ones, that with the
    /// longer left part.
    fn merges(&self, ids: &BTreeMap<&str, u32>, scores: &[f32]) -> Vec<Value> {
        let piece = |id: u32| matches!(self.kind(id), NORMAL | USER_DEFINED);
        let part = |text: &str| ids.get(text).copied().filter(|id| piece(*id));
        let mut merges = Vec::new();
        for ((id, token), score) in (0..).zip(&self.tokens).zip(scores).filter(|((id, _), _)| piece(*id)) {
            let mut ways: Vec<(u32, u32, usize)> = token
                .char_indices()
                .skip(1)
                .filter_map(|(at, _)| Some((part(token.get(..at)?)?, part(token.get(at..)?)?, at)))
                .collect();
            ways.sort_unstable();
            let lengths =
                |at: usize| token.split_at_checked(at).map(|(l, r)| (l.chars().count(), r.chars().count()));
            merges.extend(ways.into_iter().map(|(_, _, at)| (score, lengths(at), id, at)));
        }
        merges.sort_by(|a, b| b.0.total_cmp(a.0).then(b.1.cmp(&a.1)));
        let pair = |(.., id, at): (&f32, _, u32, usize)| {
            let token = usize::try_from(id).ok().and_then(|id| self.tokens.get(id))?;
            let (left, right) = token.split_at_checked(at)?;
            Some(json!([left, right]))
        };
        merges.into_iter().filter_map(pair).collect()
    }

    fn tokenizer(&self, normalizer: Value, pre_tokenizer: Value, decoder: Value, model: Value) -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added(),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null,
            "decoder": decoder, "model": model,
        })
    }
}

fn texts<'a>(file: &Gguf<'a>, key: &str, array: crate::gguf::Array<'a>) -> Result<Vec<&'a str>, LoadError> {
    let texts = array.texts().ok_or_else(|| file.malformed(format!("{key} is not an array of texts")))?;
    let utf8 = |(at, text): (usize, Result<&'a str, &[u8]>)| {
        text.map_err(|_| file.malformed(format!("{key} {at} is not UTF-8")))
    };
    texts.enumerate().map(utf8).collect()
}

/// How SentencePiece writes a space.
pub(super) const SPACE: &str = "\u{2581}";
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
/// Control tokens that end a message.
const MESSAGE_ENDS: [&str; 2] = ["<|im_end|>", "<|eot_id|>"];
