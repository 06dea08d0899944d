//! `counterfoil bench accounting`: what share of the CPU time of decoding evidence takes.
//!
//! Router and nodes run in this process, so that its CPU time is all there is. Evidence is every order that is signed and
//! checked, every transcript, receipt and countersignature, every hold and what is posted of it, the salts, and every
//! log entry with its index, of the router and of each node. It is that of an answer over the API; the CPU time that it
//! is compared with is that of the same number of positions without HTTP, which is less. Nobody can put words to a model
//! without a tokenizer: then both are of the work without HTTP, for which no inference is logged and nothing is held.

use std::path::Path;
use std::time::Duration;

use counterfoil_audit::cost::Count;
use counterfoil_router::Prompt;
use serde_json::json;

use super::http::{ask, without_http};
use super::{PROMPT, fits, median, prompt};
use crate::client::Client;
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{Layout, Throwaway};

/// Nodes log their receipts once these are acknowledged, which is a moment after the answer.
const AFTER: Duration = Duration::from_millis(50);

/// Microseconds of CPU time of one request.
struct Spent {
    evidence_us: f64,
    all_us: f64,
}

/// Measures request after request; the first warms up and is thrown away.
pub(super) async fn run(
    model: Option<&Path>,
    (tokens, repeats): (u32, u32),
    layout: Layout,
    json: bool,
) -> Outcome {
    let checkpoint = checkpoint(model)?;
    fits(&checkpoint, PROMPT.len(), tokens)?;
    let name = checkpoint.vocabulary().is_ok().then(|| checkpoint.name());
    let first = prompt(checkpoint.config().vocab);
    let (mut evidence_us, mut all_us, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    let measure = async |network: &Throwaway| {
        for turn in 0..=repeats {
            let spent = match name {
                Some(name) => answered(network, (name, tokens), first).await?,
                None => continued(network, tokens, first).await?,
            };
            if turn > 0 {
                shares.push(spent.evidence_us / spent.all_us);
                evidence_us.push(spent.evidence_us);
                all_us.push(spent.all_us);
            }
        }
        Ok(())
    };
    Box::pin(Throwaway::during(model, &checkpoint, layout, measure)).await?;
    let (evidence_us, all_us, ratio) = (median(evidence_us), median(all_us), median(shares));
    if json {
        output::json(&json!({
            "tokens": tokens, "repeats": repeats, "nodes": layout.nodes, "evidence_us": evidence_us,
            "all_us": all_us, "ratio": ratio, "inferences": name.is_some(),
        }));
        return Ok(());
    }
    output::line(&format!("evidence     {:10.1} us CPU a request", evidence_us));
    output::line(&format!("all          {:10.1} us CPU a request of {tokens} tokens", all_us));
    output::line(&format!("share        {:10.2} %", ratio * 100.0));
    Ok(())
}

/// The evidence of an answer over the API, and the CPU time of as many positions without it.
async fn answered(
    network: &Throwaway,
    (model, tokens): (&str, u32),
    first: [u32; 8],
) -> Result<Spent, Failure> {
    let client = Client::new(&format!("http://{}", network.router.http_addr()), None)?;
    let count = Count::begin();
    let answer = ask(&client, model, tokens).await?;
    tokio::time::sleep(AFTER).await;
    let (evidence, _) = count.taken();
    drop(count);
    let count = Count::begin();
    without_http(network, first, &[answer]).await?;
    tokio::time::sleep(AFTER).await;
    let (_, all) = count.taken();
    Ok(Spent { evidence_us: evidence.as_secs_f64() * 1e6, all_us: all.as_secs_f64() * 1e6 })
}

/// Both of the same request, without HTTP.
async fn continued(network: &Throwaway, tokens: u32, first: [u32; 8]) -> Result<Spent, Failure> {
    let prompt = Prompt { ids: first.to_vec(), more: tokens };
    let count = Count::begin();
    let trial = network.router.continue_all(&[prompt]).await;
    trial.continued.into_iter().try_for_each(|done| done.map(drop)).map_err(Failure::refused)?;
    let (evidence, all) = count.taken();
    Ok(Spent { evidence_us: evidence.as_secs_f64() * 1e6, all_us: all.as_secs_f64() * 1e6 })
}
