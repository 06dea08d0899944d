//! `counterfoil doctor`: looks for what is wrong with a home and its machine, and says what to do about it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use counterfoil_audit::LogReader;
use counterfoil_identity::{certificate_end, key_file};
use counterfoil_node::NodeIdentity;
use counterfoil_router::clock;
use counterfoil_router::home::{NextCa, RouterHome};
use counterfoil_spec::time::Seconds;
use hyper::Method;
use serde_json::{Value, json};

use crate::args::UrlArgs;
use crate::command::account::text;
use crate::consent_file::{self, Flags};
use crate::exit::{Failure, Outcome};
use crate::home::Running;
use crate::keys::keyring;
use crate::output;
use crate::target;

/// How many times the disk is asked to make a small write durable.
const FLUSHES: usize = 9;
/// A median above this makes every answer wait noticeably.
const SLOW_FLUSH: Duration = Duration::from_millis(50);
/// Before this instant the clock cannot be right: 2026-01-01.
const EARLIEST: Seconds = Seconds(1_767_225_600);

/// An issuing CA with fewer days left is a finding.
const CA_SOON_DAYS: u64 = 30;
/// Where `run` listens when nothing else is said.
const DEFAULT_LISTEN: &str = "127.0.0.1:8000";

struct Finding {
    what: &'static str,
    ok: bool,
    said: String,
}

/// Runs all checks; fails where one of them did.
pub(crate) async fn run(home: &Path, json: bool) -> Outcome {
    let mut findings = vec![clock_check(), disk_check(home)];
    if key_file::is_there(&home.join("identity/router.key")) {
        findings.push(router_identity(home));
        findings.push(log_check(&home.join("log")));
        findings.extend(running_check(home).await);
    } else if key_file::is_there(&home.join("identity/node.key")) {
        findings.push(node_identity(home));
        findings.push(log_check(&home.join("log")));
        findings.push(consent_check(home));
    } else {
        findings.push(Finding {
            what: "identity",
            ok: false,
            said: format!("{} holds no identity yet; `counterfoil run` makes one", home.display()),
        });
    }
    let nodes = home.join("nodes");
    for number in 1..=16 {
        let node = nodes.join(number.to_string());
        if node.exists() {
            findings.push(node_identity(&node));
        }
    }
    let ok = findings.iter().all(|f| f.ok);
    if json {
        let list: Vec<Value> =
            findings.iter().map(|f| json!({ "check": f.what, "ok": f.ok, "found": f.said })).collect();
        output::json(&json!({ "ok": ok, "checks": list }));
    } else {
        for f in &findings {
            output::line(&format!("{}  {:<12} {}", if f.ok { "ok  " } else { "FAIL" }, f.what, f.said));
        }
    }
    if ok { Ok(()) } else { Err(Failure::check("some checks failed; each says what to do")) }
}

fn clock_check() -> Finding {
    let now = clock::now().seconds();
    let ok = now >= EARLIEST;
    let said = if ok {
        format!("{} (unix)", now.0)
    } else {
        format!("{} (unix) is in the past; set this machine's clock", now.0)
    };
    Finding { what: "clock", ok, said }
}

fn disk_check(home: &Path) -> Finding {
    let what = "disk flush";
    match flush_times(home) {
        Ok(mut times) => {
            times.sort_unstable();
            let median = times.get(FLUSHES / 2).copied().unwrap_or_default();
            let said = format!("median {:.1} ms for a durable write", median.as_secs_f64() * 1000.0);
            Finding { what, ok: median < SLOW_FLUSH, said }
        }
        Err(e) => Finding { what, ok: false, said: format!("cannot write in {}: {e}", home.display()) },
    }
}

fn flush_times(home: &Path) -> std::io::Result<Vec<Duration>> {
    let folder = if home.exists() { home.to_owned() } else { std::env::temp_dir() };
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let mut file = std::fs::File::create(&path)?;
    let mut out = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        let started = Instant::now();
        file.write_all(&[0; 512])?;
        file.sync_data()?;
        out.push(started.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(out)
}

fn router_identity(home: &Path) -> Finding {
    let what = "router";
    let opened = keyring().map_err(|e| e.said());
    match opened.and_then(|keys| RouterHome::open(home, &keys).map_err(|e| e.to_string())) {
        Ok(router) => {
            let days = router.ca().not_after().0.saturating_sub(clock::now().seconds().0) / 86_400;
            let said = format!("{}; its CA ends in {days} days", router.router_id());
            let hint = match router.next_ca() {
                _ if days > CA_SOON_DAYS => return Finding { what, ok: true, said },
                Ok(Some(NextCa::Certified(_))) => {
                    "`counterfoil identity ca activate` lets the next one take its place"
                }
                Ok(_) if router.root().is_some() => "start the router, which makes the next one by itself",
                Ok(_) => "`counterfoil identity ca next` asks the root for the next one",
                Err(e) => return Finding { what, ok: false, said: e.to_string() },
            };
            Finding { what, ok: false, said: format!("{said}; {hint}") }
        }
        Err(said) => Finding { what, ok: false, said },
    }
}

fn node_identity(home: &Path) -> Finding {
    let what = "node";
    let opened = keyring().map_err(|e| e.said());
    let identity = match opened.and_then(|keys| NodeIdentity::load(home, &keys).map_err(|e| e.to_string())) {
        Ok(identity) => identity,
        Err(e) => return Finding { what, ok: false, said: format!("{}: {e}", home.display()) },
    };
    let id = identity.key.public().node_id();
    match certificate_end(&identity.credentials.chain().leaf) {
        Ok(end) if end > clock::now().seconds() => {
            let hours = (end.0 - clock::now().seconds().0) / 3600;
            Finding { what, ok: true, said: format!("{id}; its certificate ends in {hours} h") }
        }
        Ok(_) => Finding {
            what,
            ok: false,
            said: format!(
                "{id}: its certificate has ended; start it with a new join token (`run` does so by itself)"
            ),
        },
        Err(e) => Finding { what, ok: false, said: format!("{id}: {e}") },
    }
}

/// Whether what the operator allows can be read, and whether anything waits for an answer.
fn consent_check(home: &Path) -> Finding {
    let what = "consent";
    let flags = Flags { accept_notice: false, models: Vec::new(), concurrent: 2 };
    let waiting = counterfoil_node::asked(home).len();
    let waits = match waiting {
        0 => String::new(),
        some => format!("; {some} proposals wait for you: `counterfoil consent list --pending`"),
    };
    let file = consent_file::locate(home, None);
    match file.exists().then(|| consent_file::load(&file, &flags)) {
        None => Finding {
            what,
            ok: true,
            said: format!("no consent.toml, so flags hold; `consent init` makes one{waits}"),
        },
        Some(Ok(_)) => Finding { what, ok: true, said: format!("consent.toml can be read{waits}") },
        Some(Err(e)) => Finding { what, ok: false, said: e.to_string() },
    }
}

fn log_check(folder: &Path) -> Finding {
    let what = "log";
    match LogReader::open(folder) {
        Ok(reader) => Finding {
            what,
            ok: true,
            said: format!("{} entries; `counterfoil audit verify` checks them", reader.size()),
        },
        Err(e) => Finding { what, ok: false, said: e.to_string() },
    }
}

/// Whether `run` could listen where it listens when nothing else is said, and nodes could reach a router over UDP.
fn port_check() -> Finding {
    let what = "ports";
    let tcp = std::net::TcpListener::bind(DEFAULT_LISTEN);
    let udp = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    match (tcp, udp) {
        (Ok(_), Ok(_)) => {
            Finding { what, ok: true, said: format!("{DEFAULT_LISTEN} is free, and UDP works") }
        }
        (Err(e), _) => Finding {
            what,
            ok: false,
            said: format!("{DEFAULT_LISTEN} cannot be used ({e}); give `run` another address with --listen"),
        },
        (_, Err(e)) => Finding { what, ok: false, said: format!("no UDP socket for nodes: {e}") },
    }
}

/// Where a router runs: whether it answers, and for every node why it gets work or not.
async fn running_check(home: &Path) -> Vec<Finding> {
    if Running::read(home).is_none() {
        let idle = Finding { what: "processes", ok: true, said: "no router runs on this home".into() };
        return vec![idle, port_check()];
    }
    let args = UrlArgs { url: None, key: None };
    let health = match target::client(home, &args) {
        Ok(client) => client.json(Method::GET, "/health", None).await,
        Err(e) => Err(e),
    };
    let health = match health {
        Ok(health) => health,
        Err(e) => return vec![Finding { what: "processes", ok: false, said: e.to_string() }],
    };
    let mut out = Vec::new();
    for model in health.get("models").and_then(Value::as_array).into_iter().flatten() {
        let ok = model.get("available") == Some(&Value::Bool(true));
        let said = if ok { format!("{} is available", text(model, "/id")) } else { text(model, "/reason") };
        out.push(Finding { what: "model", ok, said });
    }
    for node in health.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        let (id, experts) = (text(node, "/id"), text(node, "/experts"));
        let until = node.get("consent_expires").and_then(Value::as_u64).unwrap_or(0);
        let in_force = until > clock::now().seconds().0;
        let said = if experts == "0" {
            format!("{id} hosts no expert of the model, so it gets no work; give it the model with --model")
        } else if in_force {
            format!("{id} hosts {experts} experts, consent until {until} (unix)")
        } else {
            format!("{id}: its consent has ended, so it gets no work; restart the node")
        };
        out.push(Finding { what: "work", ok: in_force && experts != "0", said });
    }
    out
}
