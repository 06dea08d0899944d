//! Keys that are somebody's already.

use super::*;

#[tokio::test]
async fn keys_of_the_network_become_no_node() {
    let scene = Scene::new();
    let token = scene.token();
    let root = scene.desk.home.root().unwrap().key();
    for key in [scene.desk.office.identity(), root] {
        let who = Newcomer::who_is(Arc::clone(key));
        assert_eq!(scene.join(&who, &token).await.map(drop), Err(Refusal::EnrolCollision));
    }
    let who = Newcomer::new();
    assert_eq!(scene.join(&who, &token).await.map(|j| j.node), Ok(who.id()));
}

//= spec/identity.md#enrolment
//= type=test
//# A router MUST refuse, after the proof, a node whose NIK, TLS key or log key is one of its [own](#keys) (`E_COLLISION`).
//# A router MUST refuse a NIK or a log key that stands in its log as that of another node (`E_COLLISION`), because nothing proves that a
//# node holds its log's key.
#[tokio::test]
async fn keys_that_are_somebodys_become_no_nodes_log_key() {
    let scene = Scene::new();
    let (home, office) = (&scene.desk.home, &scene.desk.office);
    let tls = TlsKey::generate();
    scene.desk.shown.add(tls.public());
    scene.operate(AdminCommand::CaNext {});
    let next_ca = office.books().roster.cas().all().next_back().unwrap().ca.key;
    let log = *office.log_keys().all().next().unwrap().vkey.key();
    let (first, others_log) = (Newcomer::new(), SecretKey::generate().public());
    let joined = scene.joined(first.logging_by(&scene.token(), others_log)).await;
    assert_eq!(joined.map(|j| j.node), Ok(first.id()));
    let (who, token) = (Newcomer::new(), scene.token());
    let taken = [
        *home.domain().root_key(),
        office.identity().public(),
        log,
        home.ca().key().public(),
        next_ca,
        tls.public(),
        others_log,
    ];
    for (n, key) in taken.into_iter().enumerate() {
        let joined = scene.joined(who.logging_by(&token, key)).await;
        assert_eq!(joined.map(drop), Err(Refusal::EnrolCollision), "{n}");
    }
    assert_eq!(scene.refused(0), vec![(who.id(), Refusal::EnrolCollision); 7]);
    assert_eq!(scene.join(&who, &token).await.map(|j| j.node), Ok(who.id()));
}

/// Its TLS key too, which it proves that it holds: a copy of the router's files is somewhere else then.
#[tokio::test]
async fn keys_of_the_network_become_no_nodes_tls_key() {
    let scene = Scene::new();
    let (who, token) = (Newcomer::new(), scene.token());
    scene.desk.shown.add(who.tls.public());
    assert_eq!(scene.join(&who, &token).await.map(drop), Err(Refusal::EnrolCollision));
    assert_eq!(scene.refused(0), [(who.id(), Refusal::EnrolCollision)]);
    let who = Newcomer::new();
    assert_eq!(scene.join(&who, &token).await.map(|j| j.node), Ok(who.id()));
}
