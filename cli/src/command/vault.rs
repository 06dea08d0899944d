//! `counterfoil vault …`: what must be erasable.

use std::path::Path;

use counterfoil_router::{Whose, admin::AdminCommand};

use crate::args::{EraseArgs, VaultCommand};
use crate::command::account::{id, text};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::target::operate;

/// Carries out one of them.
pub(crate) async fn run(home: &Path, command: VaultCommand, json: bool) -> Outcome {
    let VaultCommand::Erase { whose } = command;
    let whose = match whose {
        EraseArgs { request: Some(request), .. } => Whose::Request(id(&request)?),
        EraseArgs { older_than_days: Some(days), .. } => Whose::OlderThanDays(days),
        _ => return Err(Failure::wrong_use("say whose: --request or --older-than-days")),
    };
    let command = AdminCommand::VaultErase { whose };
    let value = operate(home, command).await?;
    if json {
        output::json(&value);
        return Ok(());
    }
    match text(&value, "/salts").as_str() {
        "0" => output::line("There was no salt to erase; nothing was logged."),
        salts => output::line(&format!(
            "{salts} salts are overwritten; entry {} says so. Copies of the vault may still hold them.",
            text(&value, "/entry")
        )),
    }
    Ok(())
}
