//! How text is prepared before its characters are merged: the parts of a `tokenizer.json` that a GGUF file only names.
//!
//! The expressions are those of the models' own `tokenizer.json`, by the names that llama.cpp gives them
//! (`src/llama-vocab.cpp`).

use serde_json::{Value, json};

use super::gguf::SPACE;
use crate::error::LoadError;
use crate::gguf::Gguf;

/// What comes before byte-level BPE.
pub(super) struct Words {
    pub(super) normalizer: Value,
    /// The pre-tokenizer.
    pub(super) cuts: Value,
    /// Whether a word that is a token is that token, whatever the merges say.
    pub(super) whole_words_first: bool,
}

/// The preparation that a file names; where it names none, that of its architecture's models.
pub(super) fn words(file: &Gguf<'_>) -> Result<Words, LoadError> {
    let named = file.text("tokenizer.ggml.pre")?.filter(|name| *name != "default");
    let name = match (named, file.text("general.architecture")?) {
        (Some(name), _) => name,
        (None, Some("qwen2moe")) => "qwen2",
        (None, Some("deepseek2")) => "deepseek-llm",
        (None, Some("dbrx")) => "dbrx",
        (None, _) => "gpt-2",
    };
    let plain = |cuts| Words { normalizer: Value::Null, cuts, whole_words_first: false };
    Ok(match name {
        "qwen2" | "qwen2.5" => {
            Words { normalizer: json!({"type": "NFC"}), ..plain(sequence(&[QWEN2], false)) }
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            Words { whole_words_first: true, ..plain(sequence(&[CL100K], false)) }
        }
        "dbrx" | "smaug-bpe" => plain(sequence(&[CL100K], false)),
        "deepseek-llm" => {
            plain(sequence(&["[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_MARKS, "\\s+$", DEEPSEEK_CJK], true))
        }
        "deepseek-coder" => plain(sequence(&["[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_CJK], true)),
        "gpt-2" | "phi-2" | "olmo" | "mpt" => plain(byte_level(true)),
        other => {
            return Err(LoadError::Unsupported {
                file: file.path().to_path_buf(),
                key: "tokenizer.ggml.pre",
                found: other.chars().take(80).collect(),
                expected: "gpt-2, qwen2, llama-bpe, dbrx, deepseek-llm or deepseek-coder".to_owned(),
            });
        }
    })
}

/// One cut after the other, each keeping what it matches as a word of its own; digits alone where asked; then bytes.
fn sequence(patterns: &[&str], single_digits: bool) -> Value {
    let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let mut all: Vec<Value> = patterns.iter().map(split).collect();
    if single_digits {
        all.push(json!({"type": "Digits", "individual_digits": true}));
    }
    all.push(byte_level(false));
    json!({"type": "Sequence", "pretokenizers": all})
}

/// `cuts` also cuts words as GPT-2 did.
fn byte_level(cuts: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cuts})
}

/// What turns byte-level tokens into text.
pub(super) fn decoder() -> Value {
    byte_level(true)
}

/// What SentencePiece does before: spaces are visible, and one stands before the text and after each special token.
pub(super) fn normalizer(prefix: bool) -> Value {
    let mut all = Vec::new();
    if prefix {
        all.push(json!({"type": "Prepend", "prepend": SPACE}));
    }
    all.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE}));
    json!({"type": "Sequence", "normalizers": all})
}

const QWEN2: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const CL100K: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/// Some of these characters have the same normal form as others; they are written as escapes, lest an editor change them.
const DEEPSEEK_LETTERS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_MARKS: &str = "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+";
const DEEPSEEK_CJK: &str = "[一-龥ࠀ-一가-\u{d7ff}]+";
