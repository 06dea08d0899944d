//! First packets that nobody stands behind: real ones, of connections that were begun towards a socket which never
//! answers, sent to somebody else again and again.
//!
//! Each is what a client really sends, so whoever gets it derives its keys and opens it before anything can be said of
//! it. They come from one address, which is never proved.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quinn::ClientConfig;
use quinn::crypto::rustls::QuicClientConfig;

use super::BenchError;
use crate::endpoint::{SERVER_NAME, open};
use crate::sandbox::{Sandbox, machine_clock};

/// How many different ones there are.
const DIFFERENT: usize = 512;
/// The longest datagram that a client begins with.
const MAX_DATAGRAM: usize = 2048;
/// How often some are sent.
const EVERY: Duration = Duration::from_millis(1);
/// How long a client may take to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);

/// First packets, to be sent.
#[derive(Debug, Clone)]
pub struct FirstPackets(Arc<Vec<Vec<u8>>>);

/// A flood of them; it ends with this.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<u64>>>,
}

impl FirstPackets {
    /// Begins connections that come to nothing, and keeps what they send first.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn record() -> Result<Self, BenchError> {
        let net = Sandbox::new(machine_clock())?;
        let member = net.member()?;
        let tls =
            QuicClientConfig::try_from(net.tls(&member)?).map_err(|e| BenchError::Echo(e.to_string()))?;
        let config = ClientConfig::new(Arc::new(tls));
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let silent = tokio::net::UdpSocket::bind(loopback).await?;
        let to = silent.local_addr()?;
        let client = open(loopback, None).map_err(|e| BenchError::Echo(e.to_string()))?;
        let (mut packets, mut ids) = (Vec::with_capacity(DIFFERENT), HashSet::new());
        while packets.len() < DIFFERENT {
            let begun = client.connect_with(config.clone(), to, SERVER_NAME);
            let begun = begun.map_err(|e| BenchError::Echo(e.to_string()))?;
            let mut packet = vec![0; MAX_DATAGRAM];
            let came = tokio::time::timeout(BEGINS_WITHIN, silent.recv_from(&mut packet)).await;
            let (length, _) = came.map_err(|_| BenchError::Gone)??;
            drop(begun);
            packet.truncate(length);
            if let Some(id) = initial(&packet)
                && ids.insert(id.to_vec())
            {
                packets.push(packet);
            }
        }
        Ok(Self(Arc::new(packets)))
    }

    /// Sends so many a second to an address, on a thread of its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn flood(&self, to: SocketAddr, per_s: f64) -> std::io::Result<Flood> {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (packets, stopped) = (Arc::clone(&self.0), Arc::clone(&stop));
        let send = move || {
            let (began, mut sent) = (Instant::now(), 0_u64);
            for packet in packets.iter().cycle() {
                while sent as f64 >= began.elapsed().as_secs_f64() * per_s {
                    if stopped.load(Ordering::Relaxed) {
                        return Ok(sent);
                    }
                    std::thread::sleep(EVERY);
                }
                if stopped.load(Ordering::Relaxed) {
                    return Ok(sent);
                }
                // What finds a full queue was sent all the same, and is lost.
                let _ = socket.send_to(packet, to)?;
                sent += 1;
            }
            Ok(sent)
        };
        let thread = std::thread::Builder::new().name("flood".to_owned()).spawn(send)?;
        Ok(Flood { stop, thread: Some(thread) })
    }
}

impl Flood {
    /// Ends it; gives how many were sent.
    ///
    /// # Errors
    /// What the system said of one of them.
    pub fn end(mut self) -> Result<u64, BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or(BenchError::Gone)?;
        Ok(thread.join().map_err(|_| BenchError::Gone)??)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The destination's connection id of an Initial packet (RFC 9000 §17.2.2).
fn initial(packet: &[u8]) -> Option<&[u8]> {
    let (first, rest) = packet.split_first()?;
    // A long header with the fixed bit and the type of an Initial; the other bits are protected.
    if first & 0xf0 != 0xc0 {
        return None;
    }
    let (length, ids) = rest.get(4..)?.split_first()?;
    ids.get(..usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn recorded_packets_are_initials_of_different_connections() {
        let packets = FirstPackets::record().await.unwrap();
        let ids: HashSet<&[u8]> = packets.0.iter().map(|packet| initial(packet).unwrap()).collect();
        assert_eq!((packets.0.len(), ids.len()), (DIFFERENT, DIFFERENT));
        // RFC 9000 §14.1: a client's first datagram has 1,200 bytes at least.
        assert!(packets.0.iter().all(|packet| packet.len() >= 1200));
    }

    #[tokio::test]
    async fn a_flood_sends_what_was_recorded_and_ends() {
        let packets = FirstPackets::record().await.unwrap();
        let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let flood = packets.flood(sink.local_addr().unwrap(), 1000.0).unwrap();
        let mut came = vec![0; MAX_DATAGRAM];
        for want in packets.0.iter().take(3) {
            let length = sink.recv(&mut came).unwrap();
            assert_eq!(&came[..length], want.as_slice());
        }
        assert!(flood.end().unwrap() >= 3);
    }
}
