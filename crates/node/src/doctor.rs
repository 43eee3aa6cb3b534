//! What may be wrong on this machine, and what to do about it.

use std::net::SocketAddr;

use backend::Note;
use proto::view::CheckView;
use proto::{BackendKind, BackendState, Health, Link};

use crate::node::Node;

/// What the checks look at.
pub(crate) struct Facts<'a> {
    pub(crate) backends: &'a [std::sync::Arc<BackendState>],
    pub(crate) notes: Vec<Note>,
    pub(crate) listening: &'a [String],
    pub(crate) traces_dropped: u64,
    pub(crate) warnings: &'a [String],
    pub(crate) open_files: Option<u64>,
}

/// Files that a thousand streams need: two sockets each, and some.
const FILES_ENOUGH: u64 = 2500;

pub(crate) fn checks(facts: &Facts<'_>) -> Vec<CheckView> {
    let mut checks = vec![check("door", "ok", format!("listens at {}", facts.listening.join(", ")), None)];
    if facts.backends.is_empty() {
        checks.push(check(
            "backends",
            "problem",
            "no inference server was found on this machine".to_owned(),
            Some("start Ollama (`ollama serve`) or llama-server, or name one: `herd serve --backend URL`"),
        ));
    }
    for backend in facts.backends {
        let name = format!("backend {}", backend.id);
        let at = &backend.address;
        checks.push(match &backend.health {
            Health::Up if backend.models.is_empty() => check(
                &name,
                "warning",
                format!("{at} answers, but has no models"),
                Some("pull one, for instance `ollama pull llama3.2`"),
            ),
            Health::Up => check(&name, "ok", format!("{at} answers; models: {}", backend.models.len()), None),
            Health::Loading => check(&name, "warning", format!("{at} is still loading"), None),
            Health::Hung => check(
                &name,
                "problem",
                format!("{at} takes connections but does not answer"),
                Some("restart that server"),
            ),
            Health::Down { reason } => {
                check(&name, "problem", format!("{at} is down: {reason}"), Some("start that server"))
            }
        });
        if let Some(version) = backend.version.as_deref().filter(|_| backend.kind == BackendKind::Ollama)
            && is_unsafe(version)
        {
            checks.push(check(
                &name,
                "warning",
                format!(
                    "Ollama {version} has known security holes (CVE-2026-7482 below 0.17.1, CVE-2026-7020 up to 0.20.2)"
                ),
                Some("bring it up to date; until then, let nobody else reach it"),
            ));
        }
        if backend.link == Link::Unencrypted {
            checks.push(check(
                &name,
                "warning",
                format!("{at} is on another machine, and prompts go there unencrypted"),
                Some("run Herd there as well instead, and pair it: `herd pair` here, `herd join CODE` there"),
            ));
        }
    }
    for Note { place, found } in &facts.notes {
        checks.push(check(place, "warning", found.clone(), None));
    }
    for warning in facts.warnings {
        checks.push(check("settings", "warning", warning.clone(), None));
    }
    if facts.traces_dropped > 0 {
        let found = format!("{} trace rows were not stored", facts.traces_dropped);
        checks.push(check("history", "warning", found, Some("look at the disk of the data directory")));
    }
    if let Some(files) = facts.open_files.filter(|files| *files < FILES_ENOUGH) {
        let found = format!("this program may open {files} files: about {} streams at once", files / 2);
        checks.push(check("open files", "warning", found, Some("raise the limit (`ulimit -n`)")));
    }
    checks
}

/// Who besides this machine's own programs is answered, and why not.
pub(crate) fn outside(node: &Node) -> Vec<CheckView> {
    let (settings, outside) = (&node.settings, node.outside.load());
    let ruling = node.fleet.ruling().borrow().clone();
    let mut checks: Vec<CheckView> =
        outside.faults.iter().map(|fault| check("network", "warning", fault.clone(), None)).collect();
    let urls = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>().join(", ")
    };
    if settings.lan || !settings.addresses.is_empty() {
        let leader = || node.leader()["name"].as_str().map_or_else(|| "the leader".to_owned(), str::to_owned);
        checks.push(if ruling.keys.is_empty() {
            let found = "clients on other machines are to be answered, but there is no key yet".to_owned();
            check("network", "warning", found, Some("make one for each client: `herd keys add NAME`"))
        } else if !outside.lan.is_empty() {
            let name = outside.name.as_ref().map_or_else(String::new, |name| {
                let port = outside.lan.first().map_or(0, SocketAddr::port);
                format!(", also as http://{name}:{port}")
            });
            let keys = ruling.keys.len();
            let found = format!("clients with one of {keys} keys are answered at {}{name}", urls(&outside.lan));
            check("network", "ok", found, None)
        } else if settings.addresses.is_empty() && !ruling.leads {
            check("network", "ok", format!("{} leads, and answers clients on other machines", leader()), None)
        } else {
            let found = "this machine has no address at which clients on others could be answered".to_owned();
            check("network", "warning", found, Some("connect it to a network"))
        });
    } else if !ruling.keys.is_empty() && ruling.leads {
        let found = "there are keys for clients on other machines, but this one, which leads, does not answer them";
        check_off(&mut checks, found);
    }
    if settings.containers {
        checks.push(match outside.containers.as_slice() {
            [] => {
                let found = "no bridge of a container engine was found on this machine".to_owned();
                check("containers", "warning", found, Some("it is looked for again and again; start the engine"))
            }
            at => check("containers", "ok", format!("containers are answered at {}", urls(at)), None),
        });
    }
    checks
}

fn check_off(checks: &mut Vec<CheckView>, found: &str) {
    checks.push(check("network", "warning", found.to_owned(), Some("set FLEET_LAN=on on the machines that may lead")));
}

/// Whether an Ollama of this version has a hole that is known by number.
fn is_unsafe(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten(), numbers.next().flatten());
    // What cannot be read, such as the 0.0.0 of one built by hand, is not accused.
    matches!(version, (Some(major), Some(minor), Some(patch))
        if (major, minor, patch) > (0, 0, 0) && (major, minor, patch) <= (0, 20, 2))
}

/// The task that knows the other machines has died.
pub(crate) fn silent_fleet() -> CheckView {
    check(
        "fleet",
        "problem",
        "the fleet's task does not answer".to_owned(),
        Some("look at the log, and start Herd anew"),
    )
}

fn check(check: &str, state: &str, found: String, advice: Option<&str>) -> CheckView {
    CheckView { check: check.to_owned(), state: state.to_owned(), found, advice: advice.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_told_of_versions_that_have_them() {
        for (version, expected) in [
            ("0.17.0", true),
            ("0.20.2", true),
            ("0.20.3", false),
            ("0.33.0-rc2", false),
            ("1.0.0", false),
            ("0.0.0", false),
            ("git", false),
        ] {
            assert_eq!(is_unsafe(version), expected, "{version}");
        }
    }

    #[test]
    fn an_empty_machine_is_told_what_to_do() {
        let listening = ["127.0.0.1:11435".to_owned()];
        let facts = Facts {
            backends: &[],
            notes: Vec::new(),
            listening: &listening,
            traces_dropped: 1,
            warnings: &[],
            open_files: Some(1024),
        };
        let states: Vec<_> = checks(&facts).iter().map(|check| (check.check.clone(), check.state.clone())).collect();
        let expected = [("door", "ok"), ("backends", "problem"), ("history", "warning"), ("open files", "warning")];
        assert_eq!(states, expected.map(|(check, state)| (check.to_owned(), state.to_owned())));
    }
}
