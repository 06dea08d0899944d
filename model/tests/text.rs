//! Vocabulary, chat template, streaming text and sampling.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::path::{Path, PathBuf};

use counterfoil_model::{
    Checkpoint, Ending, LoadError, Message, Sampler, SamplerError, TemplateError, Vocabulary, argmax,
};
use counterfoil_spec::time::Seconds;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

fn guide() -> Vocabulary {
    Checkpoint::guide().unwrap().vocabulary().unwrap()
}

/// The guide with another template.
fn templated(settings: &str, template: Option<&str>) -> Result<Vocabulary, LoadError> {
    let tokenizer = std::fs::read(from("guide/checkpoint/tokenizer.json")).unwrap();
    tokenized(&tokenizer, settings, template)
}

fn from(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The guide with another tokenizer.
fn tokenized(tokenizer: &[u8], settings: &str, template: Option<&str>) -> Result<Vocabulary, LoadError> {
    let folder = TempDir::new().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        put(name, &std::fs::read(from("guide/checkpoint").join(name)).unwrap());
    }
    put("tokenizer.json", tokenizer);
    put("tokenizer_config.json", settings.as_bytes());
    if let Some(template) = template {
        put("chat_template.jinja", template.as_bytes());
    }
    Checkpoint::open(folder.path()).unwrap().vocabulary()
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned() }
}

fn rendered(template: &str, messages: &[Message]) -> Result<String, TemplateError> {
    let vocabulary = templated("{}", Some(template)).unwrap();
    vocabulary.template().unwrap().render(messages, Ending::Answer, Seconds(1_709_210_096))
}

fn streamed(vocabulary: &Vocabulary, ids: &[u32]) -> (Vec<String>, String) {
    let mut stream = vocabulary.stream();
    let pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    (pieces, stream.finish().unwrap())
}

#[test]
fn characters_of_several_bytes_come_out_whole() {
    let vocabulary = guide();
    let text = "naïve → 日本 🦀!";
    let ids = vocabulary.encode(text).unwrap();
    assert!(ids.len() > text.chars().count());
    let (pieces, rest) = streamed(&vocabulary, &ids);
    assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')));
    assert_eq!((pieces.concat(), rest.as_str()), (text.to_owned(), ""));
}

#[test]
fn a_character_that_never_ends_is_told_at_the_end() {
    let vocabulary = guide();
    let ids = vocabulary.encode("a🦀").unwrap();
    let (pieces, rest) = streamed(&vocabulary, &ids[..ids.len() - 1]);
    assert_eq!((pieces.concat().as_str(), rest.as_str()), ("a", "\u{fffd}"));
}

#[test]
fn bytes_that_are_no_character_are_not_held_for_ever() {
    let vocabulary = guide();
    let crab = vocabulary.encode("🦀").unwrap();
    let broken = vec![crab[crab.len() - 1]; 8];
    let (pieces, rest) = streamed(&vocabulary, &broken);
    assert_eq!(pieces[..7].concat(), "");
    assert_eq!(
        (pieces[7].as_str(), rest.as_str()),
        ("\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}")
    );
}

#[test]
fn special_tokens_are_recognised_in_text_and_left_out_of_answers() {
    let vocabulary = guide();
    let ids = vocabulary.encode("<|user|>hello<|end|>").unwrap();
    assert_eq!(ids.first().copied(), vocabulary.id_of("<|user|>"));
    assert_eq!(ids.last().copied(), vocabulary.id_of("<|end|>"));
    assert_eq!(vocabulary.decode(&ids).unwrap(), "hello");
}

proptest! {
    #[test]
    fn streaming_any_text_gives_the_text(text in "\\PC{0,40}") {
        let vocabulary = guide();
        let ids = vocabulary.encode(&text).unwrap();
        let (pieces, rest) = streamed(&vocabulary, &ids);
        prop_assert_eq!(pieces.concat() + &rest, vocabulary.decode(&ids).unwrap());
    }
}

#[test]
fn python_methods_and_loop_controls_work_in_templates() {
    let template = "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}\
                    {{ m.role.upper() }}: {{ m['content'].strip() }}\n{% endfor %}{{ messages | length }}";
    let messages = [message("user", " hi "), message("tool", "x"), message("assistant", "yes")];
    assert_eq!(rendered(template, &messages), Ok("USER: hi\nASSISTANT: yes\n3".to_owned()));
}

#[test]
fn blocks_are_trimmed_as_transformers_does() {
    let template = "{% if true %}\n  yes\n  {% endif %}\nend";
    assert_eq!(rendered(template, &[]), Ok("  yes\nend".to_owned()));
}

#[test]
fn tojson_is_pythons() {
    let template = "{{ messages | tojson }} {{ 'é<' | tojson }} {{ [1, 2] | tojson(indent=2) }}";
    let want = "[{\"role\": \"user\", \"content\": \"it's <b>\"}] \"é<\" [\n  1,\n  2\n]";
    assert_eq!(rendered(template, &[message("user", "it's <b>")]), Ok(want.to_owned()));
}

#[test]
fn the_present_is_what_the_caller_says() {
    assert_eq!(rendered("{{ strftime_now('%d %b %Y') }}", &[]), Ok("29 Feb 2024".to_owned()));
}

#[test]
fn a_template_may_refuse_a_conversation() {
    let template =
        "{% if messages[0].role != 'user' %}{{ raise_exception('begin with a user') }}{% endif %}ok";
    assert_eq!(rendered(template, &[message("user", "")]), Ok("ok".to_owned()));
    let refused = TemplateError::Refused("begin with a user".to_owned());
    assert_eq!(rendered(template, &[message("assistant", "")]), Err(refused));
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let template =
        "{% for a in range(9000) %}{% for b in range(9000) %}{% set c = a * b %}{% endfor %}{% endfor %}";
    assert!(matches!(rendered(template, &[]), Err(TemplateError::Failed(why)) if why.contains("fuel")));
}

#[test]
fn a_template_that_does_not_parse_names_its_file() {
    let error = templated("{}", Some("{% if %}")).err().unwrap();
    assert!(matches!(error, LoadError::Malformed { file, .. } if file.ends_with("chat_template.jinja")));
}

#[test]
fn special_token_texts_come_from_the_settings() {
    let settings = json!({
        "bos_token": {"content": "<|system|>"}, "eos_token": "<|end|>",
        "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ bos_token }}|{{ eos_token }}"}],
    });
    let vocabulary = templated(&settings.to_string(), None).unwrap();
    let text = vocabulary.template().unwrap().render(&[], Ending::Nothing, Seconds(0));
    assert_eq!(text, Ok("<|system|>|<|end|>".to_owned()));
}

#[test]
fn a_model_without_template_has_none() {
    assert!(templated("{}", None).unwrap().template().is_none());
}

#[test]
fn a_tokenizer_has_ids_of_the_model_and_the_tokens_that_its_settings_name() {
    let text = std::fs::read_to_string(from("guide/checkpoint/tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    let mut beyond = added.first().unwrap().clone();
    beyond["id"] = json!(1536);
    beyond["content"] = json!("<|beyond|>");
    added.push(beyond);
    let reason = |found: Result<Vocabulary, LoadError>| match found.err().unwrap() {
        LoadError::Malformed { file, reason } => {
            assert_eq!(file.file_name().unwrap(), "tokenizer.json");
            reason
        }
        other => panic!("{other}"),
    };
    let beyond = reason(tokenized(tokenizer.to_string().as_bytes(), "{}", None));
    assert_eq!(beyond, "its token \"<|beyond|>\" has the id 1536, and the model has 1536 rows of embeddings");
    let nowhere = reason(templated(r#"{ "eos_token": "<nowhere>" }"#, None));
    assert_eq!(nowhere, "it has not the token \"<nowhere>\", which the model's settings name");
}

#[test]
fn a_checkpoint_without_tokenizer_says_so() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-mixtral");
    let error = Checkpoint::open(&folder).unwrap().vocabulary().err().unwrap();
    assert!(matches!(error, LoadError::Io { file, .. } if file == Path::new("tokenizer.json")));
}

#[test]
fn the_lowest_of_equal_logits_is_taken() {
    assert_eq!(argmax(&[1.0, 3.0, 3.0, f32::NAN]), 1);
    assert_eq!(argmax(&[f32::NAN, -1.0]), 1);
    assert_eq!(argmax(&[]), 0);
    assert_eq!(Sampler::greedy().sample(&[0.0, 7.0, 7.0]), 1);
}

#[test]
fn a_seed_gives_these_ids_on_every_machine() {
    let logits: Vec<f32> = (0..50_u8).map(|i| f32::from(i % 7) * 0.5).collect();
    let mut sampler = Sampler::new(1.0, 0.9, 42).unwrap();
    let drawn: Vec<u32> = (0..8).map(|_| sampler.sample(&logits)).collect();
    // The same were drawn by a program in another language from the words of the sampler.
    assert_eq!(drawn, [4, 20, 34, 41, 6, 46, 27, 25]);
}

#[test]
fn a_small_nucleus_keeps_only_the_best() {
    let mut sampler = Sampler::new(2.0, 1e-6, 7).unwrap();
    assert!((0..100).all(|_| sampler.sample(&[0.0, 0.1, 0.05]) == 1));
}

#[test]
fn the_nucleus_ends_where_the_probability_is_reached() {
    // Probabilities 1/2, 1/4, 1/4: three quarters are reached by the first two.
    let logits = [2f32.ln(), 0.0, 0.0];
    let mut sampler = Sampler::new(1.0, 0.74, 3).unwrap();
    let mut counts = [0; 3];
    for _ in 0..3000 {
        counts[usize::try_from(sampler.sample(&logits)).unwrap()] += 1;
    }
    assert_eq!(counts[2], 0);
    assert!((1900..2100).contains(&counts[0]), "{counts:?}");
}

#[test]
fn chance_follows_the_probabilities() {
    let logits = [3f32.ln(), 0.0];
    let mut sampler = Sampler::new(1.0, 1.0, 11).unwrap();
    let zeros = (0..4000).filter(|_| sampler.sample(&logits) == 0).count();
    assert!((2900..3100).contains(&zeros), "{zeros}");
}

#[test]
fn settings_without_a_distribution_are_refused() {
    let made = |temperature, top_p| Sampler::new(temperature, top_p, 0).map(|_| ());
    assert_eq!(made(0.0, 1.0), Ok(()));
    assert_eq!(made(2.0, 1.0), Ok(()));
    assert_eq!(made(2.1, 1.0), Err(SamplerError::Temperature(2.1)));
    assert_eq!(made(-0.1, 1.0), Err(SamplerError::Temperature(-0.1)));
    assert_eq!(made(1.0, 0.0), Err(SamplerError::TopP(0.0)));
    assert_eq!(made(1.0, 1.1), Err(SamplerError::TopP(1.1)));
    assert!(matches!(made(f32::NAN, 1.0), Err(SamplerError::Temperature(_))));
}
