//! The body of `POST /v1/chat/completions`, read into a type that cannot be wrong.
//!
//! Fields that do not change the answer (`user`, `metadata`, …) are accepted and passed over; a field that would
//! change it and is not supported is refused by name, so that nobody takes an answer for what it is not.

use serde::Deserialize;
use serde_json::Value;

use crate::http::error::ApiError;

/// The most stop strings that one request may name.
const MAX_STOPS: usize = 4;
/// The longest stop string, in bytes.
const MAX_STOP_BYTES: usize = 256;
/// The most messages in one request.
const MAX_MESSAGES: usize = 1024;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// `system`, `user` or `assistant`.
    pub(crate) role: String,
    /// Its text.
    pub(crate) content: String,
}

/// A checked chat request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatRequest {
    /// The model's name.
    pub(crate) model: String,
    /// At least one.
    pub(crate) messages: Vec<Message>,
    /// The most completion tokens, where the client set it.
    pub(crate) max_tokens: Option<u64>,
    /// 0 to 2; 0 is greedy.
    pub(crate) temperature: f32,
    /// Above 0, at most 1.
    pub(crate) top_p: f32,
    /// Makes sampling repeatable.
    pub(crate) seed: Option<u64>,
    /// Texts that end the answer and are not part of it.
    pub(crate) stop: Vec<String>,
    /// Whether the answer comes in pieces.
    pub(crate) stream: bool,
    /// Whether a stream ends with a usage chunk.
    pub(crate) include_usage: bool,
}

#[derive(Deserialize)]
struct RawRequest {
    model: Option<String>,
    messages: Option<Vec<RawMessage>>,
    max_tokens: Option<Value>,
    max_completion_tokens: Option<Value>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    stop: Option<RawStop>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<RawStreamOptions>,
    n: Option<u64>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
    response_format: Option<Value>,
    logprobs: Option<bool>,
    logit_bias: Option<serde_json::Map<String, Value>>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
}

#[derive(Deserialize)]
struct RawStreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawStop {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct RawMessage {
    role: String,
    content: Option<RawContent>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawContent {
    Text(String),
    Parts(Vec<RawPart>),
}

#[derive(Deserialize)]
struct RawPart {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

impl ChatRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// A 400 that names the parameter at fault.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let raw: RawRequest = serde_json::from_slice(body).map_err(|e| {
            ApiError::invalid("", format!("the request body is not valid JSON for this call: {e}"))
        })?;
        refuse_unsupported(&raw)?;
        let model = raw.model.filter(|m| !m.is_empty()).ok_or_else(|| {
            ApiError::invalid("model", "`model` is missing; GET /v1/models lists what can be asked for")
        })?;
        let temperature = within("temperature", raw.temperature, 1.0, 0.0, 2.0)?;
        let top_p = within("top_p", raw.top_p, 1.0, f64::from(f32::MIN_POSITIVE), 1.0)?;
        Ok(Self {
            model,
            messages: messages(raw.messages)?,
            max_tokens: max_tokens(raw.max_completion_tokens.as_ref(), raw.max_tokens.as_ref())?,
            temperature,
            top_p,
            seed: raw.seed.map(i64::cast_unsigned),
            stop: stops(raw.stop)?,
            stream: raw.stream.unwrap_or(false),
            include_usage: raw.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
        })
    }
}

fn refuse_unsupported(raw: &RawRequest) -> Result<(), ApiError> {
    let no = |param: &str| {
        Err(ApiError::invalid(param, format!("`{param}` is not supported here; leave it out of the request")))
    };
    if raw.n.is_some_and(|n| n != 1) {
        return Err(ApiError::invalid("n", "`n` must be 1; send one request for each answer"));
    }
    if raw.tools.as_ref().is_some_and(|t| !t.is_empty()) {
        return no("tools");
    }
    if raw.functions.as_ref().is_some_and(|t| !t.is_empty()) {
        return no("functions");
    }
    if raw.logprobs == Some(true) {
        return no("logprobs");
    }
    if raw.logit_bias.as_ref().is_some_and(|b| !b.is_empty()) {
        return no("logit_bias");
    }
    for (name, value) in
        [("frequency_penalty", raw.frequency_penalty), ("presence_penalty", raw.presence_penalty)]
    {
        if value.is_some_and(|v| v.abs() > 0.0) {
            return no(name);
        }
    }
    match raw.response_format.as_ref().and_then(|f| f.get("type")).and_then(Value::as_str) {
        None | Some("text") => Ok(()),
        Some(_) => no("response_format"),
    }
}

fn within(param: &str, value: Option<f64>, default: f64, low: f64, high: f64) -> Result<f32, ApiError> {
    let value = value.unwrap_or(default);
    if !(low..=high).contains(&value) {
        return Err(ApiError::invalid(
            param,
            format!("`{param}` is {value}; it must lie within {low} and {high}"),
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded to the nearest f32, within the checked interval"
    )]
    Ok(value as f32)
}

fn max_tokens(new: Option<&Value>, old: Option<&Value>) -> Result<Option<u64>, ApiError> {
    let (param, value) = match (new, old) {
        (Some(v), _) if !v.is_null() => ("max_completion_tokens", v),
        (_, Some(v)) if !v.is_null() => ("max_tokens", v),
        _ => return Ok(None),
    };
    match value.as_u64() {
        Some(n) if n > 0 => Ok(Some(n)),
        _ => {
            Err(ApiError::invalid(param, format!("`{param}` is {value}; it must be a whole number above 0")))
        }
    }
}

fn messages(raw: Option<Vec<RawMessage>>) -> Result<Vec<Message>, ApiError> {
    let raw = raw.unwrap_or_default();
    if raw.is_empty() {
        return Err(ApiError::invalid("messages", "`messages` is missing or empty; send at least one"));
    }
    if raw.len() > MAX_MESSAGES {
        return Err(ApiError::invalid("messages", format!("more than {MAX_MESSAGES} messages")));
    }
    raw.into_iter().enumerate().map(|(i, m)| message(i, m)).collect()
}

fn message(index: usize, raw: RawMessage) -> Result<Message, ApiError> {
    let role = match raw.role.as_str() {
        // OpenAI's newer name for instructions from the application.
        "developer" => "system".to_owned(),
        "system" | "user" | "assistant" => raw.role,
        other => {
            return Err(ApiError::invalid(
                &format!("messages[{index}].role"),
                format!("role {other:?} is not supported; use system, user or assistant"),
            ));
        }
    };
    let content = match raw.content {
        Some(RawContent::Text(text)) => text,
        Some(RawContent::Parts(parts)) => {
            let mut text = String::new();
            for part in parts {
                match (part.kind.as_str(), part.text) {
                    ("text", Some(t)) => text.push_str(&t),
                    (kind, _) => {
                        return Err(ApiError::invalid(
                            &format!("messages[{index}].content"),
                            format!("content of type {kind:?} is not supported; this model reads text"),
                        ));
                    }
                }
            }
            text
        }
        None => {
            return Err(ApiError::invalid(&format!("messages[{index}].content"), "content is missing"));
        }
    };
    Ok(Message { role, content })
}

fn stops(raw: Option<RawStop>) -> Result<Vec<String>, ApiError> {
    let stops = match raw {
        None => Vec::new(),
        Some(RawStop::One(one)) => vec![one],
        Some(RawStop::Many(many)) => many,
    };
    if stops.len() > MAX_STOPS {
        return Err(ApiError::invalid("stop", format!("at most {MAX_STOPS} stop strings")));
    }
    if stops.iter().any(|s| s.is_empty() || s.len() > MAX_STOP_BYTES) {
        return Err(ApiError::invalid("stop", format!("a stop string has 1 to {MAX_STOP_BYTES} bytes")));
    }
    Ok(stops)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(body: &str) -> Option<String> {
        ChatRequest::parse(body.as_bytes()).unwrap_err().param
    }

    #[test]
    fn the_smallest_request_has_openais_defaults() {
        let r =
            ChatRequest::parse(br#"{"model":"guide","messages":[{"role":"user","content":"hi"}]}"#).unwrap();
        let want = ChatRequest {
            model: "guide".into(),
            messages: vec![Message { role: "user".into(), content: "hi".into() }],
            max_tokens: None,
            temperature: 1.0,
            top_p: 1.0,
            seed: None,
            stop: vec![],
            stream: false,
            include_usage: false,
        };
        assert_eq!(r, want);
    }

    #[test]
    fn text_parts_are_joined_and_other_parts_refused() {
        let ok = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#;
        assert_eq!(ChatRequest::parse(ok).unwrap().messages[0].content, "ab");
        let bad =
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#;
        assert_eq!(param(bad).as_deref(), Some("messages[0].content"));
    }

    #[test]
    fn newer_limit_wins_over_the_older_one() {
        let r = ChatRequest::parse(
            br#"{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":5,"max_completion_tokens":7}"#,
        );
        assert_eq!(r.unwrap().max_tokens, Some(7));
    }

    #[test]
    fn each_bad_field_is_named() {
        let with =
            |field: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],{field}}}"#);
        for (field, want) in [
            (r#""max_tokens":0"#, "max_tokens"),
            (r#""max_tokens":-1"#, "max_tokens"),
            (r#""temperature":2.1"#, "temperature"),
            (r#""top_p":0"#, "top_p"),
            (r#""n":2"#, "n"),
            (r#""stop":["a","b","c","d","e"]"#, "stop"),
            (r#""stop":"""#, "stop"),
            (r#""tools":[{}]"#, "tools"),
            (r#""logprobs":true"#, "logprobs"),
            (r#""response_format":{"type":"json_object"}"#, "response_format"),
            (r#""presence_penalty":0.5"#, "presence_penalty"),
        ] {
            assert_eq!(param(&with(field)).as_deref(), Some(want), "{field}");
        }
        assert_eq!(param(r#"{"messages":[]}"#).as_deref(), Some("model"));
        assert_eq!(param(r#"{"model":"m","messages":[]}"#).as_deref(), Some("messages"));
    }

    #[test]
    fn malformed_json_is_a_400() {
        let e = ChatRequest::parse(b"{").unwrap_err();
        assert_eq!((e.status.as_u16(), e.class), (400, "invalid_request_error"));
    }
}
