//! A stretch of network between nodes and a router: a UDP relay that holds every datagram for a time each way.
//!
//! Each direction of each node has a thread that receives and one that sends at the moment due. The sender sleeps to an
//! absolute time of the monotonic clock with the least timer slack, because an asynchronous runtime's timers are too
//! coarse for this, and it notes how long each datagram was really held.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, clock_gettime};

/// Nodes that one relay takes.
pub const MAX_PEERS: usize = 64;
/// The longest time that a datagram is held each way.
pub const MAX_DELAY: Duration = Duration::from_secs(1);
/// How often a thread that waits looks whether the relay is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest datagram.
const MAX_DATAGRAM: usize = 65_536;
/// Nanoseconds by which the system may be late with a timer.
#[cfg(target_os = "linux")]
const SLACK_NS: u64 = 1;

/// The relay; its threads end with it.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    held: Arc<Held>,
}

/// What all threads know.
#[derive(Debug)]
struct Held {
    delay_ns: u64,
    over: AtomicBool,
    datagrams: AtomicU64,
    /// Of all datagrams, how long they were held.
    total_ns: AtomicU64,
}

/// A datagram on its way.
struct Parcel {
    arrived_ns: u64,
    bytes: Vec<u8>,
    to: SocketAddr,
}

impl Relay {
    /// Stands before `target` and holds datagrams for half of `rtt` each way. Nodes connect to [`Self::addr`].
    ///
    /// # Errors
    /// What the system says of sockets and threads; `InvalidInput` beyond [`MAX_DELAY`] each way.
    pub fn start(target: SocketAddr, rtt: Duration) -> std::io::Result<Self> {
        let delay = rtt / 2;
        if delay > MAX_DELAY {
            return Err(std::io::Error::new(ErrorKind::InvalidInput, "a relay holds for one second at most"));
        }
        let front = Arc::new(socket()?);
        let addr = front.local_addr()?;
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let (over, datagrams, total_ns) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let held = Arc::new(Held { delay_ns, over, datagrams, total_ns });
        let own = Arc::clone(&held);
        spawn("relay-front", move || {
            // The relay works as long as it can; when it cannot, the lanes through it are lost and say so.
            let _ = peers(&front, target, &own);
        })?;
        Ok(Self { addr, held })
    }

    /// Where nodes connect.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many datagrams were passed on, both ways.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.held.datagrams.load(Ordering::Relaxed)
    }

    /// Twice the time for which a datagram was held in the mean, measured from its receipt to its sending; `None`
    /// before the first.
    #[must_use]
    pub fn measured_rtt(&self) -> Option<Duration> {
        let total = self.held.total_ns.load(Ordering::Relaxed);
        total.checked_div(self.datagrams()).map(|mean| Duration::from_nanos(mean.saturating_mul(2)))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.held.over.store(true, Ordering::Relaxed);
    }
}

/// Receives from nodes, and opens for each a socket towards the target, so that the target tells them apart.
fn peers(front: &Arc<UdpSocket>, target: SocketAddr, held: &Arc<Held>) -> std::io::Result<()> {
    let known: RwLock<HashMap<SocketAddr, Sender<Parcel>>> = RwLock::default();
    receive(front, held, |from, arrived_ns, bytes| {
        let sender = known.read().unwrap_or_else(PoisonError::into_inner).get(&from).cloned();
        let sender = match sender {
            Some(sender) => sender,
            None => {
                let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= MAX_PEERS {
                    return Ok(());
                }
                let sender = open(Arc::clone(front), from, held)?;
                known.insert(from, sender.clone());
                sender
            }
        };
        // A sender is gone only when the relay is.
        let _ = sender.send(Parcel { arrived_ns, bytes: bytes.to_vec(), to: target });
        Ok(())
    })
}

/// One node's three threads beside the front's.
fn open(front: Arc<UdpSocket>, peer: SocketAddr, held: &Arc<Held>) -> std::io::Result<Sender<Parcel>> {
    let back = Arc::new(socket()?);
    let (there, parcels) = channel();
    let (own, out) = (Arc::clone(held), Arc::clone(&back));
    spawn("relay-there", move || send(&out, &parcels, &own))?;
    let (home, parcels) = channel();
    let own = Arc::clone(held);
    spawn("relay-home", move || send(&front, &parcels, &own))?;
    let own = Arc::clone(held);
    spawn("relay-back", move || {
        let _ = receive(&back, &own, |_, arrived_ns, bytes| {
            let _ = home.send(Parcel { arrived_ns, bytes: bytes.to_vec(), to: peer });
            Ok(())
        });
    })?;
    Ok(there)
}

fn receive(
    socket: &UdpSocket,
    held: &Held,
    mut take: impl FnMut(SocketAddr, u64, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; MAX_DATAGRAM];
    while !held.over.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((n, from)) => take(from, now_ns(), buffer.get(..n).unwrap_or_default())?,
            // What an earlier datagram's addressee said: it is not there yet, or no longer.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Sends what comes, each at its time. The delay is one for all, so that they stay in order.
fn send(socket: &UdpSocket, parcels: &Receiver<Parcel>, held: &Held) {
    // Without it the system may be 50 µs late, which is then part of the measured delay.
    #[cfg(target_os = "linux")]
    let _ = set_current_timer_slack(std::num::NonZeroU64::new(SLACK_NS));
    while let Ok(parcel) = parcels.recv() {
        let due = parcel.arrived_ns.saturating_add(held.delay_ns);
        while now_ns() < due {
            sleep_until(due);
        }
        let took = now_ns().saturating_sub(parcel.arrived_ns);
        // A datagram that cannot be sent is lost, as on any network.
        let _ = socket.send_to(&parcel.bytes, parcel.to);
        held.total_ns.fetch_add(took, Ordering::Relaxed);
        held.datagrams.fetch_add(1, Ordering::Relaxed);
    }
}

fn socket() -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    Ok(socket)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(SECOND_NS).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// May wake early.
#[cfg(target_os = "linux")]
fn sleep_until(due_ns: u64) {
    let part = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let due = rustix::time::Timespec { tv_sec: part(due_ns / SECOND_NS), tv_nsec: part(due_ns % SECOND_NS) };
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &due);
}

/// May wake early.
#[cfg(not(target_os = "linux"))]
fn sleep_until(due_ns: u64) {
    std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns())));
}

const SECOND_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }

    #[test]
    fn two_nodes_get_their_own_answers_in_order() {
        let router = client();
        let relay = Relay::start(router.local_addr().unwrap(), Duration::from_millis(2)).unwrap();
        let nodes = [client(), client()];
        let mut buffer = [0; 64];
        let mut backs = Vec::new();
        for (node, word) in nodes.iter().zip([b"one", b"two"]) {
            node.send_to(word, relay.addr()).unwrap();
            let (n, back) = router.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], word);
            backs.push(back);
        }
        assert_ne!(backs[0], backs[1]);
        for part in [b"a", b"b"] {
            router.send_to(part, backs[1]).unwrap();
        }
        router.send_to(b"c", backs[0]).unwrap();
        let mut heard = |node: &UdpSocket| {
            let (n, from) = node.recv_from(&mut buffer).unwrap();
            assert_eq!(from, relay.addr());
            buffer[..n].to_vec()
        };
        assert_eq!([heard(&nodes[1]), heard(&nodes[1]), heard(&nodes[0])], [b"a", b"b", b"c"]);
    }

    #[test]
    fn nothing_is_held_for_less_than_half_the_round_trip() {
        let router = client();
        let rtt = Duration::from_millis(6);
        let relay = Relay::start(router.local_addr().unwrap(), rtt).unwrap();
        assert_eq!(relay.measured_rtt(), None);
        let (node, mut buffer) = (client(), [0; 8]);
        node.send_to(b"there", relay.addr()).unwrap();
        let (_, back) = router.recv_from(&mut buffer).unwrap();
        router.send_to(b"home", back).unwrap();
        node.recv_from(&mut buffer).unwrap();
        // The last datagram is counted after it was sent, so one may be missing.
        assert!(relay.datagrams() >= 1 && relay.measured_rtt().unwrap() >= rtt);
    }

    #[test]
    fn a_delay_of_more_than_a_second_is_refused() {
        let target = client().local_addr().unwrap();
        let error = Relay::start(target, Duration::from_millis(2_001)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
