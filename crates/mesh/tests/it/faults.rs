//! What the network in memory can do to its nodes, in time that is not real.

use std::time::Duration;

use mesh::Event;
use mesh::memory::Network;

use crate::fleet::{Net, get};

#[tokio::test(start_paused = true)]
async fn a_silent_split_is_noticed_by_nobody_until_somebody_hangs_up() {
    let network = Network::new(3);
    let (mut one, mut two) = Net::Memory(network.clone()).pair(1, 2).await;
    network.split(&[two.key]);
    one.transport.send(two.key, "into the void".into()).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(one.peer(two.key).connected && two.peer(one.key).connected);
    one.transport.hang_up(two.key);
    one.closed(two.key).await;
    two.closed(one.key).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!one.peer(two.key).connected);
    network.heal();
    one.connected(two.key).await;
    two.connected(one.key).await;
    one.ask(two.key, get("/")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_arrives_after_a_short_split() {
    let network = Network::new(3);
    let (one, mut two) = Net::Memory(network.clone()).pair(1, 2).await;
    network.split(&[one.key]);
    one.transport.send(two.key, "late".into()).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    network.heal();
    assert_eq!(two.message().await, (one.key, "late".into()));
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_seen_by_both_and_mended() {
    let network = Network::new(3);
    let (mut one, mut two) = Net::Memory(network.clone()).pair(1, 2).await;
    network.cut(one.key, two.key);
    one.closed(two.key).await;
    two.closed(one.key).await;
    one.connected(two.key).await;
    two.connected(one.key).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_says_nothing_and_is_missed() {
    let network = Network::new(3);
    let (mut one, mut two) = Net::Memory(network.clone()).pair(1, 2).await;
    network.kill(two.key);
    one.closed(two.key).await;
    while two.next().await.is_some() {}
    assert!(one.ask(two.key, get("/")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn delays_and_losses_are_as_asked_for() {
    let network = Network::new(3);
    let (one, mut two) = Net::Memory(network.clone()).pair(1, 2).await;
    network.set_loss(0.5);
    for _ in 0..1000 {
        one.transport.send(two.key, "m".into()).unwrap();
    }
    network.set_loss(0.0);
    one.transport.send(two.key, "last".into()).unwrap();
    let mut arrived = 0;
    while two.message().await.1 != "last" {
        arrived += 1;
    }
    assert!((400..600).contains(&arrived), "{arrived}");

    network.set_delay(Duration::from_millis(300)..Duration::from_millis(400));
    let before = crate::fleet::clock().now();
    one.transport.send(two.key, "slow".into()).unwrap();
    assert_eq!(two.message().await.1, "slow");
    let took = crate::fleet::clock().now().since(before);
    assert!((300..=410).contains(&took.as_millis()), "{took:?}");
    assert!(!matches!(two.events.next().await, Some(Event::Closed { .. })));
}
