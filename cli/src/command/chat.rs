//! `counterfoil chat`: one question, or a conversation on the terminal.

use std::io::{BufRead, IsTerminal};
use std::path::Path;

use counterfoil_spec::text::shown_lines;
use hyper::Method;
use serde_json::{Value, json};

use crate::args::ChatArgs;
use crate::client::{Client, events, refusal, whole};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::target;

/// Asks once, or until the input ends.
pub(crate) async fn run(home: &Path, args: ChatArgs, json: bool) -> Outcome {
    let client = target::client(home, &args.url)?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None => first_model(&client).await?,
    };
    let mut messages: Vec<Value> = Vec::new();
    if let Some(prompt) = &args.prompt {
        return ask(&client, &args, &model, &mut messages, prompt, json).await;
    }
    let interactive = std::io::stdin().is_terminal();
    if interactive && !json {
        output::line(&format!("Talking to {model}; an empty line or Ctrl-D ends it."));
    }
    loop {
        if interactive && !json {
            output::piece("> ");
        }
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(());
        }
        ask(&client, &args, &model, &mut messages, line.trim(), json).await?;
    }
}

async fn first_model(client: &Client) -> Result<String, Failure> {
    let models = client.json(Method::GET, "/v1/models", None).await?;
    let first = models.pointer("/data/0/id").and_then(Value::as_str);
    first.map(str::to_owned).ok_or_else(|| Failure::refused("the router offers no model"))
}

async fn ask(
    client: &Client,
    args: &ChatArgs,
    model: &str,
    messages: &mut Vec<Value>,
    prompt: &str,
    json: bool,
) -> Outcome {
    messages.push(json!({ "role": "user", "content": prompt }));
    let mut body =
        json!({ "model": model, "messages": messages, "temperature": args.temperature, "stream": !json });
    if let (Some(limit), Some(object)) = (args.max_tokens, body.as_object_mut()) {
        object.insert("max_tokens".into(), limit.into());
    }
    let path = "/v1/chat/completions";
    if json {
        output::json(&client.json(Method::POST, path, Some(&body)).await?);
        return Ok(());
    }
    let response = client.send(Method::POST, path, Some(&body)).await?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(refusal(status, &whole(response).await?));
    }
    let (text, proof) = stream(response).await?;
    output::line("");
    if let Some(entry) = proof.pointer("/entry").and_then(Value::as_u64) {
        output::line(&format!("[log entry {entry}; `counterfoil audit show {entry}` prints it]"));
    }
    messages.push(json!({ "role": "assistant", "content": text }));
    Ok(())
}

/// Prints text as it comes; gives the whole of it and where it stands in the log.
async fn stream(response: hyper::Response<hyper::body::Incoming>) -> Result<(String, Value), Failure> {
    let (mut text, mut proof) = (String::new(), Value::Null);
    events(response, |chunk| {
        if let Some(piece) = chunk.pointer("/choices/0/delta/content").and_then(Value::as_str) {
            output::piece(&shown_lines(piece));
            text.push_str(piece);
        }
        if let Some(found) = chunk.get("counterfoil") {
            proof = found.clone();
        }
    })
    .await?;
    if proof.is_null() {
        return Err(Failure::refused("the answer broke off before it was in the log"));
    }
    Ok((text, proof))
}
