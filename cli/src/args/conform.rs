//! The arguments of `conform`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Each case is accepted or refused with one code; `conformance/README.md` says what they hold and how a command is asked.\n\nExamples:\n  counterfoil conform                                    this program\n  counterfoil conform --command python3 mine.py          another one, asked line by line\n  counterfoil conform --json | jq '{passed, failed, skipped}'"
)]
pub(crate) struct ConformArgs {
    /// A folder with vectors [default: those that this program was built with]
    #[arg(long, value_name = "DIR")]
    pub(crate) vectors: Option<PathBuf>,
    /// Answer cases that come on standard input, one JSON line each, as a command does that `--command` asks
    #[arg(long, conflicts_with_all = ["vectors", "command"])]
    pub(crate) answer: bool,
    /// Ask this command and not this program; everything after it belongs to it
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}
