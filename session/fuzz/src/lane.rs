//! Bytes on a fresh lane, towards either end, and what must hold of them.

use bytes::BytesMut;
use counterfoil_consent::FrameMac;
use counterfoil_identity::Refused;
use counterfoil_session::Rehearsal;
use counterfoil_session::frame::{
    Combine, Dispatch, FrameHeader, HEADER_BYTES, Kind, MAC_OFFSET, decode_control, encode_control,
};
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;

use crate::change::{flipped, mark};
use crate::network::network;

/// Which end the bytes arrive at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A node, which takes dispatches.
    Node,
    /// A router, which takes combines.
    Router,
}

/// Holds that
/// - bytes in pieces are judged as they are at once,
/// - a header or body that is read is written as it came,
/// - the first frame under a MAC is refused with `R_MAC` where a bit of what the MAC covers is turned, and not where none is,
/// - and that no such frame is taken twice.
pub fn hold(to: To, stream: &[u8]) {
    let sealed = sealed(stream);
    for bytes in [stream, &sealed] {
        let cut = mark(bytes) % (bytes.len() + 1);
        assert_eq!(judged(to, &[bytes]), judged(to, &[&bytes[..cut], &bytes[cut..]]), "cut at {cut}");
    }
    let mut at = 0;
    while let Some((header, body)) = frame(&sealed[at..]) {
        let end = at + HEADER_BYTES + body.len();
        assert_eq!(header.to_bytes(), sealed[at..at + HEADER_BYTES]);
        written_as_read(to, &header, body);
        let mine = header.kind == if to == To::Node { Kind::Dispatch } else { Kind::Combine };
        // The first frame that a router takes is Hello and nothing else.
        let greeted = to == To::Node || at > 0;
        if mine && greeted && header.token_slot == 0 && judged(to, &[&sealed[..at]]).is_ok() {
            return under_a_mac(to, (&sealed[..at], &sealed[at..end]));
        }
        at = end;
    }
}

fn under_a_mac(to: To, (before, frame): (&[u8], &[u8])) {
    let right = judged(to, &[before, frame]);
    assert_ne!(refusal(&right), Some(Refusal::Mac), "{right:?}");
    // The counter, the sequence number and the MAC itself; the reserved bytes between are refused before it.
    let covered: Vec<usize> = (8..20).chain(MAC_OFFSET..HEADER_BYTES).collect();
    let bit = covered[mark(frame) / 8 % covered.len()] * 8 + mark(frame) % 8;
    let wrong = judged(to, &[before, &flipped(frame, bit)]);
    assert_eq!(refusal(&wrong), Some(Refusal::Mac), "bit {bit}: {wrong:?}");
    if right.is_ok() {
        assert_eq!(refusal(&judged(to, &[before, frame, frame])), Some(Refusal::Replay));
    }
}

/// Every frame but control ones with the MAC that its header must have.
fn sealed(stream: &[u8]) -> Vec<u8> {
    let mac = FrameMac::new(&network().exporter, &network().permit.token_hash());
    let (mut out, mut at) = (stream.to_vec(), 0);
    while let Some((header, body)) = frame(&stream[at..]) {
        if header.kind != Kind::Control {
            out[at + MAC_OFFSET..at + HEADER_BYTES].copy_from_slice(&mac.mac(&header.authenticated()));
        }
        at += HEADER_BYTES + body.len();
    }
    out
}

/// The first frame, where all of it is there.
fn frame(bytes: &[u8]) -> Option<(FrameHeader, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let header = FrameHeader::read(head).ok()?;
    Some((header, rest.get(..header.body_bytes())?))
}

fn written_as_read(to: To, header: &FrameHeader, body: &[u8]) {
    let (mut dispatch, mut combine, mut out) = (Dispatch::default(), Combine::default(), BytesMut::new());
    match header.kind {
        Kind::Dispatch if dispatch.decode(body).is_ok() => dispatch.encode(&mut out).expect("it was read"),
        Kind::Combine if combine.decode(body).is_ok() => combine.encode(&mut out).expect("it was read"),
        Kind::Control => {
            let message = match to {
                To::Node => decode_control::<RouterMessage>(body).map(|message| encode_control(&message)),
                To::Router => decode_control::<NodeMessage>(body).map(|message| encode_control(&message)),
            };
            let Ok(message) = message else { return };
            out.extend_from_slice(&message.expect("it was read")[HEADER_BYTES..]);
        }
        _ => return,
    }
    assert_eq!(out, body);
}

/// What a fresh lane says to pieces that arrive one after the other, and whether it is left within a frame.
fn judged(to: To, pieces: &[&[u8]]) -> Result<bool, Refused> {
    let (exporter, welcomed) = (network().exporter, [network().permit.clone()]);
    let mut lane = match to {
        To::Node => Rehearsal::node(exporter, &welcomed)?,
        To::Router => Rehearsal::router(exporter, &welcomed)?,
    };
    pieces.iter().try_for_each(|piece| lane.arrive(piece))?;
    Ok(lane.is_within_frame())
}

fn refusal(judged: &Result<bool, Refused>) -> Option<Refusal> {
    judged.as_ref().err().map(|refused| refused.refusal)
}
