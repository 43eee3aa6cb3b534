//! What holds for every way of carrying bytes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use mesh::{Answering, BoxError, Event, LONGEST_MESSAGE, NodeKey, RequestError, SendError};
use tokio::sync::mpsc;

use crate::fleet::{Net, PATIENCE, echo, get, post};

macro_rules! on_both {
    ($($name:ident)*) => {
        mod real {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::fleet::Net::Real).await;
            })*
        }
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::fleet::Net::memory()).await;
            })*
        }
    };
}

on_both! {
    messages_and_requests_go_both_ways
    messages_keep_their_order
    a_message_over_the_limit_is_refused
    only_connected_members_get_anything
    a_removed_member_is_cut_and_may_come_back
    a_slow_reader_fills_its_own_queue_only
    a_thousand_requests_at_once
    dropping_an_answer_reaches_the_other_node
    stalled_answers_stop_nobody
    long_bodies_arrive_whole
    who_hangs_up_dials_again
    who_is_started_again_is_noticed
    what_was_queued_is_sent_before_stopping
    five_nodes_find_each_other_through_one
    both_may_dial_at_once
    nobody_connects_to_itself
}

async fn messages_and_requests_go_both_ways(net: Net) {
    for (first, second) in [(1, 2), (2, 1)] {
        let (mut one, mut two) = net.pair(first, second).await;
        one.transport.send(two.key, "to two".into()).unwrap();
        two.transport.send(one.key, "to one".into()).unwrap();
        assert_eq!(two.message().await, (one.key, "to two".into()));
        assert_eq!(one.message().await, (two.key, "to one".into()));
        let answer = one.ask(two.key, post("/path", "asked")).await.unwrap();
        assert_eq!(answer, format!("{} POST /path asked", one.key.short()));
        let answer = two.ask(one.key, get("/")).await.unwrap();
        assert_eq!(answer, format!("{} GET / ", two.key.short()));
        let peer = one.peer(two.key);
        assert!(peer.connected && peer.data && peer.trouble.is_none() && peer.address == Some(two.address), "{peer:?}");
        assert!(peer.counts.bytes_received > 0 && peer.counts.received == 1, "{peer:?}");
        one.transport.stop().await;
        two.closed(one.key).await;
        one.closed(two.key).await;
        assert_eq!(one.next().await, None);
        two.transport.stop().await;
    }
}

async fn messages_keep_their_order(net: Net) {
    let (one, mut two) = net.pair(1, 2).await;
    for number in 0..1000_u32 {
        one.transport.send(two.key, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
    }
    for number in 0..1000_u32 {
        assert_eq!(two.message().await.1, number.to_be_bytes()[..]);
    }
}

async fn a_message_over_the_limit_is_refused(net: Net) {
    let (one, mut two) = net.pair(1, 2).await;
    let refused = one.transport.send(two.key, Bytes::from(vec![1; LONGEST_MESSAGE + 1]));
    assert_eq!(refused, Err(SendError::TooLong(LONGEST_MESSAGE + 1)));
    one.transport.send(two.key, Bytes::from(vec![1; LONGEST_MESSAGE])).unwrap();
    one.transport.send(two.key, Bytes::new()).unwrap();
    assert_eq!(two.message().await.1.len(), LONGEST_MESSAGE);
    assert_eq!(two.message().await.1.len(), 0);
}

async fn only_connected_members_get_anything(net: Net) {
    let one = net.node(1, echo).await;
    let two = net.node(2, echo).await;
    assert_eq!(one.transport.send(two.key, "x".into()), Err(SendError::NotAMember));
    assert!(matches!(one.ask(two.key, get("/")).await, Err(RequestError::NotAMember)));
    one.allow(&[&two]);
    assert_eq!(one.transport.send(two.key, "x".into()), Err(SendError::NotConnected));
    assert!(matches!(one.ask(two.key, get("/")).await, Err(RequestError::NotConnected)));
    assert!(!one.peer(two.key).connected);
}

async fn a_removed_member_is_cut_and_may_come_back(net: Net) {
    let (started, mut starts) = mpsc::unbounded_channel();
    let mut one = net.node(1, endless(started)).await;
    let mut two = net.node(2, echo).await;
    one.allow(&[&two]);
    two.allow(&[&one]);
    two.dial(&one);
    two.connected(one.key).await;
    one.connected(two.key).await;
    let answer = two.transport.request(one.key, get("/")).await.unwrap();
    let mut stream = answer.into_body();
    stream.frame().await.unwrap().unwrap();
    let alive = starts.recv().await.unwrap();

    one.allow(&[]);
    assert_eq!(one.transport.send(two.key, "x".into()), Err(SendError::NotAMember));
    one.closed(two.key).await;
    two.closed(one.key).await;
    // What was streaming ends as an error, not as a whole answer; and its maker is gone.
    let cut = async {
        loop {
            match stream.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return,
                None => panic!("the answer looks complete"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.unwrap();
    alive.closed().await;
    // It knocks in vain.
    while two.peer(one.key).trouble.is_none() {
        tokio::task::yield_now().await;
    }
    assert!(!two.peer(one.key).connected);
    assert!(one.transport.peers().is_empty());

    one.allow(&[&two]);
    one.connected(two.key).await;
    two.connected(one.key).await;
    two.transport.send(one.key, "back".into()).unwrap();
    assert_eq!(one.message().await, (two.key, "back".into()));
}

async fn a_slow_reader_fills_its_own_queue_only(net: Net) {
    let (mut one, mut two) = net.pair(1, 2).await;
    let mut three = net.node(3, echo).await;
    one.allow(&[&two, &three]);
    three.allow(&[&one]);
    one.dial(&three);
    one.connected(three.key).await;
    three.connected(one.key).await;

    // Nobody takes what comes to node two. What is under way is bounded, so at some point its queue is full and stays so.
    let message = Bytes::from(vec![7; 16 * 1024]);
    let (mut taken, mut quiet) = (0_u64, 0);
    while quiet < 50 {
        match one.transport.send(two.key, message.clone()) {
            Ok(()) => (taken, quiet) = (taken + 1, 0),
            Err(SendError::Full) => {
                quiet += 1;
                // Three is served meanwhile, which also lets the other tasks run.
                one.transport.send(three.key, "beside".into()).unwrap();
                assert_eq!(three.message().await.1, "beside");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(taken < 1000, "{taken} messages are more than the queues may hold");
    assert!(one.peer(two.key).counts.refused >= 50);
    // Requests go another way and are not held up.
    one.ask(two.key, get("/")).await.unwrap();
    // All that was taken arrives.
    for _ in 0..taken {
        assert_eq!(two.message().await.1.len(), message.len());
    }
    one.transport.send(two.key, "last".into()).unwrap();
    assert_eq!(two.message().await.1, "last");
}

async fn a_thousand_requests_at_once(net: Net) {
    let (one, two) = net.pair(1, 2).await;
    let mut asked = FuturesUnordered::new();
    for number in 0..1000 {
        let asking = one.ask(two.key, post("/", number.to_string()));
        asked.push(async move { (number, asking.await) });
    }
    let mut answers = 0;
    while let Some((number, answer)) = asked.next().await {
        assert_eq!(answer.unwrap(), format!("{} POST / {number}", one.key.short()));
        answers += 1;
    }
    assert_eq!(answers, 1000);
}

async fn dropping_an_answer_reaches_the_other_node(net: Net) {
    let (started, mut starts) = mpsc::unbounded_channel();
    let mut one = net.node(1, echo).await;
    let two = net.node(2, endless(started)).await;
    one.allow(&[&two]);
    two.allow(&[&one]);
    one.dial(&two);
    one.connected(two.key).await;
    let answer = one.transport.request(two.key, get("/")).await.unwrap();
    let alive = starts.recv().await.unwrap();
    assert!(!alive.is_closed());
    drop(answer);
    tokio::time::timeout(PATIENCE, alive.closed()).await.expect("the maker of the answer is dropped");
}

async fn stalled_answers_stop_nobody(net: Net) {
    let (started, mut starts) = mpsc::unbounded_channel();
    let endless = endless(started);
    let serve = move |from: NodeKey, request: Request<hyper::body::Incoming>| match request.uri().path() {
        "/endless" => endless(from, request),
        _ => echo(from, request),
    };
    let mut one = net.node(1, echo).await;
    let two = net.node(2, serve).await;
    one.allow(&[&two]);
    two.allow(&[&one]);
    one.dial(&two);
    one.connected(two.key).await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut answer = one.transport.request(two.key, get("/endless")).await.unwrap().into_body();
        answer.frame().await.unwrap().unwrap();
        stalled.push((answer, starts.recv().await.unwrap()));
        one.ask(two.key, get("/")).await.unwrap();
    }
    // And the other way round: bodies that nobody reads.
    one.ask(two.key, post("/", vec![7; 1 << 20])).await.unwrap();
}

async fn long_bodies_arrive_whole(net: Net) {
    let (one, two) = net.pair(1, 2).await;
    let long: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251).to_be_bytes()[3]).collect();
    let answer = one.ask(two.key, post("/", long.clone())).await.unwrap();
    assert!(answer.ends_with(&long));
}

async fn who_hangs_up_dials_again(net: Net) {
    for (first, second) in [(1, 2), (2, 1)] {
        let (mut one, mut two) = net.pair(first, second).await;
        one.transport.hang_up(two.key);
        one.closed(two.key).await;
        two.closed(one.key).await;
        one.connected(two.key).await;
        two.connected(one.key).await;
        two.ask(one.key, get("/")).await.unwrap();
        one.transport.stop().await;
        two.transport.stop().await;
    }
}

async fn who_is_started_again_is_noticed(net: Net) {
    let (one, mut two) = net.pair(1, 2).await;
    let key = one.key;
    one.transport.stop().await;
    two.closed(key).await;
    let mut again = net.node(1, echo).await;
    again.allow(&[&two]);
    again.dial(&two);
    again.connected(two.key).await;
    two.connected(key).await;
    again.ask(two.key, get("/")).await.unwrap();
}

async fn what_was_queued_is_sent_before_stopping(net: Net) {
    let (one, mut two) = net.pair(1, 2).await;
    for number in 0..100_u8 {
        one.transport.send(two.key, Bytes::copy_from_slice(&[number])).unwrap();
    }
    one.transport.stop().await;
    for number in 0..100_u8 {
        assert_eq!(two.message().await.1, [number][..]);
    }
    two.closed(one.key).await;
}

async fn five_nodes_find_each_other_through_one(net: Net) {
    let mut nodes = Vec::new();
    for number in 1..=5 {
        nodes.push(net.node(number, echo).await);
    }
    let all: Vec<_> = nodes.iter().collect();
    nodes.iter().for_each(|node| node.allow(&all));
    nodes[1..].iter().for_each(|node| node.dial(&nodes[0]));
    for _ in 1..5 {
        assert!(matches!(nodes[0].next().await, Some(Event::Connected { .. })));
    }
    // Node one knows where all are, and tells them.
    let hints: Vec<_> = nodes[0].transport.peers().iter().map(|peer| (peer.node, peer.addresses.clone())).collect();
    for node in &mut nodes[1..] {
        assert!(matches!(node.next().await, Some(Event::Connected { .. })));
        let others = hints.iter().filter(|(other, _)| *other != node.key);
        let hint = |(other, addresses): &(NodeKey, Vec<_>)| mesh::Hint {
            address: addresses[0],
            node: Some(*other),
            source: mesh::Source::Remembered,
        };
        node.transport.dial(others.map(hint).collect());
    }
    for node in &mut nodes[1..] {
        for _ in 1..4 {
            assert!(matches!(node.next().await, Some(Event::Connected { .. })));
        }
        assert!(node.transport.peers().iter().all(|peer| peer.connected));
    }
    nodes[3].ask(nodes[4].key, get("/")).await.unwrap();
}

async fn both_may_dial_at_once(net: Net) {
    for _ in 0..10 {
        let (mut one, mut two) = (net.node(1, echo).await, net.node(2, echo).await);
        one.allow(&[&two]);
        two.allow(&[&one]);
        one.dial(&two);
        two.dial(&one);
        one.connected(two.key).await;
        two.connected(one.key).await;
        one.ask(two.key, get("/")).await.unwrap();
        two.ask(one.key, get("/")).await.unwrap();
        one.transport.send(two.key, "still there".into()).unwrap();
        // Whatever was doubled is closed by now or later, and nobody notices.
        assert_eq!(two.message().await.1, "still there");
        one.transport.stop().await;
        two.closed(one.key).await;
        two.transport.stop().await;
    }
}

async fn nobody_connects_to_itself(net: Net) {
    let one = net.node(1, echo).await;
    one.allow(&[&one]);
    assert!(one.transport.peers().is_empty());
    one.dial(&one);
    let trouble = async {
        loop {
            if let [stray] = &one.transport.strays()[..]
                && let Some(trouble) = stray.trouble
            {
                return trouble;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, trouble).await.unwrap(), mesh::Trouble::Oneself);
}

/// Answers with a body that never ends, and hands out what tells when the answer is dropped.
fn endless(
    started: mpsc::UnboundedSender<mpsc::Sender<()>>,
) -> impl Fn(NodeKey, Request<hyper::body::Incoming>) -> Answering + Send + Sync + 'static {
    struct Endless(#[expect(dead_code, reason = "held until this is dropped")] mpsc::Receiver<()>);
    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; 1024])))))
        }
    }
    move |_, _| {
        let (alive, held) = mpsc::channel(1);
        let _ = started.send(alive);
        Box::pin(async move { Response::new(Endless(held).boxed_unsync()) })
    }
}
