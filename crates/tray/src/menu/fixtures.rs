//! States that menus, icons and clicks are tested with.

use crate::*;

pub(crate) fn all() -> Vec<(&'static str, State)> {
    vec![
        ("starting", starting()),
        ("sharing-idle", idle()),
        ("following", follower()),
        ("busy", busy()),
        ("alone", alone()),
        ("paused-by-owner", paused_by_owner()),
        ("finishing", finishing()),
        ("off", off()),
        ("fleet-only", fleet_only()),
        ("in-a-meeting", in_a_meeting()),
        ("sharing-anyway", anyway()),
        ("no-inference-server", no_server()),
        ("problem", problem()),
        ("device-asks", asked()),
        ("not-running", not_running()),
        ("port-taken", port_taken()),
        ("stopping", stopping()),
    ]
}

fn state(herd: Herd) -> State {
    State { herd, preferences: Preferences { at_login: Some(true), ..Preferences::default() } }
}

fn running(change: impl FnOnce(&mut Running)) -> State {
    let mut running = Running {
        name: "mac-studio".to_owned(),
        share: Share { rules: Rules { meetings: Some(true) }, ..Share::default() },
        servers: vec!["Ollama".to_owned()],
        own_models: 4,
        fleet: Fleet { leads: true, leader: Some("mac-studio".to_owned()), machines: 3, here: Some(3), models: 11 },
        ..Running::default()
    };
    change(&mut running);
    state(Herd::Running(Box::new(running)))
}

pub(crate) fn starting() -> State {
    state(Herd::Starting)
}

pub(crate) fn idle() -> State {
    running(|_| {})
}

pub(crate) fn follower() -> State {
    running(|running| {
        running.fleet.leads = false;
        running.fleet.leader = Some("gaming-pc".to_owned());
        running.fleet.here = Some(2);
    })
}

pub(crate) fn busy() -> State {
    running(|running| (running.in_flight, running.queued) = (2, 3))
}

pub(crate) fn alone() -> State {
    running(|running| running.fleet = Fleet { leads: true, machines: 1, here: Some(1), models: 4, leader: None })
}

pub(crate) fn paused_by_owner() -> State {
    running(|running| {
        running.share.sharing = Sharing::Paused;
        running.share.why = Why::Owner;
        running.share.until = Some(Until { days: 0, hour: 14, minute: 30 });
    })
}

pub(crate) fn finishing() -> State {
    running(|running| {
        running.in_flight = 2;
        running.share.sharing = Sharing::Draining;
        running.share.why = Why::Owner;
    })
}

pub(crate) fn fleet_only() -> State {
    running(|running| {
        running.share.sharing = Sharing::Off;
        running.share.why = Why::FleetOnly;
    })
}

pub(crate) fn off() -> State {
    running(|running| {
        running.share.sharing = Sharing::Off;
        running.share.why = Why::SwitchedOff;
    })
}

pub(crate) fn in_a_meeting() -> State {
    running(|running| {
        running.in_flight = 1;
        running.share.sharing = Sharing::Paused;
        running.share.why = Why::Meeting;
        running.share.sentence = "The camera is in use.".to_owned();
    })
}

pub(crate) fn anyway() -> State {
    running(|running| {
        running.share.anyway = true;
        running.share.until = Some(Until { days: 0, hour: 15, minute: 5 });
    })
}

pub(crate) fn no_server() -> State {
    running(|running| (running.servers, running.own_models) = (Vec::new(), 0))
}

pub(crate) fn problem() -> State {
    running(|running| running.problem = Some("The identity of this machine cannot be read.".to_owned()))
}

pub(crate) fn asked() -> State {
    running(|running| running.asking = Some(Asking { id: "ab12".to_owned(), name: "bob-laptop".to_owned() }))
}

pub(crate) fn not_running() -> State {
    state(Herd::NotRunning { why: None })
}

pub(crate) fn port_taken() -> State {
    state(Herd::PortTaken { port: 11435, by: "an ollama-herd".to_owned() })
}

pub(crate) fn stopping() -> State {
    state(Herd::Stopping { in_flight: 2 })
}
