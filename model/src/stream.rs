//! Token ids to text as they come, in whole characters.
#![expect(clippy::indexing_slicing, reason = "`read` never passes the end of the window")]

use counterfoil_spec::limits::MAX_PENDING_TOKENS;

use crate::vocabulary::{TokenizeError, Vocabulary};

/// Decodes one answer. The pieces, put together, are what decoding all ids at once gives.
///
/// A tokenizer may cut a character between ids, and may write an id differently at the start of a text. So a window
/// of ids is decoded twice, without and with the new ones, and the difference is the new text; it waits while it ends
/// in U+FFFD, which is how a cut character shows. Text that still ends so after [`MAX_PENDING_TOKENS`] ids is no
/// character and is let go.
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
        self.take(self.window.len() - self.read >= MAX_PENDING_TOKENS)
    }

    /// What is left when no id follows; an unfinished character as U+FFFD.
    ///
    /// # Errors
    /// [`TokenizeError`].
    pub fn finish(mut self) -> Result<String, TokenizeError> {
        self.take(true)
    }

    fn take(&mut self, cut: bool) -> Result<String, TokenizeError> {
        let given = self.vocabulary.decode(&self.window[..self.read])?;
        let all = self.vocabulary.decode(&self.window)?;
        if all.len() <= given.len() || (all.ends_with(char::REPLACEMENT_CHARACTER) && !cut) {
            return Ok(String::new());
        }
        let fresh = all.get(given.len()..).unwrap_or_default().to_owned();
        self.window.drain(..self.read);
        self.read = self.window.len();
        Ok(fresh)
    }
}
