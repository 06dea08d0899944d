//! `counterfoil audit recount`: what a client can check of its own request with what it has itself.

mod books;

use std::path::Path;

use counterfoil_audit::TrustedKeys;
use counterfoil_audit::commitment::{Committed, commitment};
use counterfoil_audit::proofs::{Given, Judged, MAX_PROOFS, Pins, judge};
use counterfoil_audit::tile::read_limited;
use counterfoil_model::{Ending, Message};
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::payload::{Inference, Payload};
use counterfoil_spec::rule::{Fault, FaultKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::trusted::{followed, pinned};
use crate::args::RecountArgs;
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;

/// A receipt, or a text, in bytes.
const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// What the receipt endpoint answers, as far as it is used here.
#[derive(Deserialize)]
struct Receipt {
    request_id: Serial,
    salt: Option<Hash>,
    /// What the router shows of the entry beside its proof.
    #[serde(default)]
    inference: Option<Value>,
    proof: String,
    #[serde(default)]
    succession: Option<String>,
    #[serde(default)]
    works: Vec<WorkProof>,
}

#[derive(Deserialize)]
struct WorkProof {
    serial: Serial,
    proof: String,
}

/// What came of one comparison.
struct Compared {
    what: &'static str,
    outcome: Result<String, String>,
}

/// Recounts one receipt.
pub(super) fn run(args: &RecountArgs, json: bool) -> Outcome {
    let text = text_of(&args.receipt)?;
    let receipt: Receipt = serde_json::from_str(&text)
        .map_err(|e| Failure::wrong_use(format!("{}: no receipt: {e}", args.receipt.display())))?;
    let key = TrustedKeys::one(pinned(&args.vkey)?);
    let key = match &receipt.succession {
        Some(succession) => followed(&key, succession.as_bytes(), &args.receipt)?,
        None => key,
    };
    let names: Vec<String> = receipt.works.iter().map(|w| format!("work {}", w.serial)).collect();
    let works = names.iter().zip(&receipt.works).map(|(file, w)| Given {
        file,
        bytes: w.proof.as_bytes(),
        leaf: None,
    });
    let own = Given { file: "inference", bytes: receipt.proof.as_bytes(), leaf: None };
    let given: Vec<Given<'_>> = std::iter::once(own).chain(works).take(MAX_PROOFS).collect();
    let mut judged = judge(&given, &Pins { key: &key, net_id: None, policy: None });
    let inference = belongs(&receipt, &mut judged);
    let mut compared = Vec::new();
    if let Some(inference) = &inference {
        compared = books::recount(&receipt, inference, &judged);
        compared.extend(compare(args, &receipt, inference)?);
    }
    let differing = compared.iter().filter(|c| c.outcome.is_err()).count();
    tell(&judged, inference.as_ref(), &compared, json);
    if judged.faults.is_empty() && differing == 0 {
        return Ok(());
    }
    Err(Failure::check(format!("{} faults, {differing} differences", judged.faults.len())))
}

/// The request's own entry; what is proved beside it must be named by it.
fn belongs(receipt: &Receipt, judged: &mut Judged) -> Option<Inference> {
    let of = |file: &str| judged.proofs.iter().find(|p| p.file == file);
    let wrong = |file: &str, detail: &str| Fault {
        kind: FaultKind::WrongParty,
        index: None,
        file: Some(file.to_owned()),
        detail: detail.to_owned(),
    };
    let mut faults = Vec::new();
    let inference = of("inference").and_then(|own| match &own.body.payload {
        Payload::Inference(inference) if own.body.serial == receipt.request_id => Some(inference.clone()),
        _ => {
            faults.push(wrong("inference", "the entry that is proved is not this request's"));
            None
        }
    });
    for work in judged.proofs.iter().filter(|p| p.file != "inference") {
        let named = inference.as_ref().is_some_and(|i| i.works.contains(&work.body.serial));
        let fits = matches!(&work.body.payload, Payload::Work(w) if w.request == receipt.request_id);
        if !(named && fits) {
            faults.push(wrong(&work.file, "the entry that is proved is not work for this request"));
        }
    }
    judged.faults.extend(faults);
    inference
}

fn compare(args: &RecountArgs, receipt: &Receipt, logged: &Inference) -> Result<Vec<Compared>, Failure> {
    let mut out = Vec::new();
    let prompt = match (&args.prompt, &args.messages) {
        (Some(path), _) => Some(text_of(path)?),
        (None, Some(path)) => {
            let vocabulary = checkpoint(args.model.as_deref())?.vocabulary().map_err(Failure::store)?;
            let template = vocabulary
                .template()
                .ok_or_else(|| Failure::wrong_use("this model has no chat template; give the --prompt"))?;
            let text = template
                .render(&messages(path)?, Ending::Answer, logged.started.seconds())
                .map_err(Failure::wrong_use)?;
            let tokens = vocabulary.encode(&text).map_err(Failure::wrong_use)?.len();
            out.push(count(tokens, logged.prompt_tokens.0));
            Some(text)
        }
        (None, None) => None,
    };
    let answer = args.answer.as_deref().map(text_of).transpose()?;
    if prompt.is_none() && answer.is_none() {
        return Ok(out);
    }
    let Some(salt) = &receipt.salt else {
        let why = "the salt was erased, so that nobody can check the texts any more".to_owned();
        out.push(Compared { what: "texts", outcome: Err(why) });
        return Ok(out);
    };
    for (what, committed, text, want) in [
        ("prompt", Committed::Prompt, prompt, logged.prompt_commitment),
        ("answer", Committed::Output, answer, logged.output_commitment),
    ] {
        let Some(text) = text else { continue };
        // An editor ends a file with a newline that was not part of the text.
        let forms = [Some(text.as_str()), text.strip_suffix('\n')];
        let same = forms.into_iter().flatten().any(|text| commitment(salt, committed, text) == want);
        let outcome = if same {
            Ok("is the text that the log commits to".to_owned())
        } else {
            Err("is not the text that the log commits to".to_owned())
        };
        out.push(Compared { what, outcome });
    }
    Ok(out)
}

fn count(tokens: usize, logged: u64) -> Compared {
    let outcome = if u64::try_from(tokens) == Ok(logged) {
        Ok(format!("{tokens}, as logged"))
    } else {
        Err(format!("{tokens}, where {logged} are logged"))
    };
    Compared { what: "prompt tokens", outcome }
}

/// The messages of a request body, or a list of them.
fn messages(path: &Path) -> Result<Vec<Message>, Failure> {
    let wrong = |e: serde_json::Error| {
        Failure::wrong_use(format!("{}: no messages with a role and a text each: {e}", path.display()))
    };
    let mut value: Value = serde_json::from_str(&text_of(path)?).map_err(wrong)?;
    if let Some(inner) = value.get_mut("messages") {
        value = inner.take();
    }
    serde_json::from_value(value).map_err(wrong)
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let at = |e: &dyn std::fmt::Display| Failure::wrong_use(format!("{}: {e}", path.display()));
    let bytes = read_limited(path, MAX_FILE_BYTES).map_err(|e| at(&e))?;
    String::from_utf8(bytes.ok_or_else(|| at(&"there is no such file"))?).map_err(|e| at(&e))
}

fn tell(judged: &Judged, inference: Option<&Inference>, compared: &[Compared], json: bool) {
    if json {
        let checks: Vec<Value> = compared
            .iter()
            .map(|c| {
                let (Ok(said) | Err(said)) = &c.outcome;
                json!({ "what": c.what, "ok": c.outcome.is_ok(), "detail": said })
            })
            .collect();
        let ok = judged.faults.is_empty() && compared.iter().all(|c| c.outcome.is_ok());
        output::json(&json!({
            "ok": ok, "faults": judged.faults, "checks": checks, "inference": inference,
            "proved": judged.proofs.iter().map(|p| p.index).collect::<Vec<_>>(),
        }));
        return;
    }
    for fault in &judged.faults {
        let file = fault.file.as_deref().unwrap_or_default();
        output::line(&format!("{} {file}: {}", fault.kind.name(), fault.detail));
    }
    for proved in &judged.proofs {
        output::line(&format!(
            "{}: entry {} is in the log of {} entries",
            proved.file, proved.index, proved.size
        ));
    }
    if let Some(i) = inference {
        output::line(&format!(
            "logged: {} prompt and {} completion tokens, {} forwards without a receipt",
            i.prompt_tokens.0, i.completion_tokens.0, i.unreceipted
        ));
    }
    for Compared { what, outcome } in compared {
        let (Ok(said) | Err(said)) = outcome;
        output::line(&format!("{what}: {said}"));
    }
    output::line(
        "Not recounted: how many tokens the answer has, and the signatures of entries and receipts, which `audit verify` checks.",
    );
}
