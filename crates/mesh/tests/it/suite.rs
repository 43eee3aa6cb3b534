//! What holds for every way of carrying bytes.

use std::sync::Arc;

use crate::fleet::{Node, echo, get, post, real, secret};

async fn pair(mut one: Node, mut two: Node) -> (Node, Node) {
    one.allow(&[&two]);
    two.allow(&[&one]);
    one.dial(&two);
    assert_eq!(one.connected(two.key).await, two.address);
    assert_eq!(two.connected(one.key).await, one.address);
    (one, two)
}

#[tokio::test]
async fn messages_and_requests_go_both_ways() {
    for (first, second) in [(1, 2), (2, 1)] {
        let (mut one, mut two) =
            pair(real(first, secret(), Arc::new(echo)).await, real(second, secret(), Arc::new(echo)).await).await;
        one.transport.send(two.key, "to two".into()).unwrap();
        two.transport.send(one.key, "to one".into()).unwrap();
        assert_eq!(two.message().await, (one.key, "to two".into()));
        assert_eq!(one.message().await, (two.key, "to one".into()));
        let answer = one.ask(two.key, post("/path", "asked")).await.unwrap();
        assert_eq!(answer, format!("{} POST /path asked", one.key.short()));
        let answer = two.ask(one.key, get("/")).await.unwrap();
        assert_eq!(answer, format!("{} GET / ", two.key.short()));
        one.transport.stop().await;
        two.closed(one.key).await;
        assert_eq!(one.next().await, Some(mesh::Event::Closed { node: two.key }));
        assert_eq!(one.next().await, None);
    }
}
