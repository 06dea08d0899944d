//! Answers in the form of OpenAI's chat completions, whole and in pieces.

use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::FinishReason;
use serde_json::{Value, json};

/// What identifies an answer in every one of its chunks.
#[derive(Debug, Clone)]
pub(crate) struct ReplyHead {
    /// The request.
    pub(crate) request: Serial,
    /// When it was made, Unix seconds.
    pub(crate) created: u64,
    /// The model's name.
    pub(crate) model: String,
}

/// What is known once an answer is durable in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyEnd {
    /// Why it ended.
    pub(crate) finish: FinishReason,
    /// Prompt tokens.
    pub(crate) prompt_tokens: u64,
    /// Completion tokens.
    pub(crate) completion_tokens: u64,
    /// The index of its `inference` entry.
    pub(crate) entry: u64,
}

impl ReplyEnd {
    const fn finish_reason(&self) -> &'static str {
        match self.finish {
            FinishReason::Stop => "stop",
            _ => "length",
        }
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": { "cached_tokens": 0 },
        })
    }
}

impl ReplyHead {
    fn id(&self) -> String {
        format!("chatcmpl-{}", self.request)
    }

    fn proof(&self, end: &ReplyEnd) -> Value {
        json!({ "entry": end.entry, "request_id": self.request })
    }

    /// The whole answer.
    #[must_use]
    pub(crate) fn whole(&self, text: &str, end: &ReplyEnd) -> Value {
        json!({
            "id": self.id(), "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{
                "index": 0, "finish_reason": end.finish_reason(), "logprobs": null,
                "message": { "role": "assistant", "content": text, "refusal": null },
            }],
            "usage": end.usage(),
            "counterfoil": self.proof(end),
        })
    }

    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.id(), "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices,
        })
    }

    /// The first chunk of a stream.
    #[must_use]
    pub(crate) fn first_chunk(&self) -> Value {
        self.chunk(
            &json!([{ "index": 0, "finish_reason": null, "delta": { "role": "assistant", "content": "" } }]),
        )
    }

    /// A piece of text.
    #[must_use]
    pub(crate) fn text_chunk(&self, text: &str) -> Value {
        self.chunk(&json!([{ "index": 0, "finish_reason": null, "delta": { "content": text } }]))
    }

    /// The chunk that says why the answer ended and where it stands in the log.
    #[must_use]
    pub(crate) fn last_chunk(&self, end: &ReplyEnd) -> Value {
        let mut chunk =
            self.chunk(&json!([{ "index": 0, "finish_reason": end.finish_reason(), "delta": {} }]));
        if let Some(object) = chunk.as_object_mut() {
            object.insert("counterfoil".into(), self.proof(end));
        }
        chunk
    }

    /// The chunk that only counts, for clients that asked for it.
    #[must_use]
    pub(crate) fn usage_chunk(&self, end: &ReplyEnd) -> Value {
        let mut chunk = self.chunk(&json!([]));
        if let Some(object) = chunk.as_object_mut() {
            object.insert("usage".into(), end.usage());
            object.insert("counterfoil".into(), self.proof(end));
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_chunk_names_the_entry_and_the_reason() {
        let head = ReplyHead { request: Serial::from_bytes([1; 16]), created: 5, model: "guide".into() };
        let end = ReplyEnd { finish: FinishReason::Length, prompt_tokens: 2, completion_tokens: 3, entry: 9 };
        let chunk = head.last_chunk(&end);
        assert_eq!(chunk.pointer("/choices/0/finish_reason"), Some(&json!("length")));
        assert_eq!(chunk.pointer("/counterfoil/entry"), Some(&json!(9)));
        assert_eq!(head.usage_chunk(&end).pointer("/usage/total_tokens"), Some(&json!(5)));
    }
}
