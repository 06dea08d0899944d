//! `bench dispatch`: a lane against a raw QUIC echo of the same bytes.

use counterfoil_session::bench::{Measured, Plan, run};
use counterfoil_session::frame::Encoding;
use serde_json::{Value, json};

use crate::exit::{Failure, Outcome};
use crate::output;

/// Carries it out.
pub(super) async fn dispatch(plan: Plan, json: bool) -> Outcome {
    let measured = tokio::task::spawn_blocking(move || run(plan)).await;
    let report = measured.map_err(Failure::store)?.map_err(Failure::store)?;
    let first = report.kinds.first();
    if json {
        output::json(&json!({
            "hidden": plan.hidden, "rounds": plan.count,
            "kinds": report.kinds.iter().map(kind).collect::<Vec<_>>(),
            "ratio_p50": first.map(Measured::ratio_p50), "ratio_p99": first.map(Measured::ratio_p99),
            "checks_us": report.checks_us, "checks_share": report.checks_share(),
        }));
        return Ok(());
    }
    output::line(&format!("rows of {} floats, {} rounds for a token's", plan.hidden, plan.count));
    for kind in &report.kinds {
        let Measured { rows, frame_bytes, answer_bytes, lane, echo, .. } = kind;
        let name = name(kind.encoding);
        output::line(&format!("{rows} as {name}: frames of {frame_bytes} bytes, answers of {answer_bytes}"));
        output::line(&format!("  dispatch  p50 {:8.1} µs   p99 {:8.1} µs", lane.p50_us, lane.p99_us));
        output::line(&format!("  raw echo  p50 {:8.1} µs   p99 {:8.1} µs", echo.p50_us, echo.p99_us));
        output::line(&format!("  ratio     p50 {:8.2}      p99 {:8.2}", kind.ratio_p50(), kind.ratio_p99()));
    }
    let share = 100.0 * report.checks_share();
    output::line(&format!(
        "MACs, counters and grant: {:.2} µs, {share:.2}% of the first p50",
        report.checks_us
    ));
    Ok(())
}

fn kind(kind: &Measured) -> Value {
    json!({
        "rows": kind.rows, "encoding": name(kind.encoding), "rounds": kind.count,
        "frame_bytes": kind.frame_bytes, "answer_bytes": kind.answer_bytes,
        "p50_us": kind.lane.p50_us, "p99_us": kind.lane.p99_us,
        "echo_p50_us": kind.echo.p50_us, "echo_p99_us": kind.echo.p99_us,
        "ratio_p50": kind.ratio_p50(), "ratio_p99": kind.ratio_p99(),
    })
}

const fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::F32 => "f32",
        Encoding::Int8 => "int8",
        Encoding::Bf16 => "bf16",
    }
}
