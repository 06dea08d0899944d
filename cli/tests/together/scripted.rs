//! A node that computes as one does, and fails when it is told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use counterfoil_consent::{Issuance, issue, open_hash, sign_receipt};
use counterfoil_identity::{PinnedRouter, client_config};
use counterfoil_model::{Checkpoint, ExpertBank, Pick, Routing, Rows, Share};
use counterfoil_node::NodeIdentity;
use counterfoil_router::clock;
use counterfoil_session::frame::{Combine, Dispatch, Encoding, Form, Outcome, RowVectors, Served};
use counterfoil_session::lane::EARLIER_LANE;
use counterfoil_session::sandbox::{hello, open_policy};
use counterfoil_session::{LaneEnd, NodeEndpoint, NodeLane, RouterFrame, Target};
use counterfoil_spec::ids::{Hash, Serial, Signature};
use counterfoil_spec::message::{LogHead, NodeMessage, NodeReceipt, RouterMessage, SignedOpen, SlotRefusal};
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::refusal::Refusal;
use tokio::sync::Notify;

/// What becomes of a dispatch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// It is computed.
    Serve,
    /// One segment is refused, by its place in the frame.
    Refuse(usize),
    /// The values of one grant are the largest that there are.
    Spoil(u32),
    /// The lane is closed.
    Die,
    /// It is computed so many times.
    Slowly(usize),
    /// There is no answer before the script is [released](Seen::release), and then that becomes of it.
    Hold,
}

/// Says what is done with each dispatch, counted from 0.
pub(crate) type Script = Box<dyn FnMut(usize, &Dispatch) -> Act + Send>;

/// The dispatches that came: layer, and grant and rows of each segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    frames: Arc<Mutex<Vec<Frame>>>,
    encodings: Arc<Mutex<Vec<(u32, Encoding)>>>,
    released: Arc<(Mutex<Option<Act>>, Notify)>,
    unused: Arc<Mutex<u64>>,
    /// Whether it hands in receipts: each twice, first as if it were one of an earlier lane.
    twice: Arc<AtomicBool>,
    acked: Arc<Mutex<Vec<Serial>>>,
    /// The checkpoint that it gives the router; it leaves once it is owed one of the router's.
    head: Arc<Mutex<Option<String>>>,
    end: Arc<Mutex<Option<LaneEnd>>>,
}

pub(crate) type Frame = (u32, Vec<(u32, u16)>);

impl Seen {
    /// All of them so far.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        self.frames.lock().unwrap().clone()
    }

    /// How the rows of each came, with its layer.
    pub(crate) fn encodings(&self) -> Vec<(u32, Encoding)> {
        self.encodings.lock().unwrap().clone()
    }

    /// Forwards that the router said entered no sum.
    pub(crate) fn unused(&self) -> u64 {
        *self.unused.lock().unwrap()
    }

    /// It hands in each receipt twice from here on, and has none before.
    pub(crate) fn hand_in_twice(&self) {
        self.twice.store(true, Ordering::Relaxed);
    }

    /// The receipts that came back countersigned.
    pub(crate) fn acked(&self) -> Vec<Serial> {
        self.acked.lock().unwrap().clone()
    }

    /// The checkpoint with which it answers the router's, as soon as the router owes it one.
    pub(crate) fn answer_with(&self, note: String) {
        *self.head.lock().unwrap() = Some(note);
    }

    /// How its lane ended.
    pub(crate) fn end(&self) -> Option<LaneEnd> {
        self.end.lock().unwrap().clone()
    }

    fn answers(&self) -> Option<String> {
        self.head.lock().unwrap().clone()
    }

    /// What becomes of the frame that is held.
    pub(crate) fn release(&self, act: Act) {
        *self.released.0.lock().unwrap() = Some(act);
        self.released.1.notify_one();
    }

    async fn released(&self) -> Act {
        loop {
            self.released.1.notified().await;
            if let Some(act) = self.released.0.lock().unwrap().take() {
                return act;
            }
        }
    }

    fn push(&self, dispatch: &Dispatch) -> usize {
        self.encodings.lock().unwrap().push((dispatch.layer, dispatch.activations.encoding()));
        let mut frames = self.frames.lock().unwrap();
        frames.push((dispatch.layer, dispatch.segments.iter().map(|s| (s.slot, s.rows)).collect()));
        frames.len() - 1
    }
}

/// Does all that it is asked.
pub(crate) fn willing() -> Script {
    Box::new(|_, _| Act::Serve)
}

/// Serves until its lane ends.
pub(crate) async fn serve(
    identity: NodeIdentity,
    router: SocketAddr,
    model: Arc<Checkpoint>,
    script: Script,
    seen: Seen,
) {
    let bank = ExpertBank::load(&*model, model.config().all_experts()).unwrap();
    let (endpoint, lane) = Box::pin(connected(&identity, router)).await;
    let ended = on_lane(lane, &identity, &bank, script, &seen).await;
    *seen.end.lock().unwrap() = ended.err();
    endpoint.wait_idle().await;
}

/// A node's lane on which nothing was said but Hello.
pub(crate) async fn connected(identity: &NodeIdentity, router: SocketAddr) -> (NodeEndpoint, NodeLane) {
    let now = clock::system();
    let (pin, domain) = (Arc::new(PinnedRouter(Some(identity.router))), identity.domain.clone());
    let tls = client_config(&identity.credentials, &domain, pin.clone(), Arc::clone(&now)).unwrap();
    let target = Target { addr: router, domain, router: pin, now: Arc::clone(&now) };
    let endpoint = NodeEndpoint::towards(router).unwrap();
    let mut greeting = hello(now());
    greeting.max_weight_bytes = 1 << 40;
    let lane = Box::pin(endpoint.connect(&target, tls, greeting)).await.unwrap();
    (endpoint, lane)
}

async fn on_lane(
    mut lane: NodeLane,
    identity: &NodeIdentity,
    bank: &ExpertBank,
    mut script: Script,
    seen: &Seen,
) -> Result<(), LaneEnd> {
    let mut permits = Vec::new();
    let mut orders = HashMap::new();
    let mut held = None;
    loop {
        let frame = tokio::select! {
            frame = lane.next() => frame?,
            act = seen.released(), if held.is_some() => {
                match (act, held.take()) {
                    (Act::Serve, Some((asked, combine))) => lane.answer(&asked, &combine)?,
                    _ => return Err(lane.shut(Refusal::SessionInternal, "as the script says")),
                }
                continue;
            }
        };
        match frame {
            RouterFrame::Message(message) => match *message {
                RouterMessage::Propose(proposal) => {
                    let issuance = Issuance::fresh(identity.domain.net_id(), clock::now().seconds(), 1);
                    let (token, permit) =
                        issue(&open_policy(&proposal.name), &proposal, &identity.key, &issuance).unwrap();
                    permits.push(permit);
                    lane.send(&NodeMessage::Consent(token))?;
                }
                RouterMessage::Welcome(welcome) => {
                    let permit = permits.iter().find(|p| p.claims().cti == welcome.cti).unwrap();
                    lane.activate(permit)?;
                    lane.send(&NodeMessage::Ready(welcome.cti))?;
                }
                RouterMessage::Open(order) => drop(orders.insert(order.grant.slot, order)),
                said @ (RouterMessage::Ack(_) | RouterMessage::Head(_)) => settles(&mut lane, seen, said)?,
                RouterMessage::Close(close) => {
                    let order = orders.remove(&close.slot).unwrap();
                    for message in hand_in(&order, close.used, identity, seen) {
                        lane.send(&message)?;
                    }
                }
                RouterMessage::Unused(unused) => *seen.unused.lock().unwrap() += unused.forwards,
                RouterMessage::Ping(nonce) => lane.send(&NodeMessage::Pong(nonce))?,
                _ => {}
            },
            RouterFrame::Dispatch(asked) => {
                let dispatch = lane.take_dispatch();
                let act = script(seen.push(&dispatch), &dispatch);
                match act {
                    Act::Die => return Err(lane.shut(Refusal::SessionInternal, "as the script says")),
                    Act::Hold => {
                        let combine = answer(bank, &dispatch, &Act::Serve);
                        held = Some((asked, combine));
                    }
                    act => {
                        let times = if let Act::Slowly(times) = act { times } else { 1 };
                        let mut combine = answer(bank, &dispatch, &act);
                        for _ in 1..times {
                            combine = answer(bank, &dispatch, &act);
                        }
                        lane.answer(&asked, &combine)?;
                    }
                }
                lane.restore(dispatch);
            }
        }
    }
}

/// What it does with a receipt that comes back, and with a head of the router's log.
fn settles(lane: &mut NodeLane, seen: &Seen, said: RouterMessage) -> Result<(), LaneEnd> {
    match (said, seen.answers()) {
        (RouterMessage::Ack(ack), answer) => {
            seen.acked.lock().unwrap().push(ack.serial);
            if answer.is_some() { lane.send(&NodeMessage::Drain) } else { Ok(()) }
        }
        (RouterMessage::Head(head), Some(note)) => {
            lane.send(&NodeMessage::Head(LogHead { note, vkey: head.vkey, succession: None }))
        }
        _ => Ok(()),
    }
}

/// What it says when an order is closed.
fn hand_in(order: &SignedOpen, used: u64, identity: &NodeIdentity, seen: &Seen) -> [NodeMessage; 2] {
    let slot = order.grant.slot;
    if seen.twice.load(Ordering::Relaxed) {
        let (body, node_sig) = receipt(order, used, identity);
        let receipt = |slot| NodeReceipt { slot, body: body.clone(), node_sig, last: true };
        return [EARLIER_LANE, slot].map(|slot| NodeMessage::Receipt(receipt(slot)));
    }
    // It keeps no books, so there is no receipt: it refuses the order, late, and its close.
    let (refusal, node) = (Refusal::Unsettled, identity.key.public().node_id());
    let detail = "as the script says".into();
    let refuse = NodeMessage::Refuse(SlotRefusal { slot, refusal, detail, node });
    [refuse.clone(), refuse]
}

/// The last receipt of an order, for what the router says entered a sum.
fn receipt(order: &SignedOpen, used: u64, identity: &NodeIdentity) -> (Vec<u8>, Signature) {
    let body = ReceiptBody {
        serial: order.open.serial,
        open_hash: open_hash(&order.open),
        node: order.open.node,
        router: order.open.router,
        manifest: order.grant.manifest,
        cti: order.grant.cti,
        forwards: used,
        made: used,
        transcript: Hash::from_bytes([7; 32]),
        opened: order.open.issued,
        closed: clock::now(),
        compute_us: 1,
    };
    sign_receipt(&body, &identity.key, &identity.domain.net_id()).unwrap()
}

fn answer(bank: &ExpertBank, dispatch: &Dispatch, act: &Act) -> Combine {
    let width = usize::try_from(dispatch.hidden).unwrap();
    let mut combine = Combine { hidden: dispatch.hidden, ..Combine::default() };
    let (mut row, mut expert) = (0, 0);
    for (at, segment) in dispatch.segments.iter().enumerate() {
        let rows = &dispatch.rows[row..row + usize::from(segment.rows)];
        let activations = dispatch.activations.to_floats()[row * width..(row + rows.len()) * width].to_vec();
        row += rows.len();
        let mut routing = Routing::new();
        for row in rows {
            let own = &dispatch.experts[expert..expert + usize::from(row.experts)];
            expert += own.len();
            let picks: Vec<Pick> = own.iter().map(|e| Pick { expert: e.expert, weight: e.weight }).collect();
            let share = if row.form == Form::Summed { Share::Whole } else { Share::Partial };
            routing.push(&picks, share).unwrap();
        }
        if *act == Act::Refuse(at) {
            let outcome = Outcome::Refused(Refusal::Deadline);
            combine.segments.push(Served { slot: segment.slot, outcome });
            continue;
        }
        combine.segments.push(Served { slot: segment.slot, outcome: Outcome::Served(segment.rows) });
        combine.rows.extend(
            rows.iter().map(|row| RowVectors {
                vectors: u16::try_from(row.answer_vectors()).unwrap(),
                form: row.form,
            }),
        );
        let activations = Rows::from_values(width, activations).unwrap();
        let computed = bank.forward(dispatch.layer, &activations, &routing).unwrap().into_vectors();
        let mut values = computed.into_values();
        if *act == Act::Spoil(segment.slot) {
            values.fill(f32::MAX);
        }
        combine.values.extend(values);
    }
    combine
}
