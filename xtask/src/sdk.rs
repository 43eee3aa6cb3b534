//! Runs real client packages against Herd: sets up each language, starts a backend with a Herd before it, runs the suites,
//! and holds `docs/clients.md` to what they found.

mod fleet;
pub(crate) mod language;
mod page;
mod scene;

use std::path::Path;

use anyhow::{Context, Result};
use parts::engine::Engine;

use crate::tally::Tally;
use language::Language;
use page::Page;
use scene::Scene;

/// All languages against the stand-in for Ollama and, if there is one, against a real engine.
pub(crate) fn all(engine: Option<&Engine>, tally: &mut Tally) -> Result<()> {
    let mut languages = Vec::new();
    let mut complete = engine.is_some();
    for (name, made) in [
        ("Python", Language::python as fn() -> Result<Language>),
        ("Python (LiteLLM)", Language::litellm),
        ("Node", Language::node),
    ] {
        match made() {
            Ok(language) => languages.push(language),
            Err(error) => {
                tally.skip(&format!("{name} client suites"), &format!("{error:#}"));
                complete = false;
            }
        }
        crate::process::go_on()?;
    }
    if languages.is_empty() {
        return Ok(());
    }
    let failed_before = tally.failed;
    let mut page = Page::default();
    against("fake-ollama", Scene::fake_ollama, &languages, &mut page, tally)?;
    match engine {
        Some(engine) => against("llama-server", || Scene::llama_server(engine), &languages, &mut page, tally)?,
        None => tally.skip("client suites against a real llama-server", "there is none, see above"),
    }
    match (engine, languages.iter().find(|language| language.name == "Python")) {
        (Some(engine), Some(python)) => fleet::play(engine, python, tally)?,
        _ => tally.skip("Python clients at three machines", "there is no llama-server, or no Python, see above"),
    }
    if tally.failed == failed_before {
        tally.count("docs/clients.md", page.hold(complete));
    } else {
        println!("docs/clients.md is held to what the suites find when none of them fails");
    }
    Ok(())
}

fn against(
    backend: &str,
    start: impl FnOnce() -> Result<Scene>,
    languages: &[Language],
    page: &mut Page,
    tally: &mut Tally,
) -> Result<()> {
    println!("== Herd before {backend}");
    let scene = match start() {
        Ok(scene) => scene,
        Err(error) => {
            crate::process::go_on()?;
            tally.fail(&format!("Herd before {backend}"), &format!("{error:#}"));
            return Ok(());
        }
    };
    for language in languages {
        println!("== {} clients, Herd before {backend}", language.name);
        let cells = tempfile::tempdir().context("making a directory for what the suites find")?;
        let mut suite = language.suite()?;
        suite.envs(scene.variables()).env("CELLS", cells.path());
        tally.run(&format!("{} clients, Herd before {backend}", language.name), &mut suite)?;
        read(cells.path(), scene.backend(), page)?;
    }
    Ok(())
}

/// Adds what a suite left in `directory`; one that failed early left nothing, and is counted as failed already.
fn read(directory: &Path, backend: &'static str, page: &mut Page) -> Result<()> {
    for file in std::fs::read_dir(directory).context("reading what a suite found")? {
        let file = file.context("reading what a suite found")?.path();
        page.add(backend, &std::fs::read_to_string(&file).context("reading what a suite found")?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use parts::engine;

    use crate::tally::Tally;

    /// For working on it; the programs must have been built. `cargo xtask test` runs all of this too.
    #[test]
    #[ignore = "a part of `cargo xtask test`"]
    fn the_fleet_alone() {
        let engine = engine::find_or_fetch(&|line| println!("{line}")).unwrap();
        let mut tally = Tally::default();
        super::fleet::play(&engine, &super::Language::python().unwrap(), &mut tally).unwrap();
        tally.close();
        assert_eq!(tally.failed, 0);
    }

    /// For working on the suites; the programs must have been built. `cargo xtask test` runs all of this too.
    #[test]
    #[ignore = "a part of `cargo xtask test`"]
    fn the_client_suites_alone() {
        let engine = engine::find_or_fetch(&|line| println!("{line}")).unwrap();
        let mut tally = Tally::default();
        super::all(Some(&engine), &mut tally).unwrap();
        tally.close();
        assert_eq!(tally.failed, 0);
    }
}
