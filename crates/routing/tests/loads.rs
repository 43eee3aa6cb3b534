//! What holds of loads and evictions whatever the clients do: thousands of hours of a simulated Ollama.

#![allow(clippy::unwrap_used, reason = "an account that does not add up fails the test")]

mod fixture;
mod sim;

use std::time::Duration;

use proto::KeepAlive;
use sim::*;

const SEC: Duration = Duration::from_secs(1);

fn kind(dice: &mut Dice, models: u64, room: usize) -> Kind {
    let slowest = [200, 1000, 4000, 20_000][dice.below(4) as usize];
    Kind {
        room,
        slots: 1 + dice.below(4) as u32,
        tells: dice.below(2) == 0,
        loads: (0..models).map(|_| dice.ms(200, slowest)).collect(),
        fails: 0,
    }
}

fn request(dice: &mut Dice, models: u64, span: u64, longest: u64) -> Request {
    Request {
        at: dice.ms(0, span),
        model: dice.below(models) as usize,
        takes: dice.ms(20, longest),
        bytes: 100 + dice.below(2000),
        wanted: [None, None, Some(2048), Some(8192)][dice.below(4) as usize],
        keep_alive: [None, None, Some(KeepAlive::Forever), Some(KeepAlive::For(Duration::from_secs(600))), None]
            [dice.below(5) as usize],
        app: dice.below(3) as usize,
        patience: None,
    }
}

/// A day of random clients.
fn day(seed: u64, room: Option<usize>, others: bool, fails: bool) -> Sim {
    let mut dice = Dice::new(seed);
    let models = 1 + dice.below(5);
    let room = room.unwrap_or(1 + dice.below(3) as usize);
    let mut kind = kind(&mut dice, models, room);
    if fails {
        kind.fails = 2 + dice.below(4) as usize;
    }
    let mut sim = Sim::new(kind, seed);
    let span = [5_000, 60_000, 300_000][dice.below(3) as usize];
    let longest = [100, 1000, 8000][dice.below(3) as usize];
    for _ in 0..20 + dice.below(180) {
        let mut request = request(&mut dice, models, span, longest);
        if dice.below(10) == 0 {
            request.patience = Some(dice.ms(10, 5000));
        }
        sim.request(request);
    }
    if others {
        for _ in 0..dice.below(30) {
            let model = dice.below(models) as usize;
            let other = if dice.below(3) == 0 { Other::Unloads(model) } else { Other::Loads(model) };
            sim.other(dice.ms(0, span), other);
        }
    }
    sim.run_to_rest(Duration::from_secs(7200));
    sim
}

#[test]
fn everybody_is_answered_once_and_nobody_starves() {
    for seed in 0..250 {
        let sim = day(seed, None, false, false);
        assert!(sim.is_at_rest(), "{seed}: {}", sim.end_of_story());
        assert!(sim.refused.is_empty(), "{seed}: {:?}", sim.refused);
        let others = sim.kind.loads.len() as u32 - 1;
        let load = *sim.kind.loads.iter().max().unwrap();
        let turn = (load * 4).clamp(SEC * 10, SEC * 60);
        // Of each other model a turn, its last answers and its load; then the own load. An answer takes 8 s at most. A
        // load of unknown room waits for an answer to end, too, and a second to see who had to leave.
        let bound = (turn + SEC * 8 + load + SEC * 10) * others + load + SEC * 10;
        assert!(sim.longest_hunger <= bound, "{seed}: {:?} of {bound:?}", sim.longest_hunger);
        if sim.kind.tells {
            assert_eq!(sim.evicted, 0, "{seed}: the server never has to choose");
        }
    }
}

#[test]
fn other_programs_and_failing_loads_lose_nobody() {
    for seed in 0..250 {
        let sim = day(seed, None, true, seed % 2 == 0);
        assert!(sim.is_at_rest(), "{seed}: {}", sim.end_of_story());
    }
}

#[test]
fn a_server_with_room_for_all_never_unloads() {
    for seed in 0..120 {
        let sim = day(seed, Some(10), false, seed % 3 == 0);
        assert!(sim.is_at_rest(), "{seed}: {}", sim.end_of_story());
        assert!(sim.unloads.is_empty(), "{seed}: {:?}", sim.unloads);
    }
}

#[test]
fn equal_days_are_told_alike() {
    for seed in 0..40 {
        let told = [(), ()].map(|()| day(seed, None, seed % 2 == 0, seed % 3 == 0).story);
        assert_eq!(told[0], told[1], "{seed}");
    }
}

/// Two models that are always wanted, with room for one: they take turns, and loading costs a small part of the time.
#[test]
fn models_take_turns_and_do_not_oscillate() {
    for (load, least, most) in [(200, 200, 340), (1000, 50, 80), (5000, 16, 26), (20_000, 6, 10)] {
        let load = Duration::from_millis(load);
        let kind = Kind { room: 1, slots: 1, tells: true, loads: vec![load; 2], fails: 0 };
        let mut sim = Sim::new(kind, 1);
        for at in 0..2400 {
            for model in 0..2 {
                sim.request(Request {
                    at: Duration::from_millis(at * 250),
                    model,
                    takes: Duration::from_millis(200),
                    bytes: 100,
                    wanted: None,
                    keep_alive: Some(KeepAlive::For(Duration::from_secs(600))),
                    app: model,
                    patience: None,
                });
            }
        }
        sim.run(Duration::from_secs(600));
        assert!((least..most).contains(&sim.loads.len()), "{load:?}: {} loads", sim.loads.len());
    }
}

/// Two clients keep a model busy without a gap, the second one with `keep_alive`; a third wants another model, and there
/// is room for one. An Ollama alone lets it wait for ever.
#[test]
fn a_model_that_is_never_idle_starves_nobody() {
    for (keep_alive, tells) in
        [(None, true), (Some(KeepAlive::For(Duration::from_secs(600))), true), (Some(KeepAlive::Forever), false)]
    {
        let load = SEC;
        let kind = Kind { room: 1, slots: 1, tells, loads: vec![load; 2], fails: 0 };
        let mut sim = Sim::new(kind, 1);
        let request = |at: u64, model, keep_alive| Request {
            at: Duration::from_millis(at),
            model,
            takes: Duration::from_millis(90),
            bytes: 100,
            wanted: None,
            keep_alive,
            app: model,
            patience: None,
        };
        for at in 0..600 {
            sim.request(request(at * 100, 0, None));
            sim.request(request(at * 100 + 50, 0, keep_alive));
        }
        sim.request(request(30_000, 1, None));
        sim.run(SEC * 29);
        assert_eq!(sim.loads.len(), 1);
        sim.run(SEC * 60);
        let wanted = sim.loads.iter().position(|(_, name, _)| name == "m1").unwrap();
        let waited = sim.loads[wanted].0.since(fixture::secs(1030));
        assert!(waited <= SEC * 10, "{waited:?}");
        assert!(sim.loads.len() <= 3, "{:?}", sim.loads);
    }
}

#[test]
fn a_conversation_that_grows_makes_one_load_for_each_doubling() {
    let kind = Kind { room: 1, slots: 1, tells: true, loads: vec![SEC], fails: 0 };
    let mut sim = Sim::new(kind, 1);
    for turn in 0..60 {
        sim.request(Request {
            at: SEC * 20 * turn as u32,
            model: 0,
            takes: SEC,
            bytes: 300 * (turn + 1),
            // As Aider does: another context each time.
            wanted: Some(8192 + 100 * (turn + 1)),
            keep_alive: None,
            app: 0,
            patience: None,
        });
    }
    sim.run(SEC * 2000);
    assert_eq!(sim.loads.len(), 1, "what it named at first holds the rest: {:?}", sim.loads);
    for (turn, bytes) in [(1, 30_000), (2, 30_000), (3, 40_000), (4, 30_000), (5, 300)] {
        sim.request(Request {
            at: SEC * 20 * turn,
            model: 0,
            takes: SEC,
            bytes,
            wanted: None,
            keep_alive: None,
            app: 0,
            patience: None,
        });
    }
    sim.run(SEC * 2000);
    let contexts: Vec<_> = sim.loads.iter().map(|load| load.2.unwrap()).collect();
    assert_eq!(contexts, [8292, 16_384], "grows once");
    assert!(sim.unloads.is_empty());
    let grown = sim.verdicts.iter().filter(|verdict| verdict.1 == routing::Verdict::Grown).count();
    assert_eq!(grown, 1);
}
