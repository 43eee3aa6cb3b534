//! What comes out of an inbox, and when.

use super::*;

fn setup() -> (Arc<Inbox>, Events) {
    fn now() -> Moment {
        static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
        #[allow(clippy::disallowed_methods, reason = "the clock of a test")]
        let (start, now) = (*START.get_or_init(tokio::time::Instant::now), tokio::time::Instant::now());
        Moment::at(now.saturating_duration_since(start))
    }
    let inbox = Arc::new(Inbox::new());
    (inbox.clone(), Events::new(inbox, Clock::new(now, || 0)))
}

fn node(byte: u8) -> NodeKey {
    [byte; 32].into()
}

fn connected(byte: u8) -> Event {
    Event::Connected { node: node(byte), address: ([127, 0, 0, 1], 1).into() }
}

fn closed(byte: u8) -> Event {
    Event::Closed { node: node(byte) }
}

fn said(byte: u8, text: &'static str) -> Event {
    Event::Message { from: node(byte), message: Bytes::from_static(text.as_bytes()) }
}

async fn all(events: &mut Events) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event);
    }
    all
}

#[tokio::test]
async fn nodes_take_turns_and_each_keeps_its_order() {
    let (inbox, mut events) = setup();
    inbox.turn(node(1), connected(1));
    for text in ["a", "b", "c"] {
        inbox.message(node(1), Bytes::from_static(text.as_bytes())).await;
    }
    inbox.message(node(2), Bytes::from_static(b"x")).await;
    inbox.turn(node(1), closed(1));
    inbox.end();
    let expected = [connected(1), said(2, "x"), said(1, "a"), said(1, "b"), said(1, "c"), closed(1)];
    assert_eq!(all(&mut events).await, expected);
}

#[tokio::test]
async fn who_fills_its_queue_waits_and_others_do_not() {
    let (inbox, mut events) = setup();
    for _ in 0..MOST_MESSAGES {
        inbox.message(node(1), Bytes::from_static(b"m")).await;
    }
    let mut one_more = Box::pin(inbox.message(node(1), Bytes::from_static(b"late")));
    assert!(futures_util::poll!(&mut one_more).is_pending());
    inbox.message(node(2), Bytes::from_static(b"x")).await;
    assert_eq!(events.next().await, Some(said(1, "m")));
    one_more.await;
    let huge = Bytes::from(vec![0; MOST_BYTES + 1]);
    inbox.message(node(3), huge.clone()).await;
    assert!(futures_util::poll!(Box::pin(inbox.message(node(3), huge))).is_pending());
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_are_passed_on_once_in_a_while() {
    let (inbox, mut events) = setup();
    let flag = Arc::new(AtomicBool::new(true));
    inbox.heard(node(1), &flag);
    assert_eq!(events.next().await, Some(Event::Heard { from: node(1) }));
    assert!(!flag.load(Ordering::Relaxed));
    // A message is a sign of life itself.
    flag.store(true, Ordering::Relaxed);
    inbox.heard(node(1), &flag);
    inbox.message(node(1), Bytes::from_static(b"m")).await;
    assert_eq!(events.next().await, Some(said(1, "m")));
    inbox.end();
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn many_messages_do_not_drown_the_signs_of_life_of_others() {
    let (inbox, mut events) = setup();
    inbox.heard(node(2), &Arc::default());
    for _ in 0..3 {
        inbox.message(node(1), Bytes::from_static(b"m")).await;
    }
    assert_eq!(events.next().await, Some(said(1, "m")));
    tokio::time::advance(HEARD_EVERY).await;
    assert_eq!(events.next().await, Some(Event::Heard { from: node(2) }));
}

#[tokio::test]
async fn what_a_removed_node_said_is_forgotten() {
    for (before, gone, expected) in [
        // Nothing was taken of it: it was never there.
        (vec![connected(1)], true, vec![]),
        (vec![connected(1), closed(1)], false, vec![]),
        // It was seen, and is gone.
        (vec![], true, vec![closed(1)]),
        (vec![closed(1), connected(1)], true, vec![closed(1)]),
        // It was seen to go already.
        (vec![], false, vec![]),
    ] {
        let (inbox, mut events) = setup();
        for event in &before {
            inbox.turn(node(1), event.clone());
        }
        inbox.message(node(1), Bytes::from_static(b"m")).await;
        inbox.forget(node(1), gone);
        inbox.end();
        assert_eq!(all(&mut events).await, expected, "{before:?} {gone}");
    }
}

#[tokio::test]
async fn a_long_story_is_shortened_in_the_middle() {
    let (inbox, mut events) = setup();
    for _ in 0..100 {
        inbox.turn(node(1), connected(1));
        inbox.message(node(1), Bytes::from_static(b"m")).await;
        inbox.turn(node(1), closed(1));
    }
    inbox.turn(node(1), connected(1));
    inbox.end();
    let all = all(&mut events).await;
    assert!(all.len() <= 2 * MOST_TURNS, "{}", all.len());
    let turns: Vec<_> = all.iter().filter(|event| !matches!(event, Event::Message { .. })).collect();
    assert!(turns.chunks(2).all(|pair| *pair[0] == connected(1) && pair.get(1).is_none_or(|end| **end == closed(1))));
    assert_eq!(all.last(), Some(&connected(1)));
}
