//! One module for each command of the program.

pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod conform;
pub(crate) mod consent;
pub(crate) mod doctor;
pub(crate) mod earnings;
pub(crate) mod identity;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod provider;
pub(crate) mod router;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod vault;
