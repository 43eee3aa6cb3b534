//! Reads the answers of the local API. What is missing or of an unknown shape counts as not known, so that a Herd of another
//! version still has a menu.

use serde_json::Value;

use crate::{Asking, Fleet, Rules, Running, Share, Sharing, Until, Why};

/// Answers of the local API, as they came; `Null` where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// `GET /fleet/self`: the only one that must be there.
    pub status: &'a Value,
    /// `GET /fleet/share`.
    pub share: &'a Value,
    /// `GET /fleet/nodes`.
    pub nodes: &'a Value,
    /// `GET /fleet/doctor`.
    pub doctor: &'a Value,
    /// What waits to be let in: `{"id", "name"}`.
    pub asking: &'a Value,
}

/// What of a moment is the owner's own: turns RFC 3339 text into the owner's time zone.
pub type Local<'a> = &'a dyn Fn(&str) -> Option<Until>;

impl Running {
    /// What `answers` say; `None` if that is no Herd's.
    pub fn read(answers: Answers<'_>, local: Local<'_>) -> Option<Running> {
        let status = answers.status;
        let name = status["name"].as_str()?.to_owned();
        status["version"].as_str()?;
        let here = |backend: &&Value| backend["health"] == "up" || backend["state"] == "up";
        let backends: Vec<&Value> = list(&status["backends"]).filter(here).collect();
        let mut servers: Vec<String> = backends.iter().map(|backend| server_name(backend)).collect();
        servers.dedup();
        let problem = problem(answers.doctor, servers.is_empty());
        Some(Running {
            name,
            share: share(&status["share"], answers.share, local),
            in_flight: number(&status["in_flight"]),
            queued: number(&status["queued"]),
            own_models: backends.iter().map(|backend| number(&backend["models"])).fold(0, u32::saturating_add),
            servers,
            fleet: fleet(status, answers.nodes),
            asking: asking(answers.asking),
            problem,
        })
    }
}

fn share(short: &Value, full: &Value, local: Local<'_>) -> Share {
    let said = if full.is_object() { full } else { short };
    let sharing = match said["state"].as_str() {
        Some("paused") => Sharing::Paused,
        Some("draining") => Sharing::Draining,
        Some("off") => Sharing::Off,
        _ => Sharing::On,
    };
    let code = said["code"].as_str();
    Share {
        sharing,
        why: why(code, sharing),
        sentence: said["reason"].as_str().unwrap_or_default().to_owned(),
        until: said["until"].as_str().and_then(local),
        anyway: code == Some("overridden"),
        rules: Rules { meetings: rule(&said["rules"], "meetings") },
    }
}

fn why(code: Option<&str>, sharing: Sharing) -> Why {
    match code {
        Some("paused" | "paused_until" | "finishing" | "finished") => Why::Owner,
        Some("off") => Why::SwitchedOff,
        Some("fleet_only") => Why::FleetOnly,
        Some("meeting") => Why::Meeting,
        Some("game") => Why::FullScreen,
        Some("lid") => Why::Lid,
        Some("display") => Why::Display,
        Some("battery") => Why::Battery,
        Some("heat") => Why::Heat,
        Some("metered") => Why::Metered,
        Some("busy") => Why::Busy,
        Some("stopping") => Why::Stopping,
        _ => match sharing {
            Sharing::On => Why::Nothing,
            Sharing::Paused if code.is_some() => Why::Other,
            Sharing::Paused => Why::Owner,
            Sharing::Draining => Why::Stopping,
            Sharing::Off => Why::SwitchedOff,
        },
    }
}

/// Whether the rule of that name is on, where Herd lists it.
fn rule(rules: &Value, name: &str) -> Option<bool> {
    let rule = list(rules).find(|rule| rule["rule"] == name || rule["id"] == name || rule["name"] == name)?;
    rule["enabled"].as_bool().or_else(|| rule["on"].as_bool())
}

fn fleet(status: &Value, nodes: &Value) -> Fleet {
    let leader = &status["leader"];
    let here = list(nodes).filter(|node| node["presence"] == "here" || node["self"] == true).count();
    Fleet {
        leads: leader["self"] == true,
        leader: leader["name"].as_str().map(str::to_owned),
        machines: number(&status["nodes"]).max(1),
        here: (here > 0).then(|| u32::try_from(here).unwrap_or(u32::MAX)),
        models: number(&status["models"]),
    }
}

/// What people call the server: its kind, in its makers' own letters.
fn server_name(backend: &Value) -> String {
    match backend["kind"].as_str().unwrap_or_default() {
        "ollama" => "Ollama".to_owned(),
        "lmstudio" | "lm-studio" => "LM Studio".to_owned(),
        "vllm" => "vLLM".to_owned(),
        "" | "openai" | "other" => backend["id"].as_str().unwrap_or("server").to_owned(),
        kind => kind.to_owned(),
    }
}

fn asking(who: &Value) -> Option<Asking> {
    let text = |key: &str| Some(who[key].as_str()?.to_owned());
    Some(Asking { id: text("id")?, name: text("name")? })
}

/// The first thing that is broken, in the doctor's words. That there is no inference server has a row of its own, and is no
/// fault of a machine that only uses the fleet.
fn problem(doctor: &Value, has_no_server: bool) -> Option<String> {
    let counts = |check: &&Value| check["state"] == "problem" && !(has_no_server && check["check"] == "backends");
    list(doctor).find(counts)?["found"].as_str().map(str::to_owned)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A count; what is too large for one is the largest.
fn number(value: &Value) -> u32 {
    value.as_u64().map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(status: Value, share: Value) -> Option<Running> {
        let nothing = Value::Null;
        let answers = Answers { status: &status, share: &share, nodes: &nothing, doctor: &nothing, asking: &nothing };
        Running::read(answers, &|_| Some(Until { days: 0, hour: 9, minute: 30 }))
    }

    fn status() -> Value {
        json!({
            "name": "mac-studio", "version": "0.1.0",
            "share": { "state": "on", "reason": "Serving 4 models (ollama).", "until": null },
            "leader": { "name": "mac-studio", "self": true }, "nodes": 3, "models": 11,
            "backends": [
                { "id": "ollama", "kind": "ollama", "health": "up", "models": 4 },
                { "id": "gone", "kind": "ollama", "health": "down", "models": 7 },
            ],
            "in_flight": 2, "queued": 1,
        })
    }

    #[test]
    fn an_answer_is_read() {
        let running = read(status(), Value::Null).unwrap();
        assert_eq!((running.in_flight, running.queued, running.own_models), (2, 1, 4));
        assert_eq!(running.servers, ["Ollama"]);
        assert_eq!((running.fleet.leads, running.fleet.machines, running.fleet.models), (true, 3, 11));
        assert_eq!(running.share.rules.meetings, None);
    }

    #[test]
    fn a_machine_without_a_server_has_no_problem() {
        let backends = json!({ "check": "backends", "state": "problem", "found": "none" });
        let identity = json!({ "check": "identity", "state": "problem", "found": "it is lost" });
        for (doctor, has_server, expected) in [
            (json!([]), true, None),
            (json!([backends]), false, None),
            (json!([backends, identity]), false, Some("it is lost")),
            (json!([backends]), true, Some("none")),
        ] {
            assert_eq!(problem(&doctor, !has_server).as_deref(), expected, "{doctor}");
        }
    }

    #[test]
    fn codes_become_reasons() {
        for (state, code, sharing, why) in [
            ("on", "sharing", Sharing::On, Why::Nothing),
            ("on", "overridden", Sharing::On, Why::Nothing),
            ("paused", "meeting", Sharing::Paused, Why::Meeting),
            ("paused", "paused_until", Sharing::Paused, Why::Owner),
            ("paused", "something new", Sharing::Paused, Why::Other),
            ("draining", "finishing", Sharing::Draining, Why::Owner),
            ("off", "fleet_only", Sharing::Off, Why::FleetOnly),
            ("off", "off", Sharing::Off, Why::SwitchedOff),
            ("no such state", "sharing", Sharing::On, Why::Nothing),
        ] {
            let rules = json!([{ "rule": "battery", "enabled": false }, { "rule": "meetings", "enabled": true }]);
            let share = json!({ "state": state, "code": code, "reason": "So.", "until": "x", "rules": rules });
            let share = read(status(), share).unwrap().share;
            assert_eq!((share.sharing, share.why), (sharing, why), "{code}");
            assert_eq!(share.rules.meetings, Some(true));
            assert_eq!(share.anyway, code == "overridden");
            assert!(share.until.is_some());
        }
    }

    #[test]
    fn whatever_comes_is_no_panic() {
        for odd in [json!(null), json!([]), json!(7), json!({ "name": 1 }), json!({ "name": "a" })] {
            assert_eq!(read(odd, json!([1])), None);
        }
        let odd =
            json!({ "name": "a", "version": "1", "backends": [1, {}], "nodes": -1, "models": 1e30, "leader": [] });
        let running = read(odd, json!({ "rules": { "meetings": 1 }, "state": {} })).unwrap();
        assert_eq!(running.fleet.machines, 1);
    }
}
