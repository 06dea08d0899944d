//! `counterfoil bench http`: answers over the API, streamed, beside the same work asked for without HTTP.

use std::path::Path;
use std::time::{Duration, Instant};

use counterfoil_router::Prompt;
use futures_util::future::try_join_all;
use hyper::Method;
use serde_json::{Value, json};

use super::{PROMPT, fits, median, prompt};
use crate::client::{Client, events, refusal, whole};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{Layout, Throwaway};

/// How many requests run at one time.
const AT_ONCE: [u32; 2] = [1, 8];

/// What is asked.
const QUESTION: &str = "What is written down about an answer, and who can check it?";

/// One streamed answer.
pub(super) struct Answer {
    /// From the request to its first text.
    first: Duration,
    /// From the request to the end of the stream: every entry is in the log.
    whole: Duration,
    prompt_tokens: u32,
    tokens: u32,
}

/// What one number of requests at one time came to.
#[derive(Default)]
struct Figures {
    first_ms: Vec<f64>,
    whole_ms: Vec<f64>,
    tokens_per_s: Vec<f64>,
    without_tokens_per_s: Vec<f64>,
}

/// Measures both in turn; the first turn warms up and is thrown away.
pub(super) async fn run(
    model: Option<&Path>,
    (tokens, repeats): (u32, u32),
    layout: Layout,
    json: bool,
) -> Outcome {
    let checkpoint = checkpoint(model)?;
    fits(&checkpoint, PROMPT.len(), tokens)?;
    checkpoint.vocabulary().map_err(|e| {
        let name = checkpoint.name();
        Failure::wrong_use(format!(
            "words cannot be put to the model {name:?}: {e}; `counterfoil bench batch` needs no tokenizer"
        ))
    })?;
    let first = prompt(checkpoint.config().vocab);
    let mut all = AT_ONCE.map(|_| Figures::default());
    let measure = async |network: &Throwaway| {
        let client = Client::new(&format!("http://{}", network.router.http_addr()), None)?;
        for turn in 0..=repeats {
            for (requests, figures) in AT_ONCE.iter().zip(&mut all) {
                let began = Instant::now();
                let asked = (0..*requests).map(|_| ask(&client, checkpoint.name(), tokens));
                let answers = try_join_all(asked).await?;
                let over_http = rate(&answers, began.elapsed());
                let without = without_http(network, first, &answers).await?;
                if turn > 0 {
                    figures.tokens_per_s.push(over_http);
                    figures.without_tokens_per_s.push(without);
                    figures.first_ms.extend(answers.iter().map(|a| a.first.as_secs_f64() * 1e3));
                    figures.whole_ms.extend(answers.iter().map(|a| a.whole.as_secs_f64() * 1e3));
                }
            }
        }
        Ok(())
    };
    Box::pin(Throwaway::during(model, &checkpoint, layout, measure)).await?;
    print(&all.map(Found::of), (tokens, repeats, layout.nodes), json);
    Ok(())
}

/// Streams one answer to its end.
pub(super) async fn ask(client: &Client, model: &str, tokens: u32) -> Result<Answer, Failure> {
    let body = json!({
        "model": model, "max_tokens": tokens, "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": QUESTION }],
    });
    let began = Instant::now();
    let response = client.send(Method::POST, "/v1/chat/completions", Some(&body)).await?;
    if !response.status().is_success() {
        return Err(refusal(response.status(), &whole(response).await?));
    }
    let (mut first, mut usage) = (None, Value::Null);
    events(response, |chunk| {
        let has_text = |text: &str| !text.is_empty();
        if chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).is_some_and(has_text) {
            first.get_or_insert_with(|| began.elapsed());
        }
        if let Some(found) = chunk.get("usage").filter(|usage| usage.is_object()) {
            usage = found.clone();
        }
    })
    .await?;
    let whole = began.elapsed();
    let count = |key: &str| usage.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let (Some(prompt_tokens), Some(tokens)) = (count("prompt_tokens"), count("completion_tokens")) else {
        return Err(Failure::refused("an answer broke off before it said how many tokens it has"));
    };
    Ok(Answer { first: first.unwrap_or(whole), whole, prompt_tokens, tokens })
}

/// As many prompts of as many tokens, continued by as many: tokens of the answers in a second, read and settled.
pub(super) async fn without_http(
    network: &Throwaway,
    first: [u32; 8],
    answers: &[Answer],
) -> Result<f64, Failure> {
    let prompt = |(turn, answer): (usize, &Answer)| {
        let length = usize::try_from(answer.prompt_tokens).unwrap_or(usize::MAX);
        let ids = first.iter().copied().cycle().skip(turn).take(length).collect();
        Prompt { ids, more: answer.tokens }
    };
    let prompts: Vec<Prompt> = answers.iter().enumerate().map(prompt).collect();
    let began = Instant::now();
    let trial = network.router.continue_all(&prompts).await;
    let took = began.elapsed();
    trial.continued.into_iter().try_for_each(|done| done.map(drop)).map_err(Failure::refused)?;
    Ok(rate(answers, took))
}

fn rate(answers: &[Answer], took: Duration) -> f64 {
    answers.iter().map(|answer| f64::from(answer.tokens)).sum::<f64>() / took.as_secs_f64()
}

/// Medians, and the slowest of a hundred.
struct Found {
    tokens_per_s: f64,
    without_tokens_per_s: f64,
    first_ms: (f64, f64),
    whole_ms: (f64, f64),
}

impl Found {
    fn of(figures: Figures) -> Self {
        let Figures { first_ms, whole_ms, tokens_per_s, without_tokens_per_s } = figures;
        Self {
            tokens_per_s: median(tokens_per_s),
            without_tokens_per_s: median(without_tokens_per_s),
            first_ms: (median(first_ms.clone()), p99(first_ms)),
            whole_ms: (median(whole_ms.clone()), p99(whole_ms)),
        }
    }

    fn ratio(&self) -> f64 {
        self.tokens_per_s / self.without_tokens_per_s
    }
}

fn print(found: &[Found; 2], (tokens, repeats, nodes): (u32, u32, u32), json: bool) {
    if json {
        let kinds: Vec<Value> = AT_ONCE
            .iter()
            .zip(found)
            .map(|(requests, found)| {
                json!({
                    "requests": requests, "tokens_per_s": found.tokens_per_s,
                    "without_http_tokens_per_s": found.without_tokens_per_s, "ratio": found.ratio(),
                    "first_token_p50_ms": found.first_ms.0, "first_token_p99_ms": found.first_ms.1,
                    "answer_p50_ms": found.whole_ms.0, "answer_p99_ms": found.whole_ms.1,
                })
            })
            .collect();
        let one = found.first().map_or(f64::NAN, Found::ratio);
        output::json(&json!({
            "tokens": tokens, "repeats": repeats, "nodes": nodes, "kinds": kinds, "ratio": one,
        }));
        return;
    }
    for (requests, found) in AT_ONCE.iter().zip(found) {
        output::line(&format!(
            "{requests} at one time {:8.1} tokens/s over HTTP {:8.1} without, ratio {:5.2}",
            found.tokens_per_s,
            found.without_tokens_per_s,
            found.ratio()
        ));
        output::line(&format!(
            "              first token {:7.1} ms ({:.1} at p99), answer {:7.1} ms ({:.1} at p99)",
            found.first_ms.0, found.first_ms.1, found.whole_ms.0, found.whole_ms.1
        ));
    }
}

fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
