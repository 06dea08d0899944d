//! The rules of the house that a machine can hold: who imports whom, sizes, names, words, and tables that must agree.
//!
//! Every check is a function from the project's text to findings. It runs twice: over the real tree, where it must
//! find nothing, and over a small bad sample, where it must find exactly what is wrong there.

#[path = "tidy/absences.rs"]
mod absences;
#[path = "tidy/cddl.rs"]
mod cddl;
#[path = "tidy/graph.rs"]
mod graph;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/rust.rs"]
mod rust;
#[path = "tidy/sentences.rs"]
mod sentences;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/tables.rs"]
mod tables;
#[path = "tidy/threats.rs"]
mod threats;
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;
