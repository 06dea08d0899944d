//! A join token is used once, by whoever the log names, whatever happens at the same time.

use std::sync::Barrier;
use std::thread;

use super::*;

fn claim_of(stage: &Stage, proof: &Proof) -> Claim {
    Claim {
        token_id: stage.token.token_id(),
        node: stage.identity.public().node_id(),
        csr_hash: crate::digest::derive(crate::digest::context::CSR, &[&proof.csr]),
    }
}

#[test]
fn token_is_good_for_one_node_and_gives_it_the_same_answer_again() {
    let stage = Stage::new();
    let (server, _, proof) = stage.proved();
    let first = stage.finish(server, &proof).unwrap();
    let (server, proving, proof) = stage.proved();
    let logged = RefCell::new(0);
    let proved = server.prove(&proof, &EXPORTER, NOW).unwrap();
    let record = |_| {
        *logged.borrow_mut() += 1;
        Ok(())
    };
    let again = stage.enrol(proved, &|_| true, &record).unwrap();
    assert_eq!((&again, logged.into_inner()), (&first, 0));
    assert_eq!(proving.on_enrolled(&again, NOW).map(|j| j.node), Ok(stage.identity.public().node_id()));
    let (server, proof) = stage.as_another();
    assert_eq!(stage.finish(server, &proof), Err(Refusal::EnrolUsed));
}

#[test]
fn same_claim_is_answered_for_ten_minutes() {
    let stage = Stage::new();
    let (server, _, proof) = stage.proved();
    let enrolled = stage.finish(server, &proof).unwrap();
    let claim = claim_of(&stage, &proof);
    let again = Ok(Consumed::Again(Box::new(enrolled)));
    assert_eq!(stage.tokens.consume(&claim, NOW.plus(599)), again);
    assert_eq!(stage.tokens.consume(&claim, NOW.plus(600)), Err(Refusal::EnrolUsed));
    let other = Claim { csr_hash: Hash::from_bytes([0; 32]), ..claim };
    assert_eq!(stage.tokens.consume(&other, NOW), Err(Refusal::EnrolUsed));
    stage.tokens.release(&other);
    assert_eq!(stage.tokens.consume(&other, NOW), Err(Refusal::EnrolUsed));
    stage.tokens.mark_used(&claim.token_id);
    assert_eq!(stage.tokens.consume(&claim, NOW), again);
    stage.tokens.release(&claim);
    assert_eq!(stage.tokens.consume(&other, NOW), Ok(Consumed::First));
    stage.tokens.release(&other);
    stage.tokens.mark_used(&claim.token_id);
    assert_eq!(stage.tokens.consume(&other, NOW), Err(Refusal::EnrolUsed));
}

#[test]
fn refusals_of_a_token_are_counted_one_by_one() {
    let stage = Stage::new();
    let id = stage.token.token_id();
    assert_eq!([(); 3].map(|()| stage.tokens.count_refusal(&id)), [0, 1, 2]);
    assert_eq!(stage.tokens.count_refusal(&Serial::from_bytes([0; 16])), u32::MAX);
}

#[test]
fn enrolled_key_is_refused() {
    let stage = Stage::new();
    let (server, _, proof) = stage.proved();
    let key = stage.identity.public();
    let proved = server.prove(&proof, &EXPORTER, NOW).unwrap();
    let taken = stage.enrol(proved, &|facts| facts.key == key, &|_| Ok(()));
    assert_eq!(taken, Err(Refusal::EnrolCollision));
}

//= spec/identity.md#enrolment
//= type=test
//# A router MUST verify node sig, token sig and binding before it uses the token (`E_PROOF`).
#[test]
fn whoever_is_refused_uses_no_token() {
    let stage = Stage::new();
    let (server, _, proof) = stage.proved();
    let forged = SecretKey::from_seed([99; 32]).sign(b"");
    for change in [
        |p: &mut Proof, sig| p.node_sig = sig,
        |p: &mut Proof, sig| p.token_sig = sig,
        |p: &mut Proof, sig| p.binding_sig = sig,
    ] {
        let mut bad = proof.clone();
        change(&mut bad, forged);
        assert_eq!(stage.finish(server.clone(), &bad), Err(Refusal::EnrolProof));
    }
    let proved = server.prove(&proof, &EXPORTER, NOW).unwrap();
    assert_eq!(stage.enrol(proved, &|_| true, &|_| Ok(())), Err(Refusal::EnrolCollision));
    let (server, proof) = stage.as_another();
    assert_eq!(stage.finish(server, &proof).map(drop), Ok(()));
}

//= spec/identity.md#enrolment
//= type=test
//# A router MUST NOT answer before the enrolment is in its log; where it cannot be written the token is free again.
#[test]
fn what_the_log_did_not_take_is_no_answer_and_uses_no_token() {
    let stage = Stage::new();
    let (server, _, proof) = stage.proved();
    let full = |_| Err(Refused { refusal: Refusal::SessionInternal, detail: "the disk is full".to_owned() });
    for _ in 0..2 {
        let proved = server.clone().prove(&proof, &EXPORTER, NOW).unwrap();
        assert_eq!(stage.enrol(proved, &|_| false, &full), Err(Refusal::SessionInternal));
    }
    let (server, proof) = stage.as_another();
    assert_eq!(stage.finish(server, &proof).map(drop), Ok(()));
}

#[test]
fn while_one_is_being_logged_nobody_else_gets_the_token_and_it_no_second_answer() {
    let stage = Stage::new();
    let (server, _, proof) = stage.proved();
    let meanwhile = RefCell::new(Vec::new());
    let record = |_| {
        let (other, theirs) = stage.as_another();
        let (same, _, ours) = stage.proved();
        let tried = [stage.finish(other, &theirs), stage.finish(same, &ours)];
        meanwhile.borrow_mut().extend(tried.map(|t| t.map(drop)));
        Ok(())
    };
    let proved = server.prove(&proof, &EXPORTER, NOW).unwrap();
    assert_eq!(stage.enrol(proved, &|_| false, &record).map(drop), Ok(()));
    assert_eq!(meanwhile.into_inner(), [Err(Refusal::EnrolUsed), Err(Refusal::EnrolUsed)]);
}

//= spec/identity.md#enrolment
//= type=test
//# so that of two claims at most one succeeds
#[test]
fn of_many_claims_at_one_time_one_is_first() {
    const CLAIMANTS: u8 = 4;
    let token = JoinToken::generate(Net::new(1).root.net_id(), NOW.plus(3600));
    let claims = (0..CLAIMANTS).map(|n| Claim {
        token_id: token.token_id(),
        node: counterfoil_spec::ids::NodeId::from_bytes([n; 32]),
        csr_hash: Hash::from_bytes([n; 32]),
    });
    let claims: Vec<Claim> = claims.collect();
    for round in 0..2000 {
        let tokens = MemoryTokens::new();
        tokens.add(token.facts());
        let together = Barrier::new(claims.len());
        let mut came: Vec<_> = thread::scope(|scope| {
            let tries: Vec<_> = claims
                .iter()
                .map(|claim| {
                    scope.spawn(|| {
                        together.wait();
                        tokens.consume(claim, NOW)
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).collect()
        });
        came.sort_by_key(Result::is_err);
        let mut want = vec![Err(Refusal::EnrolUsed); claims.len()];
        want[0] = Ok(Consumed::First);
        assert_eq!(came, want, "round {round}");
    }
}
