//! `--activations`.

use clap::ValueEnum;
use counterfoil_router::RowsAs;

/// How rows travel to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ActivationsAs {
    /// int8 where a layer's experts are quantised, else f32; the answers are the same bits
    Auto,
    /// f32 always
    F32,
    /// bf16 always, which changes the answers a little
    Bf16,
}

impl ActivationsAs {
    /// What the router calls it.
    pub(crate) const fn rows_as(self) -> RowsAs {
        match self {
            Self::Auto => RowsAs::Exact,
            Self::F32 => RowsAs::F32,
            Self::Bf16 => RowsAs::Bf16,
        }
    }
}
