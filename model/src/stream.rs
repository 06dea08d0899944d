//! Token ids to text as they come, in whole characters.
#![expect(clippy::indexing_slicing, reason = "`read` never passes the end of the window")]

use counterfoil_spec::limits::MAX_PENDING_TOKENS;

use crate::vocabulary::{TokenizeError, Vocabulary};

/// Decodes one answer. The pieces, put together, are what decoding all ids at once gives.
///
/// A tokenizer may cut a character between ids, and may write an id differently at the start of a text. So a window
/// of ids is decoded twice, without and with the new ones, and the difference is the new text; it waits while it ends
/// in U+FFFD, which is how a cut character shows. A text may truly end so, so once [`MAX_PENDING_TOKENS`] ids wait
/// all but the last few, which alone can be the beginning of a character, are let go.
pub struct TextStream<'a> {
    vocabulary: &'a Vocabulary,
    window: Vec<u32>,
    /// Ids at the window's start whose text was given already.
    read: usize,
}

impl<'a> TextStream<'a> {
    pub(crate) fn new(vocabulary: &'a Vocabulary) -> Self {
        Self { vocabulary, window: Vec::new(), read: 0 }
    }

    /// The text that this id completes; often empty.
    ///
    /// # Errors
    /// [`TokenizeError`].
    pub fn push(&mut self, id: u32) -> Result<String, TokenizeError> {
        self.window.push(id);
        let all = self.vocabulary.decode(&self.window)?;
        if !all.ends_with(char::REPLACEMENT_CHARACTER) {
            return self.take(self.window.len());
        }
        if self.window.len() - self.read < MAX_PENDING_TOKENS {
            return Ok(String::new());
        }
        let mut end = self.window.len() - CHARACTER_IDS;
        while !self.splits(&all, end)? {
            end += 1;
        }
        self.take(end)
    }

    /// What is left when no id follows; an unfinished character as U+FFFD.
    ///
    /// # Errors
    /// [`TokenizeError`].
    pub fn finish(mut self) -> Result<String, TokenizeError> {
        self.take(self.window.len())
    }

    /// Whether no character lies across this place.
    fn splits(&self, all: &str, at: usize) -> Result<bool, TokenizeError> {
        let (head, tail) = self.window.split_at(at);
        Ok(self.vocabulary.decode(head)? + &self.vocabulary.decode(tail)? == all)
    }

    /// The text up to the window's id `end` that was not given yet; what was given is forgotten.
    fn take(&mut self, end: usize) -> Result<String, TokenizeError> {
        let given = self.vocabulary.decode(&self.window[..self.read])?;
        let text = self.vocabulary.decode(&self.window[..end])?;
        if text.len() <= given.len() {
            return Ok(String::new());
        }
        self.window.drain(..self.read);
        self.read = end - self.read;
        Ok(text.get(given.len()..).unwrap_or_default().to_owned())
    }
}

/// Ids that the unfinished part of one character can span: all but its last byte.
const CHARACTER_IDS: usize = 3;
