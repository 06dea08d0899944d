//! `counterfoil bench dispatch`.

use counterfoil_session::bench::{Measured, Plan};
use counterfoil_session::frame::Encoding;
use serde_json::{Value, json};

use crate::exit::{Failure, Outcome};
use crate::output;

pub(super) async fn run(plan: Plan, json: bool) -> Outcome {
    let measured = tokio::task::spawn_blocking(move || counterfoil_session::bench::run(plan)).await;
    let report = measured.map_err(Failure::store)?.map_err(Failure::store)?;
    let share = report.checks_share();
    if json {
        let kinds: Vec<Value> = report.kinds.iter().map(kind).collect();
        // The first kind is what a token costs.
        let first = report.kinds.first();
        output::json(&json!({
            "hidden": plan.hidden, "rounds": plan.count, "kinds": kinds,
            "ratio_p50": first.map(Measured::ratio_p50), "ratio_p99": first.map(Measured::ratio_p99),
            "checks_us": report.checks_us, "checks_share": share,
        }));
        return Ok(());
    }
    output::line(&format!("rows of {} values; µs there and back, p50 and p99", plan.hidden));
    output::line("rows  as     bytes         dispatch             raw echo         ratio");
    for m in &report.kinds {
        output::line(&format!(
            "{:4}  {:4} {:7} {:9.1} {:9.1}  {:9.1} {:9.1}  {:5.2} {:5.2}",
            m.rows,
            name(m.encoding),
            m.frame_bytes,
            m.lane.p50_us,
            m.lane.p99_us,
            m.echo.p50_us,
            m.echo.p99_us,
            m.ratio_p50(),
            m.ratio_p99()
        ));
    }
    let (us, percent) = (report.checks_us, share * 100.0);
    output::line(&format!("MACs, counters and grant of a token {us:.2} µs, {percent:.1}% of its dispatch"));
    Ok(())
}

fn kind(m: &Measured) -> Value {
    json!({
        "rows": m.rows, "activations": name(m.encoding), "rounds": m.count,
        "frame_bytes": m.frame_bytes, "answer_bytes": m.answer_bytes,
        "p50_us": m.lane.p50_us, "p99_us": m.lane.p99_us,
        "echo_p50_us": m.echo.p50_us, "echo_p99_us": m.echo.p99_us,
        "ratio_p50": m.ratio_p50(), "ratio_p99": m.ratio_p99(),
    })
}

const fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::F32 => "f32",
        Encoding::Int8 => "int8",
        Encoding::Bf16 => "bf16",
    }
}
