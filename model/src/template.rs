//! Conversations to text, by the Jinja template that comes with a model.
//!
//! Templates are written for transformers, so this offers what that does (`utils/chat_template_utils.py` of 5.23):
//! blocks are trimmed, `break` and `continue` work, Python's string, list and dict methods are there, `tojson` does
//! not escape HTML, `raise_exception` and `strftime_now` exist, `tools` and `documents` are none, the length of what is
//! not defined is 0, and what `generation` marks for training is rendered as it stands. A template has no access to anything, and its steps are
//! bounded by [`MAX_TEMPLATE_STEPS`].

use counterfoil_spec::limits::MAX_TEMPLATE_STEPS;
use counterfoil_spec::time::Seconds;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use crate::strftime::strftime;
use crate::tojson::tojson;

/// A parsed template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    marks: Marks,
}

/// The texts of the special tokens that templates name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) bos: String,
    pub(crate) eos: String,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`; what others mean is the template's matter.
    pub role: String,
    /// The text.
    pub content: String,
}

/// What follows the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The beginning of an answer.
    Answer,
    /// Nothing.
    Nothing,
}

/// A template that cannot be parsed or does not accept a conversation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template itself said so, with `raise_exception`: the caller's conversation does not suit the model.
    #[error("the chat template refused: {0}")]
    Refused(String),
    /// The template is wrong.
    #[error("the chat template failed: {0}")]
    Failed(String),
}

impl ChatTemplate {
    pub(crate) fn parse(text: &str, marks: Marks) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(MAX_TEMPLATE_STEPS));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_filter("length", length);
        environment.add_filter("count", length);
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, REFUSED).with_source(Reason(reason)))
        });
        environment
            .add_template_owned(NAME, without_generation(text))
            .map_err(|e| TemplateError::Failed(e.to_string()))?;
        Ok(Self { environment, marks })
    }

    /// The text of a conversation. `now` is what `strftime_now` tells, in UTC.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn render(
        &self,
        messages: &[Message],
        ending: Ending,
        now: Seconds,
    ) -> Result<String, TemplateError> {
        let strftime_now = Value::from_function(move |format: &str| strftime(format, now));
        let template = self.environment.get_template(NAME).map_err(told)?;
        template
            .render(context! {
                messages => messages,
                tools => (),
                documents => (),
                add_generation_prompt => ending == Ending::Answer,
                bos_token => self.marks.bos,
                eos_token => self.marks.eos,
                strftime_now => strftime_now,
            })
            .map_err(told)
    }
}

/// Jinja's `length`, by which a template may also ask whether something was given at all.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    let wrong = || Error::new(ErrorKind::InvalidOperation, format!("a {} has no length", value.kind()));
    value.len().ok_or_else(wrong)
}

/// The tags `generation` and `endgeneration` as a condition that always holds; spaces around them are trimmed as ever.
fn without_generation(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{%") {
        let end = after.find("%}").unwrap_or(after.len());
        let (tag, after) = after.split_at(end);
        let word = tag.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        out.extend([before, "{%"]);
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

fn told(error: Error) -> TemplateError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(found) = cause {
        if let Some(Reason(reason)) = found.downcast_ref::<Reason>() {
            return TemplateError::Refused(reason.clone());
        }
        cause = found.source();
    }
    TemplateError::Failed(error.to_string())
}

/// What a template gave `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reason(String);

const NAME: &str = "chat";
const REFUSED: &str = "refused";

#[cfg(test)]
mod tests;
