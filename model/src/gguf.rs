//! GGUF, the format of llama.cpp: settings, tokenizer and tensors in one file or in a set of files.
//!
//! ```text
//! "GGUF" ‖ version u32 (2 or 3) ‖ tensors u64 ‖ settings u64 ‖ setting … ‖ tensor … ‖ padding ‖ tensor bytes
//! setting   key ‖ type u32 ‖ value                    text = length u64 ‖ UTF-8
//! array     element type u32 ‖ count u64 ‖ values     an array's elements may be arrays
//! tensor    name ‖ dimensions u32 ‖ each u64, innermost first ‖ type u32 ‖ offset u64 from the end of the padding
//! ```
//!
//! Numbers are little endian. Offsets are multiples of `general.alignment`, 32 where that is not set. The definition is
//! `docs/gguf.md` of the ggml repository. Nothing is believed before it was compared with the bytes that are there: a
//! count is checked against the bytes left before memory is taken for it, and arrays are not copied at all.

mod head;
mod open;
mod reader;
mod set;
mod table;
mod value;
mod write;

pub use head::Gguf;
pub(crate) use open::{Opened, open};
pub use set::{check_set, files_of_set};
pub use table::{Entry, Stored};
pub use value::{Array, Value};
pub use write::{Outline, Setting, WriteError, Writer};

#[cfg(test)]
mod tests;

const MAGIC: [u8; 4] = *b"GGUF";
/// Where `general.alignment` is not set.
const DEFAULT_ALIGNMENT: usize = 32;
