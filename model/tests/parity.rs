//! The logits and answers of Hugging Face transformers, as `fixtures/make_fixtures.py` wrote them down.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::path::Path;

use counterfoil_model::reference::{generate, logits};
use counterfoil_model::{Checkpoint, Decoder, Ending, ExpertBank, Message, Rows, Sampler, argmax};
use counterfoil_spec::time::Seconds;
use serde::Deserialize;

#[derive(Deserialize)]
struct Tiny {
    sequences: Vec<TinySequence>,
}

#[derive(Deserialize)]
struct TinySequence {
    input_ids: Vec<u32>,
    argmax: Vec<usize>,
    logits: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Guide {
    prompts: Vec<GuidePrompt>,
}

#[derive(Deserialize)]
struct GuidePrompt {
    messages: Vec<Message>,
    rendered: String,
    input_ids: Vec<u32>,
    argmax: Vec<usize>,
    top5_ids: Vec<Vec<usize>>,
    top5_logits: Vec<Vec<f32>>,
    last_logits: Vec<f32>,
    greedy_ids: Vec<u32>,
    greedy_text: String,
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

fn whole(checkpoint: &Checkpoint) -> (Decoder, ExpertBank) {
    let bank = ExpertBank::load(checkpoint, checkpoint.config().all_experts()).unwrap();
    (Decoder::load(checkpoint).unwrap(), bank)
}

fn tiny() -> Checkpoint {
    Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-mixtral")).unwrap()
}

/// Squared error over squared reference.
fn nmse(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let error: f64 = ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    error / theirs.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>()
}

fn best(rows: &Rows) -> Vec<usize> {
    rows.iter().map(argmax).collect()
}

#[test]
fn tiny_mixtral_has_the_logits_of_transformers_at_every_position() {
    let checkpoint = tiny();
    let (decoder, bank) = whole(&checkpoint);
    let parity: Tiny = serde_json::from_slice(&fixture("tiny_mixtral_parity.json")).unwrap();
    assert_eq!(parity.sequences.len(), 2);
    for sequence in parity.sequences {
        let ours = logits(&decoder, &mut &bank, &sequence.input_ids).unwrap();
        let error = nmse(ours.values(), &sequence.logits.concat());
        assert!(error <= 1e-9, "NMSE {error:e}");
        assert_eq!(best(&ours), sequence.argmax);
    }
}

#[test]
fn one_position_at_a_time_gives_the_same_bits_as_all_at_once() {
    let checkpoint = tiny();
    let (decoder, bank) = whole(&checkpoint);
    let ids: Vec<u32> = (0..40).map(|i| i * 3 % 128).collect();
    let at_once = logits(&decoder, &mut &bank, &ids).unwrap();
    let mut sequence = decoder.begin(ids.len()).unwrap();
    for (at, id) in ids.iter().enumerate() {
        let rows = counterfoil_model::reference::step(&decoder, &mut &bank, &mut sequence, &[*id]).unwrap();
        let one = decoder.logits(&rows).unwrap();
        assert_eq!(one.row(0), at_once.row(at), "position {at}");
    }
}

#[test]
fn guide_conversations_are_rendered_and_encoded_as_transformers_does() {
    let vocabulary = Checkpoint::guide().unwrap().vocabulary().unwrap();
    let parity: Guide = serde_json::from_slice(&fixture("guide_parity.json")).unwrap();
    for prompt in parity.prompts {
        let template = vocabulary.template().unwrap();
        let rendered = template.render(&prompt.messages, Ending::Answer, Seconds(0)).unwrap();
        assert_eq!(rendered, prompt.rendered);
        assert_eq!(vocabulary.encode(&rendered).unwrap(), prompt.input_ids);
    }
}

#[test]
fn guide_has_the_logits_of_transformers() {
    let (decoder, bank) = whole(&Checkpoint::guide().unwrap());
    let parity: Guide = serde_json::from_slice(&fixture("guide_parity.json")).unwrap();
    for prompt in parity.prompts {
        let ours = logits(&decoder, &mut &bank, &prompt.input_ids).unwrap();
        assert_eq!(best(&ours), prompt.argmax);
        let error = nmse(ours.row(ours.len() - 1).unwrap(), &prompt.last_logits);
        assert!(error <= 1e-9, "NMSE {error:e}");
        let top: Vec<f32> = ours
            .iter()
            .zip(&prompt.top5_ids)
            .flat_map(|(row, ids)| ids.iter().map(|id| row[*id]).collect::<Vec<_>>())
            .collect();
        let error = nmse(&top, &prompt.top5_logits.concat());
        assert!(error <= 1e-9, "NMSE of the five best {error:e}");
    }
}

#[test]
fn guide_answers_with_the_token_ids_of_transformers() {
    let checkpoint = Checkpoint::guide().unwrap();
    let (decoder, bank) = whole(&checkpoint);
    let vocabulary = checkpoint.vocabulary().unwrap();
    let end = checkpoint.config().eos.clone();
    let parity: Guide = serde_json::from_slice(&fixture("guide_parity.json")).unwrap();
    assert_eq!(parity.prompts.len(), 6);
    for prompt in parity.prompts {
        let mut greedy = Sampler::greedy();
        let ours = generate(&decoder, &mut &bank, &prompt.input_ids, 96, &mut greedy).unwrap();
        let mut theirs = prompt.greedy_ids.clone();
        if theirs.last().is_some_and(|id| end.contains(id)) {
            theirs.pop();
        }
        assert_eq!(ours, theirs);
        assert_eq!(vocabulary.decode(&ours).unwrap(), prompt.greedy_text);
        let mut stream = vocabulary.stream();
        let mut text = String::new();
        for id in &ours {
            text.push_str(&stream.push(*id).unwrap());
        }
        assert_eq!(text + &stream.finish().unwrap(), prompt.greedy_text);
    }
}
