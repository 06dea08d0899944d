//! Orders of the operator, and what a home remembers of them.

use super::*;

const A: ManifestId = ManifestId::from_bytes([1; 32]);
const B: ManifestId = ManifestId::from_bytes([2; 32]);

#[test]
fn orders_wait_until_they_are_done_and_what_is_none_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(waiting(home.path()), []);
    let order = OperatorOrder::Revoke(Serial::from_bytes([7; 16]));
    let path = give_order(home.path(), order).unwrap();
    fs::write(home.path().join("orders/notes.txt"), b"x").unwrap();
    fs::write(home.path().join("orders").join(Serial::from_bytes([9; 16]).to_string()), b"\xff").unwrap();
    assert_eq!(waiting(home.path()), [(path.clone(), order)]);
    done(&path);
    assert_eq!(waiting(home.path()), []);
}

#[test]
fn what_is_withheld_outlives_the_process_and_a_model_can_be_allowed_again() {
    let home = tempfile::tempdir().unwrap();
    let open = || Withheld::open(home.path()).unwrap();
    let has = || (open().has(&A, false), open().has(&B, false));
    assert_eq!(has(), (false, false));
    open().add(&[A]).unwrap();
    assert_eq!(has(), (true, false));
    open().add_all().unwrap();
    assert_eq!(has(), (true, true));
    open().allow(A).unwrap();
    assert_eq!(has(), (false, true));
    open().add(&[A]).unwrap();
    assert_eq!(has(), (true, true));
    fs::write(home.path().join("withheld"), format!("{A}\nwhat?\n")).unwrap();
    assert_eq!(has(), (true, true), "what cannot be read is no permission");
}

#[test]
fn where_the_operator_must_be_asked_everything_waits_for_a_yes() {
    let home = tempfile::tempdir().unwrap();
    let open = || Withheld::open(home.path()).unwrap();
    let has = |ask| (open().has(&A, ask), open().has(&B, ask));
    assert_eq!((has(true), has(false)), ((true, true), (false, false)));
    open().allow(A).unwrap();
    assert_eq!((has(true), has(false)), ((false, true), (false, false)));
    // What was taken back stays so, whether there is asking or not.
    open().add(&[A]).unwrap();
    assert_eq!((has(true), has(false)), ((true, true), (true, false)));
    open().allow(B).unwrap();
    assert_eq!((has(true), has(false)), ((true, false), (true, false)));
}

#[test]
fn a_proposal_that_waits_can_be_read_and_is_gone_after_the_answer() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(asked(home.path()), []);
    let proposal = Proposal {
        manifest: A,
        name: "guide".to_owned(),
        ranges: Vec::new(),
        list_price_micro_per_1k: 1,
        currency: "USD".to_owned(),
        router: counterfoil_spec::ids::RouterId::from_bytes([3; 32]),
        min_epoch: 1,
    };
    ask(home.path(), &proposal).unwrap();
    ask(home.path(), &proposal).unwrap();
    assert_eq!(asked(home.path()), [proposal]);
    answered(home.path(), &A);
    assert_eq!(asked(home.path()), []);
}

#[test]
fn words_are_found_by_their_hash() {
    let home = tempfile::tempdir().unwrap();
    let hash = Hash::from_bytes([5; 32]);
    assert_eq!(words(home.path(), &hash), None);
    keep_words(home.path(), &hash, "what was signed").unwrap();
    assert_eq!(words(home.path(), &hash).as_deref(), Some("what was signed"));
}

#[test]
fn an_epoch_is_kept_and_a_damaged_one_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(epoch(home.path()).unwrap(), 0);
    keep_epoch(home.path(), 3).unwrap();
    assert_eq!(epoch(home.path()).unwrap(), 3);
    fs::write(home.path().join("epoch"), "x").unwrap();
    assert_eq!(epoch(home.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_damaged_epoch_is_named_with_what_stands_there_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(epoch(home.path()).unwrap(), 0);
    keep_epoch(home.path(), 7).unwrap();
    assert_eq!(epoch(home.path()).unwrap(), 7);
    fs::write(home.path().join("epoch"), "7\x1b[2J").unwrap();
    let words = epoch(home.path()).unwrap_err().to_string();
    assert!(words.starts_with("\"7\\u{1b}[2J\" stands there and is no epoch; write a number"), "{words}");
}
