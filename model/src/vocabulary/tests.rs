//! A tokenizer out of GGUF settings gives the ids that the same tokenizer gives as `tokenizer.json`.

use std::path::{Path, PathBuf};

use counterfoil_spec::time::Seconds;
use serde_json::{Value, json};

use super::{Vocabulary, VocabularyFiles, endings};
use crate::error::LoadError;
use crate::gguf::{Gguf, Outline, Setting};
use crate::template::{Ending, Message};

const KINDS: [(&str, &str); 4] = [
    ("llama", "model.gguf"),
    ("qwen2", "model.gguf"),
    ("deepseek-llm", "vocabulary.gguf"),
    ("dbrx", "vocabulary.gguf"),
];

fn fixture(kind: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizers").join(kind).join(name)
}

fn files(bytes: &[u8]) -> Result<VocabularyFiles, LoadError> {
    VocabularyFiles::of_gguf(&Gguf::parse(Path::new("a.gguf"), bytes)?)
}

/// Loaded from the GGUF file, and what transformers made of the texts.
fn loaded(kind: &str, name: &str) -> (Vocabulary, Value) {
    let files = files(&std::fs::read(fixture(kind, name)).unwrap()).unwrap();
    let expected = std::fs::read(fixture(kind, "expected.json")).unwrap();
    (Vocabulary::load(&files).unwrap(), serde_json::from_slice(&expected).unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn texts_have_the_ids_of_transformers() {
    for (kind, name) in KINDS {
        let (vocabulary, expected) = loaded(kind, name);
        for row in expected["texts"].as_array().unwrap() {
            let text = row["text"].as_str().unwrap();
            let found = vocabulary.encode(text).unwrap();
            assert_eq!(found, ids(&row["ids"]), "{kind} {text:?}");
            assert_eq!(
                vocabulary.decode(&found).unwrap(),
                row["decoded"].as_str().unwrap(),
                "{kind} {text:?}"
            );
        }
    }
}

#[test]
fn conversations_are_rendered_by_the_template_of_the_file() {
    for (kind, name) in KINDS {
        let (vocabulary, expected) = loaded(kind, name);
        for row in expected["conversations"].as_array().unwrap() {
            let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
            let template = vocabulary.template().unwrap();
            let text = template.render(&messages, Ending::Answer, Seconds(0)).unwrap();
            assert_eq!(text, row["rendered"].as_str().unwrap(), "{kind}");
            assert_eq!(vocabulary.encode(&text).unwrap(), ids(&row["ids"]), "{kind}");
        }
    }
}

/// Characters are bytes' and there is one merge.
fn tiny(change: impl FnOnce(&mut Vec<(&'static str, Setting)>)) -> Vec<u8> {
    let text = |text: &str| Setting::Text(text.to_owned());
    let texts = |all: &[&str]| Setting::Texts(all.iter().map(|text| (*text).to_owned()).collect());
    let mut settings = vec![
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", texts(&["a", "b", "ab", "<|im_end|>", "[user]", "<|end|>"])),
        ("tokenizer.ggml.token_type", Setting::Integers(vec![1, 1, 1, 3, 4, 3])),
        ("tokenizer.ggml.merges", texts(&["a b"])),
        ("tokenizer.ggml.eos_token_id", Setting::U32(5)),
    ];
    change(&mut settings);
    let mut outline = Outline::new("qwen2moe");
    for (key, value) in settings {
        outline.set(key, value).unwrap();
    }
    outline.begin(Vec::new()).unwrap().finish().unwrap()
}

fn set(key: &'static str, value: Setting) -> Vec<u8> {
    tiny(|settings| {
        settings.retain(|(other, _)| *other != key);
        settings.push((key, value));
    })
}

fn without(key: &str) -> Vec<u8> {
    tiny(|settings| settings.retain(|(other, _)| *other != key))
}

fn refused(bytes: &[u8]) -> String {
    files(bytes).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn control_tokens_are_left_out_of_text_and_tokens_of_users_are_not() {
    let vocabulary = Vocabulary::load(&files(&tiny(|_| ())).unwrap()).unwrap();
    let ids = vocabulary.encode("ab[user]ba<|im_end|>").unwrap();
    assert_eq!(ids, [2, 4, 1, 0, 3]);
    assert_eq!(vocabulary.decode(&ids).unwrap(), "ab[user]ba");
    assert_eq!(vocabulary.len(), 6);
}

#[test]
fn answers_end_where_the_file_says_and_where_messages_end() {
    let ends = |bytes: &[u8]| endings(&Gguf::parse(Path::new("a.gguf"), bytes).unwrap());
    assert_eq!(ends(&tiny(|_| ())).unwrap(), [3, 5]);
    assert_eq!(ends(&set("tokenizer.ggml.eot_token_id", Setting::U32(4))).unwrap(), [3, 4, 5]);
    let error = ends(&without("tokenizer.ggml.eos_token_id")).unwrap_err().to_string();
    assert!(error.contains("tokenizer.ggml.eos_token_id is missing"), "{error}");
    let error = ends(&set("tokenizer.ggml.eos_token_id", Setting::U32(6))).unwrap_err().to_string();
    assert!(error.contains("tokenizer.ggml.eos_token_id is not one of 6 tokens"), "{error}");
    assert_eq!(
        ends(&Outline::new("llama").begin(Vec::new()).unwrap().finish().unwrap()).unwrap(),
        Vec::<u32>::new()
    );
}

#[test]
fn a_token_is_bounded_before_it_is_cut_in_every_way() {
    let tokens = |length: usize| {
        let long = "a".repeat(length);
        Setting::Texts(["a", "b", "ab", "<|im_end|>", "[user]", &long].map(str::to_owned).to_vec())
    };
    let error = refused(&set("tokenizer.ggml.tokens", tokens(1025)));
    assert_eq!(error, "a.gguf: bytes of a token is 1025, more than the limit of 1024");
    assert!(files(&set("tokenizer.ggml.tokens", tokens(1024))).unwrap().tokenizer.is_some());
}

#[test]
fn a_file_without_tokenizer_has_none() {
    let bytes = Outline::new("llama").begin(Vec::new()).unwrap().finish().unwrap();
    assert!(files(&bytes).unwrap().tokenizer.is_none());
    assert!(
        files(&set("tokenizer.ggml.model", Setting::Text("none".to_owned()))).unwrap().tokenizer.is_none()
    );
}

#[test]
fn wrong_vocabularies_are_refused() {
    let texts = |all: &[&str]| Setting::Texts(all.iter().map(|text| (*text).to_owned()).collect());
    let has = |bytes: &[u8], reason: &str| {
        let told = refused(bytes);
        assert!(told.contains(reason), "{told}");
    };
    has(&without("tokenizer.ggml.tokens"), "tokenizer.ggml.tokens is missing");
    has(&without("tokenizer.ggml.merges"), "tokenizer.ggml.merges is missing");
    has(&set("tokenizer.ggml.model", Setting::Text("bert".to_owned())), "tokenizer.ggml.model is bert");
    has(&set("tokenizer.ggml.pre", Setting::Text("poro".to_owned())), "tokenizer.ggml.pre is poro");
    has(&set("tokenizer.ggml.tokens", Setting::U32(1)), "tokenizer.ggml.tokens is not an array");
    has(&set("tokenizer.ggml.tokens", Setting::Integers(vec![1])), "is not an array of texts");
    let twice = texts(&["a", "b", "ab", "a", "x", "y"]);
    has(&set("tokenizer.ggml.tokens", twice), "tokenizer.ggml.tokens has \"a\" twice, as 0 and 3");
    has(&set("tokenizer.ggml.token_type", Setting::Integers(vec![1])), "token_type is not 6 whole numbers");
    has(&set("tokenizer.ggml.merges", texts(&["a b", "b a"])), "merges 1, \"b a\", joins what are no tokens");
    has(&set("tokenizer.ggml.merges", texts(&["ab"])), "merges 0, \"ab\", joins what are no tokens");
    has(&set("tokenizer.ggml.bos_token_id", Setting::U32(99)), "bos_token_id is not one of 6 tokens");
    let llama = |scores: Setting| {
        tiny(|settings| {
            settings.retain(|(key, _)| *key != "tokenizer.ggml.model");
            settings.push(("tokenizer.ggml.model", Setting::Text("llama".to_owned())));
            settings.push(("tokenizer.ggml.scores", scores));
        })
    };
    has(&llama(Setting::Singles(vec![0.0; 5])), "tokenizer.ggml.scores is not 6 numbers");
    has(&llama(Setting::Singles(vec![f32::NAN; 6])), "tokenizer.ggml.scores is not 6 numbers");
    assert!(files(&llama(Setting::Singles(vec![0.0; 6]))).is_ok());
}

#[test]
fn the_marks_of_the_file_are_those_of_its_templates() {
    let files = files(&set("tokenizer.ggml.bos_token_id", Setting::U32(4))).unwrap();
    let settings: Value = serde_json::from_slice(&files.settings.unwrap().1).unwrap();
    assert_eq!(settings, json!({"bos_token": "[user]", "eos_token": "<|end|>"}));
}

#[test]
fn a_tokenizer_with_a_part_that_is_no_json_is_refused() {
    let not_utf8: &[u8] = b"{\"decoder\": {\"type\": \"Byte\xb9\"}}";
    let half_a_character: &[u8] = br#"{"decoder": {"type": "\ud800"}}"#;
    let no_number: &[u8] = br#"{"decoder": {"type": 1e999}}"#;
    let deep = [b"{\"decoder\": ".to_vec(), vec![b'['; 200], vec![b']'; 200], b"}".to_vec()].concat();
    for bytes in [not_utf8, half_a_character, no_number, &deep] {
        let files = VocabularyFiles {
            tokenizer: Some((PathBuf::from("tokenizer.json"), bytes.to_vec())),
            ..VocabularyFiles::default()
        };
        let refused = Vocabulary::load(&files).map(|_| ());
        assert!(matches!(refused, Err(LoadError::Malformed { .. })), "{refused:?}");
    }
}
