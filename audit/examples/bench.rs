//! Prints the figures of `audit/BENCHMARKS.md`: `bench FOLDER [ENTRIES [APPENDS]]`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

use counterfoil_audit::bench::{BenchOptions, run};

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap().into();
    let mut number = |default: u64| args.next().map_or(default, |a| a.parse().unwrap());
    let options = BenchOptions { dir, entries: number(200_000), appends: number(300), threads: 0 };
    run(&options, &mut |r| match r.permille_of_floor {
        Some(permille) => println!("{:>10}/s  {}  ({permille} per mille of the floor)", r.per_second, r.what),
        None => println!("{:>10}/s  {}", r.per_second, r.what),
    })
    .unwrap();
}
