//! Holds the floors of the house: which crate may know which. Read from cargo itself, so a new crate cannot be forgotten.

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::root;

/// From the top down. An arrow may only point to a floor further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    /// Tests and chores: may know everything, and nothing below may know them.
    Outside,
    Faces,
    Agent,
    Hands,
    Decisions,
    Words,
}

const FLOORS: &[(Floor, &[&str])] = &[
    (Floor::Outside, &["bench", "fake-ollama", "fleet-tests", "icongen", "parts", "xtask"]),
    (Floor::Faces, &["cli", "herd-desktop"]),
    (Floor::Agent, &["node"]),
    (Floor::Hands, &["backend", "gateway", "mesh", "probe", "store"]),
    (Floor::Decisions, &["capacity", "dialect", "membership", "routing", "tray"]),
    (Floor::Words, &["proto"]),
];

/// Hands do, decisions decide, and neither knows the other; but whoever carries bodies has to read them.
const EXCEPTIONS: &[(&str, &str)] = &[("backend", "dialect"), ("gateway", "dialect")];

/// What decisions and words may use from elsewhere: nothing that has a clock, a file, a socket or a task.
const PURE: &[&str] = &["bytes", "memchr", "minicbor", "serde", "serde_json", "thiserror"];

/// One dependency, apart from those that only tests have.
#[derive(Clone, Copy)]
struct Arrow<'a> {
    from: &'a str,
    to: &'a str,
    /// Whether `to` is one of our crates.
    ours: bool,
}

/// Checks the workspace. The error is a list of sentences.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .context("asking cargo about the workspace")?;
    let mut crates = Vec::new();
    let mut arrows = Vec::new();
    for package in &metadata.packages {
        crates.push(package.name.as_str());
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development)
        {
            arrows.push(Arrow { from: &package.name, to: &dependency.name, ours: dependency.path.is_some() });
        }
    }
    let wrong = faults(&crates, &arrows);
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

/// What is wrong with `crates` and the arrows between them, in sentences.
fn faults(crates: &[&str], arrows: &[Arrow<'_>]) -> Vec<String> {
    let homeless = crates.iter().filter(|name| floor(name).is_none());
    let homeless =
        homeless.map(|name| format!("crate `{name}` stands on no floor: give it one in xtask/src/arrows.rs"));
    homeless.chain(arrows.iter().filter_map(fault)).collect()
}

fn fault(arrow: &Arrow<'_>) -> Option<String> {
    let Arrow { from, to, ours } = *arrow;
    let above = floor(from)?;
    if !ours {
        let may = above < Floor::Decisions || PURE.contains(&to);
        return (!may).then(|| {
            format!("`{from}` ({above:?}) may not use `{to}`: what decides or is only said reads no clock, file or socket; it may use {}", PURE.join(", "))
        });
    }
    let below = floor(to)?;
    if EXCEPTIONS.contains(&(from, to)) || above == Floor::Outside {
        return None;
    }
    let why = if above == below {
        "never between two crates of one floor"
    } else if above > below {
        "arrows go down only"
    } else if (above, below) == (Floor::Hands, Floor::Decisions) {
        "hands do not know decisions; the agent hands them what was decided"
    } else {
        return None;
    };
    Some(format!("`{from}` ({above:?}) may not depend on `{to}` ({below:?}): {why}"))
}

fn floor(name: &str) -> Option<Floor> {
    FLOORS.iter().find(|(_, crates)| crates.contains(&name)).map(|(floor, _)| *floor)
}

#[cfg(test)]
mod tests {
    use super::{Arrow, check, faults};

    #[test]
    fn the_workspace_keeps_its_floors() {
        if let Err(error) = check() {
            panic!("{error:#}");
        }
    }

    #[test]
    fn arrows_go_down_only_and_never_sideways() {
        for (from, to, ours, allowed) in [
            ("cli", "node", true, true),
            ("node", "routing", true, true),
            ("node", "store", true, true),
            ("routing", "proto", true, true),
            ("gateway", "dialect", true, true),
            ("backend", "dialect", true, true),
            ("xtask", "parts", true, true),
            ("bench", "cli", true, true),
            ("gateway", "tokio", false, true),
            ("dialect", "memchr", false, true),
            ("store", "dialect", true, false),
            ("gateway", "routing", true, false),
            ("gateway", "backend", true, false),
            ("routing", "dialect", true, false),
            ("routing", "gateway", true, false),
            ("proto", "routing", true, false),
            ("node", "cli", true, false),
            ("node", "parts", true, false),
            ("routing", "tokio", false, false),
            ("proto", "tempfile", false, false),
        ] {
            let wrong = faults(&[from], &[Arrow { from, to, ours }]);
            assert_eq!(wrong.is_empty(), allowed, "{from} -> {to}: {wrong:?}");
        }
    }

    #[test]
    fn a_crate_without_a_floor_is_named() {
        assert_eq!(faults(&["attic"], &[]), ["crate `attic` stands on no floor: give it one in xtask/src/arrows.rs"]);
    }
}
