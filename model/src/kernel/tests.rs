//! The kernel's promises.
