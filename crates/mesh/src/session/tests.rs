//! Sessions with peers that are members and do not behave.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use proto::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::links::Role;
use crate::{Answering, Event, Events, LONGEST_MESSAGE, NodeKey, SendError};

const ID: fn(usize) -> ConnectionId = ConnectionId::new_unchecked;

fn key(number: u8) -> NodeKey {
    [number; 32].into()
}

fn hello(session: u64) -> Hello {
    Hello { min: 1, max: 1, features: 0, session, port: 11441 }
}

/// The node under test, and a peer of it whose streams are in the hands of the test.
struct Bench {
    shared: Arc<Shared>,
    events: Events,
}

struct Evil {
    to: DuplexStream,
    from: DuplexStream,
}

impl Bench {
    fn new() -> Bench {
        let clock = Clock::new(Moment::default, || 0);
        let nobody =
            |_: NodeKey, _: http::Request<hyper::body::Incoming>| -> Answering { unreachable!("nothing is asked") };
        let shared = Arc::new(Shared::new(key(1), clock, hello(1), Arc::new(nobody)));
        shared.allow([key(2)].into());
        let events = Events::new(shared.inbox.clone(), clock);
        Bench { shared, events }
    }

    fn open(&self, number: usize) -> Evil {
        let (to, inbound) = tokio::io::duplex(1 << 20);
        let (from, outbound) = tokio::io::duplex(1 << 20);
        let address = SocketAddr::from(([192, 0, 2, 2], 50_000));
        self.shared.links(|links, now| links.accepted(ID(number), key(2), now)).unwrap();
        self.shared.links(|links, _| links.told_role(ID(number), Role::Control));
        let (node, role, connection) = (key(2), Role::Control, ID(number));
        self.shared.opened(Opened { node, role, connection, address, dialled: false, inbound, outbound });
        Evil { to, from }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            match self.events.next().await {
                Some(Event::Heard { .. }) => {}
                event => return event,
            }
        }
    }
}

impl Evil {
    async fn say(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        frame.put(&mut bytes);
        self.to.write_all(&bytes).await.unwrap();
    }

    async fn greet(&mut self, session: u64) {
        self.say(Frame::Hello(hello(session).encode().into())).await;
    }

    /// Waits until the node has hung up.
    async fn ends(mut self) {
        let mut rest = Vec::new();
        self.from.read_to_end(&mut rest).await.unwrap();
    }
}

fn connected() -> Option<Event> {
    Some(Event::Connected { node: key(2), address: SocketAddr::from(([192, 0, 2, 2], 11441)) })
}

fn said(text: &'static str) -> Option<Event> {
    Some(Event::Message { from: key(2), message: Bytes::from_static(text.as_bytes()) })
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection() {
    let mut bench = Bench::new();
    let mut evil = bench.open(1);
    evil.greet(2).await;
    evil.say(Frame::Message("before".into())).await;
    let [_, high, middle, low] = (LONGEST_MESSAGE as u32 + 1).to_be_bytes();
    evil.to.write_all(&[2, high, middle, low]).await.unwrap();
    evil.to.write_all(&[7; 1000]).await.unwrap();
    evil.ends().await;
    assert_eq!(bench.next().await, connected());
    assert_eq!(bench.next().await, said("before"));
    assert_eq!(bench.next().await, Some(Event::Closed { node: key(2) }));
    assert_eq!(bench.shared.send(key(2), "x".into()), Err(SendError::NotConnected));
}

#[tokio::test]
async fn who_does_not_greet_is_not_talked_to() {
    for first in [
        Frame::Message("no hello".into()),
        Frame::Ping(1),
        Frame::Hello(Bytes::from_static(b"no hello either")),
        Frame::Hello(vec![0; 5000].into()),
        // Of a version far from ours.
        Frame::Hello(Hello { min: 7, max: 9, ..Hello::default() }.encode().into()),
    ] {
        let bench = Bench::new();
        let mut evil = bench.open(1);
        evil.say(first.clone()).await;
        evil.ends().await;
        assert!(!bench.shared.peers()[0].connected, "{first:?}");
        let is_version = bench.shared.peers()[0].trouble == Some(Trouble::Version);
        assert_eq!(is_version, matches!(&first, Frame::Hello(bytes) if Hello::decode(bytes).is_some()));
    }
}

#[tokio::test]
async fn what_is_unknown_is_skipped_and_pings_are_answered() {
    let mut bench = Bench::new();
    let mut evil = bench.open(1);
    evil.greet(2).await;
    evil.to.write_all(&[99, 0, 0, 3, 1, 2, 3]).await.unwrap();
    evil.say(Frame::Pong(77)).await;
    evil.greet(5).await;
    evil.say(Frame::Ping(41)).await;
    evil.say(Frame::Message("after".into())).await;
    assert_eq!(bench.next().await, connected());
    assert_eq!(bench.next().await, said("after"));
    let answered = async { while Frame::read(&mut evil.from).await.unwrap() != Some(Frame::Pong(41)) {} };
    answered.await;
}

#[tokio::test]
async fn a_second_connection_of_the_same_start_is_not_told_and_of_another_is() {
    let mut bench = Bench::new();
    let mut first = bench.open(1);
    first.greet(2).await;
    assert_eq!(bench.next().await, connected());
    let mut second = bench.open(2);
    second.greet(2).await;
    second.say(Frame::Message("on the second".into())).await;
    assert_eq!(bench.next().await, said("on the second"));
    // The node's own key is smaller: it closes the older of the two.
    assert!(bench.shared.links(|links, _| links.poll_output()).is_some());
    bench.shared.closed(ID(1));
    first.ends().await;
    // What is sent goes the way that is left.
    bench.shared.send(key(2), "back".into()).unwrap();
    while Frame::read(&mut second.from).await.unwrap() != Some(Frame::Message("back".into())) {}

    let mut restarted = bench.open(3);
    restarted.greet(9).await;
    assert_eq!(bench.next().await, Some(Event::Closed { node: key(2) }));
    assert_eq!(bench.next().await, connected());
}

#[tokio::test]
async fn a_removed_peer_says_nothing_more() {
    let mut bench = Bench::new();
    let mut evil = bench.open(1);
    evil.greet(2).await;
    assert_eq!(bench.next().await, connected());
    evil.say(Frame::Message("not taken in time".into())).await;
    // Let it arrive: it waits in the inbox.
    while bench.shared.peers()[0].counts.received == 0 {
        tokio::task::yield_now().await;
    }
    bench.shared.allow(std::collections::BTreeSet::new());
    assert_eq!(bench.next().await, Some(Event::Closed { node: key(2) }));
    evil.ends().await;
    bench.shared.inbox.end();
    assert_eq!(bench.next().await, None);
}

#[tokio::test]
async fn who_does_not_read_does_not_fill_the_memory() {
    let bench = Bench::new();
    let mut evil = bench.open(1);
    evil.greet(2).await;
    let mut taken = 0_usize;
    let message = Bytes::from(vec![7; 32 * 1024]);
    loop {
        match bench.shared.send(key(2), message.clone()) {
            Ok(()) => taken += message.len(),
            Err(SendError::NotConnected) => {}
            // Full now, and full after everybody else had a turn.
            Err(SendError::Full) if bench.shared.peers()[0].counts.refused > 100 => break,
            Err(error) => assert_eq!(error, SendError::Full),
        }
        tokio::task::yield_now().await;
    }
    // The queue, and what is in the pipe.
    assert!(taken < 3 << 20, "{taken}");
}
