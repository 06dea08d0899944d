//! Turns a request into verified expert calls, an answer and one log entry; serves the HTTP API and pages.
//!
//! [`generate`] is the one path of a request and reads top to bottom. What every request shares is in `desk`; the
//! record and what follows from it in [`office`]; who may be asked in `registry`, and how that came to be in
//! `member` and `enrolment`; what nodes are proposed in `dealer`, by the rules of [`placement`]. Never imports `node`.

mod account;
pub mod admin;
mod admit;
mod authority;
mod batch;
mod certificate;
pub mod clock;
mod dealer;
mod deny;
mod desk;
mod engine;
mod enrolment;
mod fetch;
mod generate;
mod heads;
pub mod home;
mod http;
pub mod index;
mod keep;
mod latency;
mod member;
pub mod office;
mod order;
mod own_keys;
pub mod payout;
pub mod placement;
mod plans;
mod projection;
mod prune;
mod publish;
mod registry;
mod renewal;
mod repeats;
mod roster;
mod rows_as;
mod serve;
pub mod settlement;
mod succession;
mod tally;
mod trial;
mod uptime;
mod vault;
mod witnesses;
mod work;

pub use batch::Hedging;
pub use dealer::Dealing;
pub use keep::DEFAULT_SALT_DAYS;
pub use office::{CURRENCY, Office, OfficeError};
pub use projection::ProjectionError;
pub use prune::{Old, prune};
pub use rows_as::RowsAs;
pub use serve::{RouterConfig, RunningRouter, StartError};
pub use trial::{Continued, Prompt, Trial};
pub use vault::VaultError;
pub use vault::erasure::Whose;
pub use witnesses::Witnessing;
