//! Two things in turn, by the CPU time of this thread.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Two medians, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    name: &'static str,
    ours_ns: f64,
    floor_ns: f64,
    /// The least and the largest ratio of one turn.
    turns: (f64, f64),
    times: usize,
}

/// Times both, `times` in a row and [`TURNS`] turns; the first turn warms both up and is thrown away.
pub(crate) fn measure(
    (name, times): (&'static str, usize),
    mut ours: impl FnMut(),
    mut floor: impl FnMut(),
) -> Measured {
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        // Who comes first changes, so that neither always finds the caches of the other.
        let (a, b) = if turn % 2 == 0 {
            let a = timed(times, &mut ours);
            (a, timed(times, &mut floor))
        } else {
            let b = timed(times, &mut floor);
            (timed(times, &mut ours), b)
        };
        if turn > 0 {
            mine.push(a);
            theirs.push(b);
        }
    }
    let mut ratios: Vec<f64> = mine.iter().zip(&theirs).map(|(a, b)| a / b).collect();
    ratios.sort_by(f64::total_cmp);
    let turns = (ratios.first().copied().unwrap_or(f64::NAN), ratios.last().copied().unwrap_or(f64::NAN));
    Measured { name, ours_ns: median(mine), floor_ns: median(theirs), turns, times }
}

impl Measured {
    /// Ours was done so many times where the floor was done once.
    pub(crate) fn each(self, count: u32) -> Self {
        let count = f64::from(count);
        let turns = (self.turns.0 / count, self.turns.1 / count);
        Self { ours_ns: self.ours_ns / count, turns, ..self }
    }

    fn ratio(&self) -> f64 {
        self.ours_ns / self.floor_ns
    }

    /// For people.
    pub(crate) fn to_line(&self) -> String {
        let Self { name, ours_ns, floor_ns, turns: (least, most), .. } = self;
        let ratio = self.ratio();
        format!("{name:<34} {ours_ns:>12.1} {floor_ns:>12.1} {ratio:>9.5}   {least:.5} to {most:.5}")
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> String {
        let Self { name, ours_ns, floor_ns, turns: (least, most), times } = self;
        let ratio = self.ratio();
        format!(
            "{{\"name\": \"{name}\", \"ours_ns\": {ours_ns:.1}, \"floor_ns\": {floor_ns:.1}, \"ratio\": {ratio:.6}, \
             \"least\": {least:.6}, \"most\": {most:.6}, \"turns\": {TURNS}, \"times\": {times}}}"
        )
    }
}

/// Nanoseconds of one, as the mean of many in a row.
fn timed(times: usize, act: &mut impl FnMut()) -> f64 {
    let started = cpu_time();
    for _ in 0..times {
        act();
    }
    let took = cpu_time().saturating_sub(started);
    took.as_secs_f64() * 1e9 / f64::from(u32::try_from(times).unwrap())
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap());
    Duration::new(seconds, nanos)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How often both are timed.
const TURNS: usize = 21;
/// How often each is done, for each time in a turn.
pub(crate) const CALLS: usize = TURNS + 1;
