//! Fuzz targets for everything that is read from files of a model.
//!
//! A target gives one file of a model to the crate as a stranger would, on disk, and goes as far as that file lets it:
//! nothing may panic, and memory is bounded by libFuzzer's `-rss_limit_mb`. `.ci/fuzz.sh` builds and runs them.

mod folder;

pub use folder::{folder, load, put};
