//! What a node is asked for after what it said.

use super::*;

const A: ManifestId = ManifestId::from_bytes([1; 32]);
const B: ManifestId = ManifestId::from_bytes([2; 32]);

fn layers(manifest: ManifestId, from: u32, to: u32) -> Vec<Range> {
    vec![Range { manifest, layers: (from, to), experts: (0, 7) }]
}

fn seat(standings: [(ManifestId, Vec<Range>, Vec<Range>); 2]) -> Seat {
    let standing = |(m, proposed, ready)| (m, Standing { proposed, ready });
    Seat { max_weight_bytes: 1000, standings: standings.map(standing).into(), ..Seat::default() }
}

fn allowed(seat: &Seat) -> Vec<Range> {
    let models = [(A, "a"), (B, "b")].into_iter();
    seat.offer(NodeId::from_bytes([7; 32]), None, 1, models).allowed
}

#[test]
fn one_that_declines_more_keeps_what_it_has_and_is_asked_again_later() {
    let mut seat = seat([(A, layers(A, 1, 4), layers(A, 1, 2)), (B, layers(B, 1, 1), vec![])]);
    let now = Instant::now();
    seat.decline(A, now);
    assert_eq!(seat.standings[&A].proposed, layers(A, 1, 2));
    assert_eq!(allowed(&seat), [layers(A, 1, 2), vec![Range::whole(B)]].concat());
    assert!(!seat.offer_again(now + SPARED - Duration::from_secs(1)));
    assert!(seat.offer_again(now + SPARED));
    assert_eq!(allowed(&seat), [Range::whole(A), Range::whole(B)]);
}

#[test]
fn a_refused_token_frees_what_was_proposed_and_not_what_is_on_its_way() {
    let mut seat = seat([(A, layers(A, 1, 4), vec![]), (B, layers(B, 1, 1), vec![])]);
    let now = Instant::now();
    seat.waits.begin(B, now);
    seat.refused(&Unfit::All, now);
    assert_eq!((seat.standings[&A].proposed.len(), seat.standings[&B].proposed.len()), (0, 1));
    assert_eq!(allowed(&seat), [Range::whole(B)]);
}

#[test]
fn a_refused_token_that_names_its_models_frees_these_alone() {
    let mut seat = seat([(A, layers(A, 1, 4), vec![]), (B, layers(B, 1, 1), vec![])]);
    let now = Instant::now();
    seat.waits.begin(B, now);
    seat.refused(&Unfit::Models([B].into()), now);
    assert_eq!((seat.standings[&A].proposed.len(), seat.standings[&B].proposed.len()), (1, 0));
    assert_eq!(allowed(&seat), [Range::whole(A)]);
}

#[test]
fn a_token_that_is_renewed_while_more_is_proposed_does_not_stand_for_that() {
    let mut seat = seat([(A, layers(A, 1, 4), layers(A, 1, 2)), (B, vec![], vec![])]);
    let now = Instant::now();
    seat.waits.begin(A, now);
    assert!(!seat.ready(&layers(A, 1, 2)));
    assert!(seat.waits.has(&A));
    assert_eq!(seat.standings[&A].proposed, layers(A, 1, 4));
    assert!(!seat.ready(&layers(A, 1, 4)));
    assert!(!seat.waits.has(&A));
}

#[test]
fn one_that_withdraws_is_not_asked_again() {
    let mut seat = seat([(A, layers(A, 1, 4), layers(A, 1, 4)), (B, vec![], layers(B, 1, 1))]);
    seat.withdraw(A);
    // That it lets go of this one was asked for.
    seat.withdraw(B);
    assert!(!seat.offer_again(Instant::now() + SPARED));
    assert_eq!(allowed(&seat), [Range::whole(B)]);
    seat.change(Some(vec!["a".to_owned()]));
    assert_eq!(allowed(&seat), [Range::whole(A)]);
}
