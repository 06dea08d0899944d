//! `bench`: every family's smallest model is measured, and ratios are those of the figures beside them.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{ask, command, repository};

fn bench(args: &[&str]) -> Value {
    let done = ask(&[&["bench"], args, &["--json"]].concat());
    assert_eq!(done.code, 0, "{args:?}: {done:?}");
    serde_json::from_str(&done.out).unwrap()
}

fn number(found: &Value, key: &str) -> f64 {
    found[key].as_f64().unwrap()
}

/// Up to the last digit, which a figure may lose on its way through text.
fn is_ratio(found: &Value, of: f64, to: f64) -> bool {
    found.as_f64().is_some_and(|found| (found * to / of - 1.0).abs() < 1e-12)
}

fn decoded(model: &str) -> Value {
    bench(&["decode", "--model", &repository(model), "--tokens", "3", "--repeats", "1", "--nodes", "1"])
}

#[test]
fn decode_takes_models_without_tokenizer_and_with_few_ids() {
    for model in ["model/fixtures/families/dbrx-plain", "model/fixtures/gguf/qwen-quantised.gguf"] {
        let found = decoded(model);
        assert_eq!((&found["tokens"], &found["nodes"]), (&json!(3), &json!(1)), "{model}");
        let (local, through) = (number(&found, "local_tokens_per_s"), number(&found, "nodes_tokens_per_s"));
        assert!(is_ratio(&found["ratio"], through, local), "{found}");
        assert!(local > 0.0 && through > 0.0, "{found}");
    }
}

#[test]
fn decode_is_measured_against_candle_without_nodes() {
    let model = |name: &str| repository(&format!("model/fixtures/gguf/{name}-quantised.gguf"));
    let (dbrx, qwen) = (model("dbrx"), model("qwen"));
    let args = ["decode", "--against", "candle", "--model", &dbrx, "--tokens", "3", "--repeats", "1"];
    let found = bench(&args);
    assert_eq!((&found["tokens"], &found["repeats"]), (&json!(3), &json!(1)));
    let (ours, candles) = (number(&found, "local_tokens_per_s"), number(&found, "candle_tokens_per_s"));
    assert!(is_ratio(&found["ratio"], ours, candles), "{found}");
    let both = ask(&[&["bench"], args.as_slice(), &["--nodes", "2"]].concat());
    assert_eq!(both.code, 2, "{both:?}");
    // Rows of 32 values are more than candle takes.
    let narrow = ask(&["bench", "decode", "--against", "candle", "--model", &qwen]);
    assert!(narrow.code != 0 && narrow.err.contains("an odd number of blocks"), "{narrow:?}");
}

#[test]
fn dispatch_measures_a_token_as_bytes_and_as_floats_and_a_prompt() {
    let found = bench(&["dispatch", "--rounds", "16"]);
    let kinds = found["kinds"].as_array().unwrap();
    let named: Vec<Value> = kinds.iter().map(|k| json!([k["rows"], k["activations"]])).collect();
    let want = [json!([1, "int8"]), json!([1, "f32"]), json!([32, "int8"]), json!([32, "f32"])];
    assert_eq!(named, want);
    for kind in kinds {
        let (lane, echo) = (number(kind, "p50_us"), number(kind, "echo_p50_us"));
        assert!(is_ratio(&kind["ratio_p50"], lane, echo), "{kind}");
    }
    assert_eq!(found["ratio_p50"], kinds[0]["ratio_p50"]);
}

#[test]
fn kernel_gives_each_product_beside_candles_and_the_median_of_their_ratios() {
    let args = ["--rows", "1", "--outputs", "32", "--inner", "256", "--repeats", "1"];
    let found = bench(&[&["kernel"], args.as_slice()].concat());
    let products = found["products"].as_array().unwrap();
    let types: Vec<&str> = products.iter().map(|p| p["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["f32", "q8_0", "q4_0", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"]);
    for product in products {
        let (ours, candles) = (number(product, "us"), number(product, "candle_us"));
        assert!(is_ratio(&product["ratio"], candles, ours), "{product}");
    }
    let mut ratios: Vec<f64> = products.iter().map(|p| number(p, "ratio")).collect();
    ratios.sort_by(f64::total_cmp);
    assert_eq!(found["ratio"], json!(ratios[4]));
}

#[test]
fn batch_gives_eight_requests_beside_one() {
    let found = bench(&["batch", "--tokens", "2", "--repeats", "1", "--nodes", "1"]);
    let batches = found["batches"].as_array().unwrap();
    let requests: Vec<&Value> = batches.iter().map(|b| &b["requests"]).collect();
    assert_eq!(requests, [1, 2, 4, 8]);
    let (one, most) = (number(&found, "one_tokens_per_s"), number(&found, "most_tokens_per_s"));
    assert_eq!((&batches[0]["tokens_per_s"], &batches[3]["tokens_per_s"]), (&json!(one), &json!(most)));
    assert!(is_ratio(&found["ratio"], most, one), "{found}");
}

#[test]
fn prefill_gives_a_prompt_at_once_beside_one_by_one() {
    let found = bench(&["prefill", "--tokens", "4", "--repeats", "1"]);
    let (at_once, singly) = (number(&found, "prefill_tokens_per_s"), number(&found, "decode_tokens_per_s"));
    assert!(is_ratio(&found["ratio"], at_once, singly), "{found}");
}

#[test]
fn http_gives_answers_over_the_api_beside_the_same_work_without() {
    let found = bench(&["http", "--tokens", "4", "--repeats", "1", "--nodes", "1"]);
    let kinds = found["kinds"].as_array().unwrap();
    assert_eq!(kinds.iter().map(|k| &k["requests"]).collect::<Vec<_>>(), [1, 8]);
    for kind in kinds {
        let (over, without) = (number(kind, "tokens_per_s"), number(kind, "without_http_tokens_per_s"));
        assert!(is_ratio(&kind["ratio"], over, without), "{kind}");
        // A stream in which no text was recognised has its first at its end.
        let (first, whole) = (number(kind, "first_token_p50_ms"), number(kind, "answer_p50_ms"));
        assert!(0.0 < first && first < whole, "{kind}");
    }
    assert_eq!(found["ratio"], kinds[0]["ratio"]);
    // It has no tokenizer, so nobody can ask it in words.
    let dbrx = repository("model/fixtures/families/dbrx-plain");
    let mute = ask(&["bench", "http", "--model", &dbrx, "--tokens", "4", "--repeats", "1", "--nodes", "1"]);
    assert_eq!(mute.code, 2, "{mute:?}");
    assert!(mute.err.contains("`counterfoil bench batch` needs no tokenizer"), "{mute:?}");
}

#[test]
fn accounting_gives_the_share_of_evidence_in_all_cpu_time() {
    let found = bench(&["accounting", "--tokens", "4", "--repeats", "1", "--nodes", "2"]);
    let (evidence, all) = (number(&found, "evidence_us"), number(&found, "all_us"));
    assert!(is_ratio(&found["ratio"], evidence, all), "{found}");
    assert!(evidence > 0.0 && evidence < all, "{found}");
    assert_eq!(found["inferences"], true, "{found}");
    let dbrx = repository("model/fixtures/families/dbrx-plain");
    let args = ["accounting", "--model", &dbrx, "--tokens", "4", "--repeats", "1", "--nodes", "1"];
    assert_eq!(bench(&args)["inferences"], false);
}

#[test]
fn decode_prints_the_rows_of_llama_bench() {
    let model = repository("model/fixtures/gguf/qwen-quantised.gguf");
    let args =
        ["bench", "decode", "--table", "llama-bench", "--model", &model, "--tokens", "3", "--repeats", "2"];
    let done = ask(&args);
    assert_eq!(done.code, 0, "{done:?}");
    let rows: Vec<Vec<&str>> =
        done.out.lines().map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert_eq!(rows[0], ["model", "size", "params", "backend", "threads", "test", "t/s"]);
    assert_eq!(rows[1][1], "---------:");
    assert_eq!((rows[2][3], rows[2][5], rows[3][5], rows.len()), ("CPU", "pp128", "tg3", 4));
    for row in &rows[2..] {
        let (rate, deviation) = row[6].split_once(" ± ").unwrap();
        assert!(rate.parse::<f64>().unwrap() > 0.0 && deviation.parse::<f64>().unwrap() >= 0.0, "{row:?}");
    }
    assert_eq!(ask(&[args.as_slice(), &["--json"]].concat()).code, 2);
}

#[test]
fn flood_gives_what_a_request_keeps_of_its_speed() {
    let found = bench(&["flood", "--tokens", "20", "--repeats", "1", "--nodes", "1", "--times", "2"]);
    let (calm, flooded) = (number(&found, "tokens_per_s"), number(&found, "flooded_tokens_per_s"));
    assert!(is_ratio(&found["ratio"], flooded, calm), "{found}");
    // As many frames as layers for each token, and for the prompt with the first of them.
    assert!(number(&found, "frames_per_s") > calm, "{found}");
    assert!(number(&found, "first_packets_per_s") > 0.0, "{found}");
}

#[test]
fn rotation_counts_renewals_and_requests_of_which_none_fails() {
    let args = [
        "rotation",
        "--life",
        "10",
        "--tokens",
        "5",
        "--at-once",
        "2",
        "--turns",
        "1",
        "--turn-seconds",
        "8",
    ];
    let found = bench(&args);
    assert_eq!((&found["life_s"], &found["nodes"], &found["failures"]), (&json!(10), &json!(2), &json!(0)));
    // Each node has renewed at least once: a turn is longer than nine sixteenths of a life.
    assert!(number(&found, "renewals") >= 2.0, "{found}");
    let (steady, rotating) = (number(&found, "steady_p50_ms"), number(&found, "rotating_p50_ms"));
    assert!(is_ratio(&found["p50_ratio"], rotating, steady), "{found}");
    assert!(
        number(&found, "rotating_p99_ms") >= rotating && number(&found, "steady_p99_ms") >= steady,
        "{found}"
    );
    assert!(number(&found, "handover_ms") > 0.0, "{found}");
}

#[test]
fn deny_measures_the_log_the_push_and_the_close() {
    // More lanes than one address may begin at once.
    let found = bench(&["deny", "--rounds", "4", "--nodes", "1", "--lanes", "16"]);
    assert_eq!((&found["rounds"], &found["nodes"], &found["lanes"]), (&json!(4), &json!(1), &json!(16)));
    let times = ["logged_us", "pushed_us", "closed_us"].map(|key| number(&found, key));
    assert!(times.iter().all(|us| *us > 0.0), "{found}");
    // Nobody has a list before it stands in the log.
    assert!(times[1] > times[0], "{found}");
    let most = ["pushed_most_us", "closed_most_us"].map(|key| number(&found, key));
    assert!(most[0] >= times[1] && most[1] >= times[2], "{found}");
}

#[test]
fn nothing_to_measure_is_wrong_use() {
    let most = u64::MAX.to_string();
    for args in [
        ["http", "--tokens", "0"],
        ["decode", "--tokens", "0"],
        ["decode", "--repeats", "0"],
        ["batch", "--tokens", "0"],
        ["batch", "--repeats", "0"],
        ["batch", "--nodes", "17"],
        ["prefill", "--tokens", "0"],
        ["prefill", "--repeats", "0"],
        ["accounting", "--repeats", "0"],
        ["deny", "--rounds", "0"],
        ["flood", "--times", "0"],
        ["rotation", "--life", "9"],
        ["rotation", "--life", "86401"],
        ["dispatch", "--rounds", "0"],
        ["dispatch", "--rows", "0"],
        ["dispatch", "--hidden", "0"],
        ["dispatch", "--hidden", "16385"],
        ["kernel", "--repeats", "0"],
        ["kernel", "--rows", "0"],
        ["kernel", "--rows", &most],
        ["kernel", "--outputs", "0"],
        ["kernel", "--outputs", &most],
        ["kernel", "--inner", "0"],
        ["kernel", "--inner", "255"],
        ["kernel", "--inner", "65792"],
    ] {
        let done = ask(&[&["bench"], args.as_slice(), &["--json"]].concat());
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{args:?}: {done:?}");
        let said: Value = serde_json::from_str(&done.err).unwrap();
        assert_eq!(said["exit_code"], 2, "{args:?}: {said}");
        assert!(said["error"].as_str().unwrap().contains(args[1]), "{args:?}: {said}");
    }
}

#[test]
fn more_tokens_than_the_model_has_positions_are_the_same_mistake_everywhere() {
    for bench in ["decode", "batch", "http", "accounting", "prefill"] {
        let done = ask(&["bench", bench, "--tokens", "512", "--json"]);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{bench}: {done:?}");
        assert!(done.err.contains("has 512 positions"), "{bench}: {done:?}");
    }
    let nowhere = ask(&["bench", "prefill", "--model", "/nowhere/at-all"]);
    assert_eq!(nowhere.code, 4, "{nowhere:?}");
    assert!(nowhere.err.contains("there is no /nowhere/at-all; name a checkpoint folder"), "{nowhere:?}");
}

/// The processes that a process started.
fn children(of: Pid) -> Vec<Pid> {
    let of = of.as_raw_nonzero();
    let listed = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    listed.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn is_there(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

/// Looks before a test gives up: they bound a hang, not a speed.
const MAX_LOOKS: u32 = 10_000_000;

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let came = (0..MAX_LOOKS).any(|_| {
        std::thread::yield_now();
        is_so()
    });
    assert!(came, "{what}");
}

#[test]
fn an_interrupted_bench_leaves_neither_keys_nor_processes() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = command(&["bench", "batch", "--tokens", "400", "--repeats", "10000", "--json"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&bench);
    let entered = || std::fs::read_dir(folder.path()).unwrap().next().map(|found| found.unwrap().path());
    wait_until("no node has its key", || {
        entered().is_some_and(|home| home.join("node-1/identity/node.key").exists())
    });
    let mode = std::fs::metadata(entered().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let nodes = children(pid);
    assert_eq!(nodes.len(), 2);
    kill_process(pid, Signal::INT).unwrap();
    let done = bench.wait().unwrap();
    assert_eq!(done.code(), Some(130));
    assert_eq!(entered(), None);
    assert!(!nodes.into_iter().any(is_there));
    let mut said = String::new();
    bench.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains(r#""exit_code":130"#), "{said}");
}

#[test]
fn what_a_bench_started_for_itself_ends_with_it() {
    let mut bench =
        command(&["bench", "kernel", "--repeats", "10000"]).stdout(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_child(&bench);
    wait_until("no process was started", || !children(pid).is_empty());
    let started = children(pid)[0];
    bench.kill().unwrap();
    bench.wait().unwrap();
    wait_until("it measures on", || !is_there(started));
}
