//! How quinn is set up for a lane: one bidirectional stream, long-lived, with small frames both ways, and a few fetch
//! streams beside it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_spec::limits::{MAX_FETCH_CHUNKS_AHEAD, MAX_FETCH_STREAMS, SHARD_CHUNK_BYTES};
use quinn::congestion::CubicConfig;
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

/// The bytes that one lane may have in flight or unread in one direction.
pub const LANE_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
/// How long a silent peer is waited for, in milliseconds.
pub const IDLE_TIMEOUT_MS: u32 = 5_000;
/// How often a node makes itself heard, in milliseconds.
pub const KEEP_ALIVE_MS: u64 = 1_000;

/// Where the other side is, as far as that matters for timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// On this machine.
    Loopback,
    /// Anywhere else.
    Network,
}

impl Distance {
    /// Judges by the address.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        if ip.is_loopback() { Self::Loopback } else { Self::Network }
    }
}

/// Which side of a lane is being set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// It takes connections and lets the node open the lane.
    Router,
    /// It connects and opens the lane.
    Node,
}

/// The transport of a lane.
pub(crate) fn transport(side: Side, distance: Distance) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let fetches = narrow(MAX_FETCH_STREAMS);
    // The bytes that all fetch streams of one side may have in flight or unread stand beside the lane's.
    let window = LANE_WINDOW_BYTES + fetches * narrow(MAX_FETCH_CHUNKS_AHEAD * SHARD_CHUNK_BYTES);
    let (streams, keep_alive) = match side {
        Side::Router => (1 + fetches, None),
        Side::Node => (fetches, Some(Duration::from_millis(KEEP_ALIVE_MS))),
    };
    config
        .max_concurrent_bidi_streams(VarInt::from(streams))
        .max_concurrent_uni_streams(VarInt::from(0_u8))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(keep_alive)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from(IDLE_TIMEOUT_MS))))
        .stream_receive_window(VarInt::from(LANE_WINDOW_BYTES))
        .receive_window(VarInt::from(window))
        .send_window(u64::from(window))
        .mtu_discovery_config(Some(mtu_discovery()))
        .congestion_controller_factory(congestion());
    if distance == Distance::Loopback {
        // Datagrams of 16 KiB are few enough; to have the kernel cut them out of larger ones takes twice as long here.
        config.initial_rtt(Duration::from_millis(1)).enable_segmentation_offload(false);
    }
    Arc::new(config)
}

/// The transport of an enrolment: one stream, little data.
pub(crate) fn enrol_transport(side: Side) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let (streams, keep_alive): (u8, _) = match side {
        Side::Router => (1, None),
        // It may wait longer for its answer than a silent peer is waited for.
        Side::Node => (0, Some(Duration::from_millis(KEEP_ALIVE_MS))),
    };
    config
        .keep_alive_interval(keep_alive)
        .max_concurrent_bidi_streams(VarInt::from(streams))
        .max_concurrent_uni_streams(VarInt::from(0_u8))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from(IDLE_TIMEOUT_MS))))
        .stream_receive_window(VarInt::from(ENROL_WINDOW_BYTES))
        .receive_window(VarInt::from(ENROL_WINDOW_BYTES));
    Arc::new(config)
}

/// What both sides of a lane take from the network.
pub(crate) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    // The constant lies within the range that quinn takes; were it not, its default would stay.
    let _ = config.max_udp_payload_size(MAX_UDP_PAYLOAD_BYTES);
    config
}

/// A limit as QUIC counts it; all of them are small.
fn narrow(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

fn mtu_discovery() -> MtuDiscoveryConfig {
    let mut config = MtuDiscoveryConfig::default();
    config.upper_bound(MAX_UDP_PAYLOAD_BYTES);
    config
}

fn congestion() -> Arc<CubicConfig> {
    let mut config = CubicConfig::default();
    // The first dispatch of a lane, 4 to 64 KiB, leaves in one flight.
    config.initial_window(INITIAL_WINDOW_BYTES);
    Arc::new(config)
}

/// Loopback and jumbo frames carry a row in one packet; discovery finds the path's own limit below this.
const MAX_UDP_PAYLOAD_BYTES: u16 = 16 * 1024;
/// Four messages of at most 16 KiB.
const ENROL_WINDOW_BYTES: u32 = 64 * 1024;
const INITIAL_WINDOW_BYTES: u64 = 128 * 1024;
