//! Hosts experts (or a whole-model backend) and answers sessions.
//!
//! A node connects to its router, so it needs no open port. It signs consent where its operator's policy allows it,
//! fetches and loads exactly what was consented to, computes what the router's signed orders grant, and keeps its own log of
//! both. `spec/session.md` and `spec/receipt.md` are the normative texts.

mod backoff;
mod compute;
mod config;
mod denials;
mod fetch;
mod gauge;
mod home;
mod hosting;
mod hub;
mod journal;
mod late;
mod log;
mod node;
mod obey;
mod orders;
mod outstanding;
mod pair;
mod present;
mod root_denials;
mod service;
mod sharing;
mod status;
mod store;
mod unsettled;
mod work;

pub use config::{NodeConfig, NodeError, SyncFile, fdatasync};
pub use home::{EnrolError, HomeError, NodeIdentity, enrol};
pub use hub::{HUB_ENDPOINT, HubConfig, HubError};
pub use late::{NotRenewed, renew};
pub use log::log_origin;
pub use node::{Node, NodeHandle, serve};
pub use orders::{OperatorOrder, asked, give_order, refused_renewal, withheld, words};
pub use root_denials::{RootListFault, root_deny_list, take_root_deny_list};
pub use status::{ConsentStatus, FetchStatus, Stage, Status};
