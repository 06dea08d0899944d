//! The system's clock, read in one place and handed on as an argument.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use counterfoil_spec::time::{Millis, Now};

/// The present; 1970 for a clock that is set before it.
#[must_use]
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The system's clock as an argument.
#[must_use]
pub fn system() -> Now {
    Arc::new(now)
}
