//! X.509: how certificates are made, and how a chain becomes the proof of who connected.

pub(crate) mod authority;
pub(crate) mod binding;
pub(crate) mod credentials;
pub(crate) mod issued;
pub(crate) mod met;
pub(crate) mod profile;
pub(crate) mod request;
pub(crate) mod rollover;
pub(crate) mod validity;
pub(crate) mod verify;

#[cfg(test)]
pub(crate) mod tests;
