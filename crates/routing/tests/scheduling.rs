//! The scheduler's rules, as tables: who may serve, who is chosen, who goes first.

#![allow(clippy::unwrap_used, reason = "an answer that is missing fails the test")]

mod fixture;
mod nodes;

use std::time::Duration;

use fixture::*;
use nodes::*;
use proto::{Api, Capability, ModelName};
use routing::scheduler::*;
use routing::{Ending, Refusal};

/// Two nodes with one slot each for `m`, in memory.
fn pair() -> Vec<NodeReport> {
    vec![node(1, vec![told("a", 1, &["m*"])]), node(2, vec![told("b", 1, &["m*"])])]
}

#[test]
fn a_slot_is_bound_when_it_frees() {
    let mut desk = Desk::new(pair());
    assert_eq!(desk.place(1, desk.ask(&["m"])), "1>1/a");
    assert_eq!(desk.place(1, desk.ask(&["m"])), "2>2/b");
    let third = desk.arrive(1, desk.ask(&["m"]));
    assert_eq!(desk.news(), ["waits"]);
    assert_eq!(desk.scheduler.waiting(), 1);
    desk.end(AskId { door: node_id(1), number: 2 }, answered(1000));
    let tickets = desk.tickets();
    assert_eq!((tickets[0].0, tickets[0].1.node), (third, node_id(2)));
    assert_eq!(tickets[0].1.candidates[0].node.as_deref(), Some("n2"));
    assert_eq!(tickets[0].1.candidates.len(), 2);
}

#[test]
fn what_others_placed_counts_and_what_it_placed_itself_counts_once() {
    let mut desk = Desk::new(pair());
    desk.work(1, vec![lane_work("a", "m", 1, &[(2, 1)])]);
    assert_eq!(desk.place(1, desk.ask(&["m"])), "1>2/b");
    desk.work(2, vec![lane_work("b", "m", 1, &[(1, 1)])]);
    assert_eq!(desk.place(1, desk.ask(&["m"])), "waits");
    desk.work(1, vec![]);
    assert_eq!(desk.news(), ["2>1/a"]);
    desk.end(AskId { door: node_id(1), number: 1 }, answered(100));
    assert_eq!(desk.place(1, desk.ask(&["m"])), "3>2/b", "what ended is gone, whatever the last report said");
}

#[test]
fn what_nodes_said_before_their_models_were_known_counts() {
    let mut desk = Desk::new(vec![]);
    desk.work(1, vec![lane_work("a", "m", 1, &[(9, 1)])]);
    desk.speeds(2, vec![speed("b", "m", 50_000)]);
    desk.nodes(pair());
    desk.speeds(1, vec![speed("a", "m", 1000)]);
    assert_eq!(desk.place(1, desk.ask(&["m"])), "waits", "for the fast one, which works for another");
    // It was away: what it said before is old.
    desk.nodes(pair().split_off(1));
    desk.pass(Duration::from_secs(1));
    desk.nodes(pair());
    assert_eq!(desk.news(), ["1>2/b"], "while it was away");
    assert_eq!(desk.place(1, desk.ask(&["m"])), "2>1/a");
}

#[test]
fn what_it_has_forgotten_still_runs() {
    let mut desk = Desk::new(pair());
    desk.arrive(2, desk.ask(&["m"]));
    desk.news();
    desk.handle(FleetInput::DoorGone(node_id(2)));
    desk.pass(Duration::from_secs(3));
    for (n, backend) in [(1, "a"), (2, "b")] {
        desk.work(n, vec![lane_work(backend, "m", 1, &[(1, 1)])]);
    }
    assert_eq!(desk.place(1, desk.ask(&["m"])), "waits");
    desk.work(2, vec![]);
    assert_eq!(desk.news(), ["2>2/b"]);
}

#[test]
fn hard_filters_keep_who_may_not() {
    type Change = fn(&mut Vec<NodeReport>);
    type Wish = fn(&mut FleetAsk);
    let nothing: Wish = |_| {};
    let cases: [(&str, Change, Wish, &str); 17] = [
        ("nobody has it", |_| {}, |ask| ask.models = vec![ModelName::new("x")], "1: no backend has model `x`"),
        ("away from the door", |nodes| nodes[1].shares = false, nothing, "1>1/a"),
        ("the door's own need not share", |nodes| nodes[0].shares = false, nothing, "1>1/a"),
        ("only", |_| {}, |ask| ask.only = Some(node_id(2)), "1>2/b"),
        ("zone node", |_| {}, |ask| ask.zone = Zone::Node, "1>1/a"),
        ("excluded node", |_| {}, |ask| ask.excluded = vec![(node_id(1), None)], "1>2/b"),
        ("excluded backend", |_| {}, |ask| ask.excluded = vec![(node_id(1), Some(id("a")))], "1>2/b"),
        (
            "all excluded",
            |_| {},
            |ask| ask.excluded = vec![(node_id(1), None), (node_id(2), Some(id("b")))],
            "1: all 2 backends that could serve were tried",
        ),
        ("another call", |nodes| no_chat(&mut nodes[0]), nothing, "1>2/b"),
        (
            "no call",
            |nodes| nodes.iter_mut().for_each(no_chat),
            nothing,
            "1: no backend with model `m` answers this call; it is on a on n1 (openai), b on n2 (openai)",
        ),
        ("sees", |nodes| can(&mut nodes[0], Capability::Completion), |ask| ask.images = 1, "1>2/b"),
        ("tools", |nodes| can(&mut nodes[0], Capability::Completion), |ask| ask.tools = true, "1>2/b"),
        (
            "nobody calls tools",
            |nodes| nodes.iter_mut().for_each(|node| can(node, Capability::Completion)),
            |ask| ask.tools = true,
            "1: no machine that has model `m` may serve this request: the model on n1 calls no tools, the model on n2 calls no tools",
        ),
        ("too large", |nodes| large(&mut nodes[0]), nothing, "1>2/b"),
        ("context", |nodes| trained(&mut nodes[0], 50), |ask| ask.cuts = false, "1>2/b"),
        (
            "no context",
            |nodes| nodes.iter_mut().for_each(|node| trained(node, 50)),
            |ask| ask.cuts = false,
            "1: the prompt needs a context of 384 tokens; the most that any backend offers for this model is 50",
        ),
        ("cut", |nodes| nodes.iter_mut().for_each(|node| trained(node, 50)), nothing, "1>1/a"),
    ];
    for (name, change, wish, expected) in cases {
        let mut nodes = pair();
        change(&mut nodes);
        let mut desk = Desk::new(nodes);
        let mut ask = desk.ask(&["m"]);
        wish(&mut ask);
        assert_eq!(desk.place(1, ask), expected, "{name}");
    }
}

fn change(node: &mut NodeReport, change: impl Fn(&mut proto::BackendState)) {
    for backend in &mut node.backends {
        let mut state = (**backend).clone();
        change(&mut state);
        *backend = state.into();
    }
}

fn no_chat(node: &mut NodeReport) {
    change(node, |state| state.serves = state.serves.without(Api::OllamaChat));
}

fn can(node: &mut NodeReport, capability: Capability) {
    change(node, |state| state.models[0].capabilities = vec![capability]);
}

fn large(node: &mut NodeReport) {
    node.memory = Some((1 << 30, 1 << 29));
    change(node, |state| {
        state.models[0].size = Some(2 << 30);
        state.models[0].loaded = None;
    });
}

fn trained(node: &mut NodeReport, context: u64) {
    change(node, |state| state.models[0].context_trained = Some(context));
}

#[test]
fn zones_hold_whatever_the_model() {
    let cloud = |n, backend| node(n, vec![told(backend, 9, &["m:cloud"])]);
    for (zone, door, expected) in [
        (Zone::Cloud, 2, "1>1/a"),
        (
            Zone::Fleet,
            2,
            "1: no machine that has model `m:cloud` may serve this request: n1 has it in the cloud, and the request may not go there",
        ),
        (
            Zone::Node,
            1,
            "1: no machine that has model `m:cloud` may serve this request: n1 has it in the cloud, and the request may not go there",
        ),
        (Zone::Node, 2, "1: no machine that has model `m:cloud` may serve this request: the request may not go to n1"),
    ] {
        let mut desk = Desk::new(vec![cloud(1, "a"), node(2, vec![])]);
        let ask = FleetAsk { zone, ..desk.ask(&["m:cloud"]) };
        assert_eq!(desk.place(door, ask), expected, "{zone:?} {door}");
    }
}

#[test]
fn who_is_away_is_waited_for_and_named() {
    let mut desk = Desk::new(vec![
        node(1, vec![]),
        node(2, vec![told("b", 1, &["m*"])]),
        NodeReport { shares: false, ..node(3, vec![told("c", 1, &["m*"])]) },
    ]);
    desk.nodes(vec![node(1, vec![]), NodeReport { shares: false, ..node(3, vec![told("c", 1, &["m*"])]) }]);
    assert_eq!(desk.place(1, desk.ask(&["m"])), "waits");
    desk.pass(Duration::from_secs(29));
    assert_eq!(desk.news(), ["waits"]);
    assert_eq!(desk.scheduler.views(desk.now).stranded[0].why, ["n3 takes no requests of others", "n2 is offline"]);
    desk.pass(Duration::from_secs(2));
    assert_eq!(
        desk.news(),
        ["1: no machine that has model `m` can take it: n3 takes no requests of others, n2 is offline"]
    );
    assert_eq!(desk.scheduler.poll_timeout(), None);
    desk.arrive(1, desk.ask(&["m"]));
    desk.pass(Duration::from_secs(9));
    desk.handle(FleetInput::Shares(node_id(3), true));
    assert_eq!(desk.news(), ["2>3/c"]);
}

#[test]
fn busy_nodes_are_waited_for_without_limit() {
    let mut desk = Desk::new(pair());
    let first = desk.arrive(1, desk.ask(&["m"]));
    desk.arrive(1, desk.ask(&["m"]));
    desk.news();
    let third = desk.arrive(1, desk.ask(&["m"]));
    desk.pass(Duration::from_secs(3600));
    assert_eq!(desk.news(), ["waits"]);
    desk.end(first, answered(3_600_000));
    assert_eq!(desk.tickets()[0].0, third);
}

#[test]
fn the_fastest_is_chosen_and_waited_for_if_that_is_sooner() {
    let fast_and_slow = || vec![node(1, vec![told("a", 1, &["m*"])]), node(2, vec![told("b", 1, &["m*"])])];
    for (name, slow_ms, expected) in [("a little slower", 1500, "2>2/b"), ("far slower", 30_000, "waits")] {
        let mut desk = Desk::new(fast_and_slow());
        desk.speeds(1, vec![speed("a", "m", 1000)]);
        desk.speeds(2, vec![speed("b", "m", slow_ms)]);
        assert_eq!(desk.place(1, desk.ask(&["m"])), "1>1/a", "{name}");
        assert_eq!(desk.place(1, desk.ask(&["m"])), expected, "{name}");
    }
    // Those who wait for the fast one make it worth going to the slow one in the end.
    let mut desk = Desk::new(fast_and_slow());
    desk.speeds(1, vec![speed("a", "m", 1000)]);
    desk.speeds(2, vec![speed("b", "m", 4500)]);
    let told: Vec<String> = (0..8).map(|_| desk.place(1, desk.ask(&["m"]))).collect();
    assert_eq!(told, ["1>1/a", "waits", "waits", "waits", "5>2/b", "waits", "waits", "waits"]);
}

#[test]
fn a_slow_node_is_used_when_many_wait_for_fast_ones() {
    let nodes = (1..4).map(|n| node(n, vec![told("a", 1, &["m*"])])).collect();
    let mut desk = Desk::new(nodes);
    for (n, ms) in [(1, 1000), (2, 1000), (3, 9000)] {
        desk.speeds(n, vec![speed("a", "m", ms)]);
    }
    let mut slow_at = None;
    for waiting in 0..40 {
        if desk.place(4, desk.ask(&["m"])).ends_with(">3/a") {
            slow_at = slow_at.or(Some(waiting));
        }
    }
    assert!(slow_at.is_some_and(|waiting| (12..24).contains(&waiting)), "{slow_at:?}");
}

#[test]
fn hot_before_cold_unless_the_wait_is_longer_than_the_load() {
    let mut desk = Desk::new(vec![node(1, vec![told("a", 1, &["m"])]), node(2, vec![told("b", 1, &["m*"])])]);
    desk.speeds(2, vec![speed("b", "m", 2000)]);
    assert_eq!(desk.place(1, desk.ask(&["m"])), "1>2/b");
    assert_eq!(desk.place(1, desk.ask(&["m"])), "waits", "the load takes longer");
    let told: Vec<String> = (0..9).map(|_| desk.place(1, desk.ask(&["m"]))).collect();
    assert!(told.iter().any(|told| told.ends_with(">1/a")), "{told:?}");
    assert_eq!(told.iter().filter(|told| *told != "waits").count(), 1, "while it loads it gets its slots, no more");
}

#[test]
fn two_loads_at_once_only_where_nobody_else_could() {
    let mut desk = Desk::new(vec![node(1, vec![told("a", 4, &["m", "n"])]), node(2, vec![told("b", 4, &["n"])])]);
    assert_eq!(desk.place(1, desk.ask(&["m"])), "1>1/a");
    assert_eq!(desk.place(1, desk.ask(&["n"])), "2>2/b");
    let mut desk = Desk::new(vec![node(1, vec![told("a", 4, &["m", "n"])])]);
    assert_eq!(desk.place(1, desk.ask(&["m"])), "1>1/a");
    assert_eq!(desk.place(1, desk.ask(&["n"])), "2>1/a");
}

#[test]
fn ties_rotate_and_the_less_loaded_goes_first() {
    let mut desk = Desk::new(vec![node(1, vec![told("a", 2, &["m*"])]), node(2, vec![told("b", 2, &["m*"])])]);
    let ask = |desk: &Desk| FleetAsk { rtt: Duration::ZERO, ..desk.ask(&["m"]) };
    let mut went = Vec::new();
    for _ in 0..6 {
        let id = desk.arrive(3, ask(&desk));
        went.push(desk.tickets()[0].1.node.as_bytes()[0]);
        desk.end(id, answered(500));
    }
    assert_eq!(went, [1, 2, 1, 2, 1, 2]);
}

#[test]
fn a_conversation_stays_where_it_was_read() {
    let mut desk = Desk::new(vec![node(1, vec![told("a", 2, &["m*"])]), node(2, vec![told("b", 2, &["m*"])])]);
    for (n, backend) in [(1, "a"), (2, "b")] {
        let known = LaneSpeed { prefill: Some(500.0), decode: Some(50.0), ..speed(backend, "m", 20_000) };
        desk.speeds(n, vec![known]);
    }
    let talk = |desk: &Desk, session| FleetAsk { session: Some(session), text_bytes: 8000, ..desk.ask(&["m"]) };
    let mut homes = Vec::new();
    for turn in 0..4 {
        for session in [1, 2, 3] {
            let id = desk.arrive(3, talk(&desk, session));
            homes.push((session, desk.tickets()[0].1.node));
            desk.end(id, answered(3000));
            let strayed = homes.iter().any(|(other, node)| *other == session && *node != homes[session as usize - 1].1);
            assert!(!strayed, "{turn}: {homes:?}");
        }
    }
    // Its place is taken: reading anew elsewhere is sooner than waiting.
    let busy: Vec<AskId> =
        (0..2).map(|_| desk.arrive(3, FleetAsk { only: Some(homes[0].1), ..desk.ask(&["m"]) })).collect();
    assert_eq!(desk.tickets().len(), busy.len());
    desk.arrive(3, talk(&desk, 1));
    assert_ne!(desk.tickets()[0].1.node, homes[0].1);
}

#[test]
fn interactive_before_batch_and_the_owner_first_on_his_machine() {
    let mut desk = Desk::new(vec![node(1, vec![told("a", 1, &["m*"])])]);
    let first = desk.arrive(2, desk.ask(&["m"]));
    let batch = desk.arrive(2, FleetAsk { priority: Priority::Batch, ..desk.ask(&["m"]) });
    let other = desk.arrive(2, desk.ask(&["m"]));
    let own = desk.arrive(1, desk.ask(&["m"]));
    let own_batch = desk.arrive(1, FleetAsk { priority: Priority::Batch, ..desk.ask(&["m"]) });
    desk.tickets();
    let mut order = Vec::new();
    let mut last = first;
    for _ in 0..4 {
        desk.end(last, answered(1000));
        last = desk.tickets()[0].0;
        order.push(last);
    }
    assert_eq!(order, [own, other, batch, own_batch]);
}

#[test]
fn nobody_starves_batch_and_strangers_included() {
    let mut desk = Desk::new(vec![node(1, vec![told("a", 1, &["m*"])])]);
    let mut last = desk.arrive(1, desk.ask(&["m"]));
    let batch = desk.arrive(2, FleetAsk { priority: Priority::Batch, ..desk.ask(&["m"]) });
    let stranger = desk.arrive(2, desk.ask(&["m"]));
    desk.tickets();
    let (mut batch_went, mut stranger_went) = (None, None);
    for second in 0..60 {
        desk.arrive(1, desk.ask(&["m"]));
        desk.arrive(1, desk.ask(&["m"]));
        desk.pass(Duration::from_secs(1));
        desk.end(last, answered(1000));
        last = desk.tickets()[0].0;
        if last == batch {
            batch_went = Some(second);
        }
        if last == stranger {
            stranger_went = Some(second);
        }
    }
    assert!(batch_went.is_some_and(|second| second < 40) && stranger_went.is_some_and(|second| second < 40));
}

#[test]
fn short_work_is_sent_ahead_of_its_slot() {
    for (service_ms, rtt_ms, credit) in [(8, 10, 3), (8, 1, 1), (199, 10, 1), (200, 10, 0), (1, 100, 8)] {
        let mut desk = Desk::new(vec![node(1, vec![told("a", 1, &["m*"])])]);
        desk.speeds(1, vec![speed("a", "m", service_ms)]);
        let rtt = Duration::from_millis(rtt_ms);
        desk.handle(FleetInput::Work(node_id(1), NodeWork { lanes: vec![], rtt }));
        // Trust first.
        for _ in 0..6 {
            let id = desk.arrive(2, FleetAsk { rtt, ..desk.ask(&["m"]) });
            desk.end(id, answered(service_ms));
        }
        desk.outputs();
        (0..20).for_each(|_| _ = desk.arrive(2, FleetAsk { rtt, ..desk.ask(&["m"]) }));
        let tickets = desk.tickets();
        assert_eq!(tickets.len(), 1 + credit, "{service_ms} {rtt_ms}");
        assert!(tickets.iter().all(|(_, ticket)| ticket.ahead as usize > credit));
    }
}

#[test]
fn without_a_leader_requests_are_sent_at_once() {
    let mut desk = Desk::new(pair());
    desk.scheduler.set_leading(false, desk.now);
    let mut went = [0, 0];
    for _ in 0..66 {
        desk.arrive(1, desk.ask(&["m"]));
        // Little by little: nobody was trusted with so many at once.
        desk.pass(Duration::from_secs(1));
    }
    for (_, ticket) in desk.tickets() {
        assert_eq!(ticket.ahead, 32);
        went[usize::from(ticket.node.as_bytes()[0]) - 1] += 1;
    }
    assert_eq!(went, [33, 33]);
    assert_eq!(desk.place(1, desk.ask(&["m"])), "waits");
}

#[test]
fn who_fails_rests_and_then_one_tries() {
    for ending in [
        FleetEnding::Backend(Ending::Failed),
        FleetEnding::Backend(Ending::Broke),
        FleetEnding::Backend(Ending::Busy503),
        FleetEnding::TooSlow,
    ] {
        let mut desk = Desk::new(vec![node(1, vec![told("a", 9, &["m*"])]), node(2, vec![told("b", 9, &["m*"])])]);
        let failed = desk.arrive(1, desk.ask(&["m"]));
        assert_eq!(desk.tickets()[0].1.node, node_id(1));
        desk.end(failed, ended(ending, 10));
        (0..8).for_each(|_| _ = desk.arrive(1, desk.ask(&["m"])));
        assert!(desk.tickets().iter().all(|(_, ticket)| ticket.node == node_id(2)), "{ending:?}");
        desk.pass(Duration::from_secs(3));
        let tries: Vec<AskId> = (0..8).map(|_| desk.arrive(1, desk.ask(&["m"]))).collect();
        let tried = desk.tickets().into_iter().filter(|(_, ticket)| ticket.node == node_id(1)).count();
        assert!(tried <= 1, "{ending:?} {tried} of {tries:?}");
    }
}

#[test]
fn a_bounce_is_no_fault() {
    let mut desk = Desk::new(vec![node(1, vec![told("a", 1, &["m*"])])]);
    let id = desk.arrive(2, desk.ask(&["m"]));
    desk.tickets();
    desk.end(id, ended(FleetEnding::Bounced, 1));
    let again = desk.arrive(2, FleetAsk { waited_since: desk.now, ..desk.ask(&["m"]) });
    assert_eq!(desk.news(), ["waits"], "its report comes first");
    desk.pass(Duration::from_millis(10));
    assert_eq!(desk.tickets()[0].0, again);
}

#[test]
fn a_second_try_goes_at_once_or_not_at_all() {
    let mut desk = Desk::new(pair());
    desk.arrive(1, desk.ask(&["m"]));
    desk.tickets();
    let beside = |desk: &Desk| FleetAsk { now_only: true, excluded: vec![(node_id(1), None)], ..desk.ask(&["m"]) };
    assert_eq!(desk.place(1, beside(&desk)), "2>2/b");
    desk.arrive(1, beside(&desk));
    assert!(matches!(desk.refusals()[0].1, Refusal::Occupied));
}

#[test]
fn patience_follows_what_was_seen() {
    let first = |ms| Some(Duration::from_millis(ms));
    type Row = (&'static str, &'static str, Option<Duration>, fn(&mut FleetAsk), Option<u64>);
    let table: [Row; 8] = [
        ("fast", "m*", first(20), |_| {}, Some(400)),
        ("usual", "m*", first(1000), |_| {}, Some(3000)),
        ("slow", "m*", first(60_000), |_| {}, Some(20_000)),
        ("never seen", "m*", None, |_| {}, Some(2025)),
        ("cold", "m", first(20), |_| {}, Some(42_000)),
        ("asked for by name", "m*", first(20), |ask| ask.only = Some(node_id(1)), None),
        ("bound to its machine", "m*", first(20), |ask| ask.zone = Zone::Node, None),
        ("in one piece", "m*", first(20), |ask| ask.streams = false, Some(1000)),
    ];
    for (name, model, first, wish, expected) in table {
        let mut desk = Desk::new(vec![node(1, vec![told("a", 4, &[model])])]);
        let rates =
            LaneSpeed { prefill: Some(4000.0), decode: Some(1000.0), service: None, first, ..speed("a", "m", 0) };
        desk.speeds(1, vec![rates]);
        let id = desk.arrive(1, desk.ask(&["m"]));
        desk.tickets();
        // So that the prompt is no longer than those that were seen.
        desk.end(id, Ended { first: None, ..answered(1) });
        let mut ask = desk.ask(&["m"]);
        wish(&mut ask);
        desk.arrive(1, ask);
        let patience = desk.tickets()[0].1.patience.map(|patience| patience.as_millis() as u64);
        assert_eq!(patience, expected, "{name}");
    }
}

#[test]
fn the_queue_is_bounded_and_says_when_to_come_back() {
    let mut desk = Desk::with(FleetSettings { queue_size: 3, ..settings() }, pair());
    (0..5).for_each(|_| _ = desk.arrive(1, desk.ask(&["m"])));
    desk.tickets();
    desk.arrive(1, desk.ask(&["m"]));
    let refusals = desk.refusals();
    let Refusal::QueueFull { waiting: 3, retry_after } = refusals[0].1 else { panic!("{refusals:?}") };
    assert!(retry_after >= Duration::from_secs(1));
    // One that was accepted before is not turned away.
    desk.arrive(1, FleetAsk { waited_since: secs(90), ..desk.ask(&["m"]) });
    assert_eq!(desk.news(), ["waits"]);
}

#[test]
fn positions_and_etas_are_told_in_order() {
    let mut desk = Desk::new(vec![node(1, vec![told("a", 2, &["m*"])])]);
    desk.speeds(1, vec![speed("a", "m", 4000)]);
    let batch = FleetAsk { priority: Priority::Batch, ..desk.ask(&["m"]) };
    (0..2).for_each(|_| _ = desk.arrive(2, desk.ask(&["m"])));
    desk.arrive(2, batch);
    for _ in 0..3 {
        desk.arrive(2, desk.ask(&["m"]));
        desk.arrive(3, desk.ask(&["m"]));
    }
    let told = |door, most| -> Vec<(u64, u32, u64)> {
        let all = desk.scheduler.waiting_of(node_id(door), desk.now, most);
        all.iter()
            .map(|standing| (standing.ask.number, standing.position, standing.eta.unwrap().as_millis() as u64))
            .collect()
    };
    assert_eq!(told(2, 9), [(4, 0, 1333), (6, 2, 5333), (8, 4, 9333), (3, 6, 13_333)]);
    assert_eq!(told(3, 2), [(5, 1, 3333), (7, 3, 7333)]);
    let views = desk.scheduler.views(desk.now);
    assert_eq!((views.lanes[0].in_flight, views.lanes[0].waiting, views.lanes[0].slots), (2, 7, 2));
}

#[test]
fn another_leader_takes_over_without_a_word() {
    let mut desk = Desk::new(pair());
    (0..9).for_each(|_| _ = desk.arrive(1, desk.ask(&["m"])));
    desk.tickets();
    desk.handle(FleetInput::Retire);
    assert_eq!((desk.scheduler.waiting(), desk.scheduler.poll_timeout()), (0, None));
    assert!(desk.outputs().is_empty());
}

#[test]
fn more_slots_are_found_by_trying() {
    let mut desk = Desk::new(vec![node(1, vec![ollama("a", &["m*"])])]);
    let id = desk.arrive(1, desk.ask(&["m"]));
    desk.end(id, answered(1000));
    (0..4).for_each(|_| _ = desk.arrive(1, desk.ask(&["m"])));
    assert_eq!(desk.tickets().len(), 3, "the first, and then one and one more");
    desk.pass(Duration::from_secs(5));
    desk.work(1, vec![lane_work("a", "m", 2, &[(1, 2)])]);
    assert!(desk.tickets().is_empty());
    desk.end(AskId { door: node_id(1), number: 2 }, answered(1000));
    assert_eq!(desk.tickets().len(), 1, "two at once");
}

#[test]
fn points_decide_where_the_owner_wants_that() {
    // A machine with little memory suits a small model better, though it is far slower.
    let small = NodeReport { memory: Some((16 << 30, 8 << 30)), ..node(2, vec![told("b", 2, &["m:1b*"])]) };
    let large = NodeReport { memory: Some((256 << 30, 8 << 30)), ..node(1, vec![told("a", 2, &["m:1b*"])]) };
    for (scoring, expected) in [(Scoring::Predicted, "1>1/a"), (Scoring::Points, "1>2/b")] {
        let mut desk = Desk::with(FleetSettings { scoring, ..settings() }, vec![large.clone(), small.clone()]);
        desk.speeds(1, vec![speed("a", "m:1b", 100)]);
        desk.speeds(2, vec![speed("b", "m:1b", 9000)]);
        assert_eq!(desk.place(3, desk.ask(&["m:1b"])), expected, "{scoring:?}");
    }
}
