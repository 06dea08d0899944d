//! The simulator by hand: `counterfoil-paysim serve [ADDR [SEED]]`, and `counterfoil-paysim sign SECRET SECONDS` for the
//! signature of what stands on standard input.

use std::io::{Read, Write};
use std::net::SocketAddr;

use counterfoil_paysim::{Faults, PayPal, Simulator, Stripe, signature};

/// Of a thousand requests so many go wrong where a seed is given.
const OFTEN: u64 = 300;
const USAGE: &str = "usage: counterfoil-paysim serve [ADDR [SEED]] | sign SECRET SECONDS";

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sign", secret, seconds] => sign(secret, seconds),
        ["serve", rest @ ..] if rest.len() <= 2 => serve(rest).await,
        _ => Err(std::io::Error::other(USAGE)),
    }
}

fn sign(secret: &str, seconds: &str) -> std::io::Result<()> {
    let seconds = seconds.parse().map_err(|_| std::io::Error::other(USAGE))?;
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    writeln!(std::io::stdout(), "{}", signature(secret, seconds, &body))
}

async fn serve(words: &[&str]) -> std::io::Result<()> {
    let usage = |_| std::io::Error::other(USAGE);
    let at = words.first().copied().unwrap_or("127.0.0.1:0");
    let at: SocketAddr = at.parse().map_err(|_| std::io::Error::other(USAGE))?;
    let seed = words.get(1).map(|seed| seed.parse::<u64>().map_err(usage)).transpose()?;
    let faults = seed.map_or_else(Faults::none, |seed| Faults::seeded(seed, OFTEN));
    let simulator = Simulator::start(at, seed.unwrap_or(0), faults).await?;
    simulator.stripe(|stripe| stripe.available = 100_000_000);
    simulator.paypal(|paypal| paypal.available = 100_000_000);
    writeln!(
        std::io::stdout(),
        "{} answers as Stripe (key {}) and PayPal (client {}, secret {}, webhook {})",
        simulator.base(),
        Stripe::KEY,
        PayPal::CLIENT,
        PayPal::SECRET,
        PayPal::WEBHOOK
    )?;
    tokio::signal::ctrl_c().await
}
