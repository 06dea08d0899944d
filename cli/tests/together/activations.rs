//! `router --activations`: how rows leave for the nodes, and what that does to the answers.

use std::path::Path;

use counterfoil_model::Checkpoint;
use counterfoil_router::{Continued, Hedging, Prompt, RowsAs};
use counterfoil_session::frame::Encoding;

use crate::network::{Network, REPLICAS, on_one_thread};
use crate::scripted::willing;

/// Of the smaller of the models here.
const VOCABULARY: u32 = 32;

/// A model whose experts are quantised, behind a first layer that has none.
fn quantised() -> Checkpoint {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/fixtures/gguf");
    Checkpoint::open(&fixtures.join("deepseek-quantised.gguf")).unwrap()
}

/// What some prompts become, and the layer and encoding of every frame on the way.
async fn sent(model: Checkpoint, rows_as: RowsAs) -> (Vec<Continued>, Vec<(u32, Encoding)>) {
    let prompts =
        [3, 5, 9].map(|n| Prompt { ids: (0..n).map(|at| (at * 7 + n) % VOCABULARY).collect(), more: 12 });
    let mut network = Network::sending(rows_as, model, REPLICAS, Hedging::Off).await;
    let seen = network.scripted(willing()).await;
    network.ready().await;
    let continued = network.alone(&prompts).await;
    (continued, seen.encodings())
}

/// As many frames for each layer with experts: a prompt, and 12 ids, three times.
fn frames(model: &Checkpoint, encoding: Encoding) -> Vec<(u32, Encoding)> {
    let layers: Vec<u32> = model.config().moe_layers().collect();
    (0..3 * 13).flat_map(|_| layers.iter().map(move |layer| (*layer, encoding))).collect()
}

#[test]
fn quantised_experts_are_sent_int8_or_f32_and_answer_the_same() {
    on_one_thread(async {
        let (exact, as_int8) = sent(quantised(), RowsAs::Exact).await;
        let (plain, as_f32) = sent(quantised(), RowsAs::F32).await;
        assert_eq!(as_int8, frames(&quantised(), Encoding::Int8));
        assert_eq!(as_f32, frames(&quantised(), Encoding::F32));
        assert_eq!(exact, plain);
    });
}

#[test]
fn bf16_leaves_only_where_it_is_asked_for() {
    on_one_thread(async {
        let (_, frames_sent) = sent(quantised(), RowsAs::Bf16).await;
        assert_eq!(frames_sent, frames(&quantised(), Encoding::Bf16));
    });
}

#[test]
fn float_experts_are_sent_f32_unless_bf16_is_asked_for() {
    on_one_thread(async {
        let guide = || Checkpoint::guide().unwrap();
        let (exact, by_itself) = sent(guide(), RowsAs::Exact).await;
        let (plain, as_f32) = sent(guide(), RowsAs::F32).await;
        assert_eq!(by_itself, frames(&guide(), Encoding::F32));
        assert_eq!(as_f32, by_itself);
        assert_eq!(exact, plain);
    });
}
