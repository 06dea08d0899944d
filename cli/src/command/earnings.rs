//! `counterfoil earnings …`: what providers earn, recomputed from the log.

mod dispute;
mod statement;
mod verify;

use std::io::Read;
use std::path::{Path, PathBuf};

use counterfoil_audit::LogReader;
use counterfoil_ledger::settle::{AsOf, Closed, Quarter};
use counterfoil_ledger::split;
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::settlement::RuleChange;
use counterfoil_router::{clock, settlement};
use counterfoil_spec::payload::Statement;
use serde_json::{Value, json};

use crate::args::{EarningsCommand, LogArgs, QuarterArgs, VerifyEarningsArgs};
use crate::command::account::{id, text};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::target::operate;

/// The longest what-if file, in bytes.
const MAX_SPLIT_BYTES: u64 = 64 * 1024 * 1024;

/// Carries out one of them.
pub(crate) async fn run(home: &Path, command: EarningsCommand, json: bool) -> Outcome {
    match command {
        EarningsCommand::Show(args) => show(home, &args, json),
        EarningsCommand::Settle { quarter, dry_run } => {
            let _: Quarter = id(&quarter)?;
            let value = operate(home, AdminCommand::Settle { quarter, dry_run }).await?;
            print(&value, json);
            if !json {
                let what = match (dry_run, value.get("already_closed").is_some()) {
                    (_, true) => "This quarter was closed before; nothing new was booked.".to_owned(),
                    (true, _) => "A dry run: nothing was logged.".to_owned(),
                    _ => format!("The statement is log entry {}.", text(&value, "/entry")),
                };
                output::line(&what);
            }
            Ok(())
        }
        // They wait for files, and compute: neither is for a thread of the runtime.
        EarningsCommand::Statement(args) => tokio::task::block_in_place(|| statement::run(home, &args, json)),
        EarningsCommand::Verify(args) => tokio::task::block_in_place(|| match &args.statement {
            Some(file) => verify::run(home, file, &args, json),
            None => verify_quarter(home, &args, json),
        }),
        EarningsCommand::Dispute { quarter, provider, claimed_cents, reason } => {
            dispute::raise(home, (quarter, &provider), claimed_cents, reason, json).await
        }
        EarningsCommand::Correct { dispute, cents, reason } => {
            dispute::answer(home, &dispute, cents, reason, json).await
        }
        EarningsCommand::Disputes => dispute::list(home, json).await,
        EarningsCommand::Rules { pool_rule, uptime_bps, reserve_bps } => {
            let change = RuleChange { pool_rule, uptime_bps, reserve_bps };
            let value = operate(home, AdminCommand::Rules { change }).await?;
            if json {
                output::json(&value);
                return Ok(());
            }
            let said = |name: &str| text(&value, &format!("/rules/{name}"));
            output::line(&format!("version {}: {}", said("version"), said("pool_rule")));
            output::line(&format!("of revenue to the pool  {} hundredths of a percent", said("pool_bps")));
            output::line(&format!("of that by uptime       {} hundredths of a percent", said("uptime_bps")));
            let reserve = value.pointer("/rules/reserve_bps").and_then(Value::as_u64).unwrap_or(0);
            output::line(&format!(
                "held back for 180 days  {reserve} hundredths of a percent of what is earned"
            ));
            Ok(())
        }
        EarningsCommand::Split { input } => split_file(&input, json),
    }
}

fn reader(home: &Path, at: &LogArgs) -> Result<LogReader, Failure> {
    let folder: PathBuf = at.log_dir.clone().unwrap_or_else(|| home.join("log"));
    LogReader::open(&folder).map_err(Failure::store)
}

fn show(home: &Path, args: &QuarterArgs, json: bool) -> Outcome {
    let quarter: Quarter = id(&args.quarter)?;
    let reader = reader(home, &args.at)?;
    let as_of = AsOf::DryRun(clock::now().seconds());
    let found = settlement::recompute(&reader, quarter, as_of).map_err(Failure::check)?;
    print(&settlement::describe(&found.closed), json);
    Ok(())
}

fn verify_quarter(home: &Path, args: &VerifyEarningsArgs, json: bool) -> Outcome {
    let quarter: Quarter = id(args.quarter.as_deref().unwrap_or_default())?;
    let reader = reader(home, &args.at)?;
    let as_of = AsOf::Final(clock::now().seconds());
    let found = settlement::recompute(&reader, quarter, as_of).map_err(Failure::check)?;
    let owes = found.owes_the_shares();
    let Some((_, booked)) = found.booked else {
        return Err(Failure::check(format!(
            "the log has no statement of {quarter}; `earnings settle` writes it"
        )));
    };
    let secret = settlement::secret(home, quarter).map_err(Failure::store)?;
    let same_bytes = secret.map(|s| found.closed.statement(&s) == booked);
    let agrees = found.closed.agrees_with(&booked) && same_bytes != Some(false) && owes;
    if json {
        output::json(&json!({
            "ok": agrees, "quarter": quarter.to_string(), "root_checked": same_bytes.is_some(),
            "recomputed": settlement::describe(&found.closed), "statement": booked, "disputes": found.contested,
        }));
    }
    if !owes {
        return Err(Failure::check(format!(
            "ConservationViolated: what the log owes to providers for {quarter} is not what they earned"
        )));
    }
    if !agrees {
        return Err(Failure::check(format!("ConservationViolated: {}", differs(&booked, &found.closed))));
    }
    if !json {
        let root = if same_bytes.is_some() {
            "every byte, the root over the providers' leaves included"
        } else {
            "every figure; the root over the providers' salted leaves needs the router's vault"
        };
        output::line(&format!("The statement of {quarter} follows from the log: {root}."));
        for contested in &found.contested {
            let answer = contested.corrected_cents.map_or_else(
                || "has no answer yet".to_owned(),
                |cents| format!("was answered with {} USD", output::cents(cents.0)),
            );
            output::line(&format!("Dispute {} of {} {answer}.", contested.dispute, contested.provider));
        }
    }
    Ok(())
}

/// In which figures a statement is not what the log gives.
fn differs(booked: &Statement, closed: &Closed) -> String {
    format!(
        "the statement of {} says a pool of {} cents over entries {} to {}; the log gives {} cents over {} to {}",
        booked.quarter, booked.pool.0, booked.first, booked.end, closed.pool.0, closed.first, closed.end
    )
}

fn print(value: &Value, json: bool) {
    if json {
        output::json(value);
        return;
    }
    let amount = |p: &str| value.pointer(p).and_then(Value::as_i64).unwrap_or(0);
    output::line(&format!(
        "{}: entries {} to {}",
        text(value, "/quarter"),
        text(value, "/first_entry"),
        text(value, "/end_entry")
    ));
    output::line(&format!(
        "net recognised revenue  {} USD",
        output::micro(i128::from(amount("/revenue_micro")))
    ));
    output::line(&format!("pool                    {} USD", output::cents(amount("/pool_cents"))));
    output::line(&format!(
        "carried                 {} USD",
        output::micro(i128::from(amount("/carry_micro")))
    ));
    if amount("/corrected_cents") != 0 {
        output::line(&format!("corrections of before   {} USD", output::cents(amount("/corrected_cents"))));
    }
    let providers = value.get("providers").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = providers
        .iter()
        .map(|p| {
            let cents = p.get("total_cents").and_then(Value::as_i64).unwrap_or(0);
            let onboarded = if p.get("onboarded") == Some(&Value::Bool(true)) { "yes" } else { "no" };
            vec![
                text(p, "/provider"),
                output::cents(cents),
                text(p, "/micro_tokens"),
                text(p, "/uptime_s"),
                onboarded.into(),
            ]
        })
        .collect();
    output::table(&["provider", "USD", "micro-tokens", "uptime s", "registered"], &rows);
}

fn split_file(input: &Path, json: bool) -> Outcome {
    let mut bytes = Vec::new();
    let read = if input == Path::new("-") {
        std::io::stdin().take(MAX_SPLIT_BYTES).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(input).and_then(|f| f.take(MAX_SPLIT_BYTES).read_to_end(&mut bytes))
    };
    read.map_err(|e| Failure::store(anyhow::anyhow!("cannot read {}: {e}", input.display())))?;
    let asked: split::Split = serde_json::from_slice(&bytes)
        .map_err(|e| Failure::wrong_use(format!("{}: {e}", input.display())))?;
    let uptime_bps = counterfoil_ledger::founding_rules(1).uptime_bps;
    let shares = split::split(&asked, uptime_bps).map_err(Failure::wrong_use)?;
    if json {
        output::json(&serde_json::to_value(&shares).map_err(Failure::store)?);
        return Ok(());
    }
    let rows: Vec<Vec<String>> =
        shares.providers.iter().map(|p| vec![p.id.clone(), output::cents(p.total_cents)]).collect();
    output::table(&["provider", "USD"], &rows);
    Ok(())
}
