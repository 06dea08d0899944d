//! Requests that go through the layers together.

use std::net::SocketAddr;

use counterfoil_model::Checkpoint;
use counterfoil_router::{Continued, Dealing, Hedging, Prompt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::network::{HALVES, Network, REPLICAS, on_one_thread};
use crate::scripted::{Act, willing};

/// Layers of the embedded model, all of them with experts.
const LAYERS: u64 = 4;

/// Prompts of different lengths, which become answers of different lengths.
fn different(n: u32) -> Vec<Prompt> {
    (0..n).map(|k| Prompt { ids: (2..6 + 7 * k).map(|id| id * (k + 3)).collect(), more: 4 + k }).collect()
}

/// Prompts of 8 ids, to which as many are added.
fn alike(n: u32, more: u32) -> Vec<Prompt> {
    (0..n).map(|k| Prompt { ids: (0..8).map(|at| 100 + 10 * k + at).collect(), more }).collect()
}

fn ids(continued: &[Continued]) -> Vec<&[u32]> {
    continued.iter().map(|c| c.ids.as_slice()).collect()
}

async fn two_nodes() -> Network {
    let mut network = Network::new(Checkpoint::guide().unwrap(), HALVES, Hedging::Off).await;
    network.node().await;
    network.node().await;
    network.ready().await;
    network
}

#[test]
fn eight_requests_cost_one_frame_for_each_node_and_layer() {
    on_one_thread(async {
        let network = two_nodes().await;
        let prompts = alike(8, 5);
        let (one, costs) = network.costs(network.alone(&prompts[..1])).await;
        // One prompt of 8 rows, then 5 rows; not each of them has experts at both nodes.
        assert_eq!(&costs[..2], [6, 13]);
        let (all, costs) = network.costs(network.together(&prompts)).await;
        // The prompts in one round, then a round for each id; in every layer one frame for each node.
        assert_eq!(costs, [6, 8 * 13, 6 * LAYERS * 2]);
        assert_eq!(all[0], Ok(one[0].clone()));
    });
}

#[test]
fn a_request_becomes_the_same_whatever_it_is_batched_with() {
    on_one_thread(async {
        let network = two_nodes().await;
        let prompts = different(12);
        let alone = network.alone(&prompts).await;
        let together = network.together(&prompts).await;
        let together: Vec<Continued> = together.into_iter().map(Result::unwrap).collect();
        // The same ids, and the same count of forwards at each node.
        assert_eq!(together, alone);
        // The logits of a whole prompt beside others.
        let want = network.router.logits(&prompts[3].ids).await.unwrap();
        let (logits, others) =
            tokio::join!(network.router.logits(&prompts[3].ids), network.together(&prompts));
        assert_eq!(logits.unwrap(), want);
        assert_eq!(others, alone.into_iter().map(Ok).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_continued_for_measuring_is_receipted_so_that_a_node_takes_more_than_it_may_have_open() {
    on_one_thread(async {
        let one = Dealing::Fixed { nodes: 1, by_expert: false };
        let mut network = Network::new(Checkpoint::guide().unwrap(), one, Hedging::Off).await;
        network.node().await;
        network.ready().await;
        let prompts = alike(8, 1);
        let first = network.together(&prompts).await;
        assert!(first.iter().all(Result::is_ok), "{first:?}");
        let before = network.router.office().log_size();
        for _ in 0..32 {
            assert_eq!(network.together(&prompts).await, first);
        }
        // One receipt of the one node for each of them, and no inference.
        assert_eq!(network.router.office().log_size() - before, 32 * 8);
    });
}

#[test]
fn one_that_decodes_is_in_every_round_beside_a_long_prompt() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let mut network = Network::new(roomy(folder.path()), HALVES, Hedging::Off).await;
        network.node().await;
        network.node().await;
        network.ready().await;
        let decoding = alike(1, 40);
        let long = vec![Prompt { ids: (0..2000).map(|n| 5 + n % 1500).collect(), more: 0 }];
        let alone = (network.alone(&decoding).await, network.alone(&long).await);
        let of = async { tokio::join!(network.together(&decoding), network.together(&long)) };
        let (done, costs) = network.costs(of).await;
        // The long prompt has 504 rows in the first round, beside 8, and 64 in each of the next: 24 rounds. The one that
        // decodes needs 41 rounds, and 41 there are.
        assert_eq!(&costs[..2], [41, 2000 + 8 + 40]);
        assert_eq!(done.0[0].as_ref(), Ok(&alone.0[0]));
        assert_eq!(done.1[0].as_ref(), Ok(&alone.1[0]));
    });
}

#[test]
fn one_with_an_id_that_is_not_in_the_vocabulary_fails_alone() {
    on_one_thread(async {
        let network = two_nodes().await;
        let mut prompts = alike(3, 4);
        let alone = network.alone(&prompts).await;
        prompts[1].ids[7] = 1536;
        let together = network.together(&prompts).await;
        let error = "token id 1536 is outside the vocabulary of 1536".to_owned();
        assert_eq!(together, [Ok(alone[0].clone()), Err(error), Ok(alone[2].clone())]);
    });
}

#[test]
fn one_whose_sums_overflow_fails_alone() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), HALVES, Hedging::Off).await;
        for _ in 0..2 {
            // Slots are counted for each node, and every request asks both: the second of the second three is spoiled.
            network.scripted(Box::new(|_, _| Act::Spoil(4))).await;
        }
        network.ready().await;
        let prompts = alike(3, 4);
        let alone = network.alone(&prompts).await;
        let together = network.together(&prompts).await;
        assert_eq!(together[0].as_ref(), Ok(&alone[0]));
        assert_eq!(together[2].as_ref(), Ok(&alone[2]));
        let error = together[1].as_ref().unwrap_err();
        assert!(error.contains("sums of answers"), "{error}");
    });
}

#[test]
fn a_node_that_dies_costs_each_request_one_part_and_the_frame_one_frame() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        let seen = network.scripted(willing()).await;
        network.ready().await;
        let prompts = alike(8, 5);
        let alone = network.alone(&prompts).await;
        // In the second round, with its first frame, for which the other one stands in.
        let dies = network.scripted(Box::new(|n, _| if n == 2 { Act::Die } else { Act::Serve })).await;
        network.ready().await;
        let before = (seen.frames().len(), network.counted("counterfoil_redispatches_total"));
        let (all, costs) = network.costs(network.together(&prompts)).await;
        let all: Vec<Continued> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!(ids(&all), ids(&alone));
        assert_eq!(costs, [6, 8 * 13, 6 * LAYERS + 1]);
        assert_eq!(network.counted("counterfoil_redispatches_total") - before.1, 8);
        // Two layers each in the first round, one frame that was lost, all the rest at the one that is left.
        assert_eq!(dies.frames().len(), 3);
        let rest = &seen.frames()[before.0..];
        assert_eq!(rest.len(), 2 + 5 * 4);
        assert!(rest.iter().all(|(_, segments)| segments.len() == 8), "{rest:?}");
    });
}

#[test]
fn one_that_is_refused_goes_elsewhere_and_the_others_stay() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        let seen = network.scripted(willing()).await;
        network.ready().await;
        let prompts = alike(8, 5);
        let alone = network.alone(&prompts).await;
        let act = |n, _: &_| if n == 2 { Act::Refuse(3) } else { Act::Serve };
        let refuses = network.scripted(Box::new(act)).await;
        network.ready().await;
        let before = seen.frames().len();
        let (all, costs) = network.costs(network.together(&prompts)).await;
        let all: Vec<Continued> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!(ids(&all), ids(&alone));
        assert_eq!(network.counted("counterfoil_redispatches_total"), 1);
        // From the second round on the one that was refused has a frame of its own in the two layers of that node.
        assert_eq!(costs, [6, 8 * 13, 6 * LAYERS + 5 * 2]);
        let rows = |frames: &[(u32, Vec<(u32, u16)>)]| frames.iter().map(|(_, s)| s.len()).sum::<usize>();
        assert_eq!(rows(&refuses.frames()), 8 * 2 + 8 + 7 + 4 * 2 * 7);
        assert_eq!(rows(&seen.frames()[before..]), 8 * 2 * 6 + 5 * 2);
    });
}

#[test]
fn one_request_more_than_may_run_is_told_to_come_back() {
    on_one_thread(async {
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        network.scripted(Box::new(|_, _| Act::Hold)).await;
        network.ready().await;
        let mut open = Vec::new();
        for _ in 0..256 {
            let (status, socket) = ask(network.router.http_addr()).await;
            assert_eq!(status, "HTTP/1.1 200 OK");
            open.push(socket);
        }
        let (status, _) = ask(network.router.http_addr()).await;
        assert_eq!(status, "HTTP/1.1 429 Too Many Requests");
        assert_eq!(network.counted("counterfoil_requests_total"), 256);
    });
}

/// Asks for a stream; its first line.
async fn ask(to: SocketAddr) -> (String, BufReader<TcpStream>) {
    let body = r#"{"model":"guide","messages":[{"role":"user","content":"Who?"}],"stream":true}"#;
    let n = body.len();
    let mut socket = BufReader::new(TcpStream::connect(to).await.unwrap());
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {to}\r\ncontent-length: {n}");
    let whole = format!("{head}\r\ncontent-type: application/json\r\n\r\n{body}");
    socket.write_all(whole.as_bytes()).await.unwrap();
    let mut status = String::new();
    socket.read_line(&mut status).await.unwrap();
    (status.trim_end().to_owned(), socket)
}

/// The embedded model with a context of thousands.
fn roomy(folder: &std::path::Path) -> Checkpoint {
    let from =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("model/guide/checkpoint");
    for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let config = folder.join("config.json");
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    value["max_position_embeddings"] = 4096.into();
    std::fs::write(config, value.to_string()).unwrap();
    Checkpoint::open(folder).unwrap()
}
