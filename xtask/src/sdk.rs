//! Runs real client packages against Herd: sets up each language, starts a backend with a Herd before it, runs the suites.

mod language;
mod scene;

use anyhow::Result;
use parts::engine::Engine;

use crate::tally::Tally;
use language::Language;
use scene::Scene;

/// Both languages against the stand-in for Ollama and, if there is one, against a real engine.
pub(crate) fn all(engine: Option<&Engine>, tally: &mut Tally) -> Result<()> {
    let mut languages = Vec::new();
    for (name, made) in [("Python", Language::python()), ("Node", Language::node())] {
        match made {
            Ok(language) => languages.push(language),
            Err(error) => tally.skip(&format!("{name} client suites"), &format!("{error:#}")),
        }
        crate::process::go_on()?;
    }
    if languages.is_empty() {
        return Ok(());
    }
    against("fake-ollama", Scene::fake_ollama, &languages, tally)?;
    match engine {
        Some(engine) => against("llama-server", || Scene::llama_server(engine), &languages, tally)?,
        None => tally.skip("client suites against a real llama-server", "there is none, see above"),
    }
    Ok(())
}

fn against(
    backend: &str,
    start: impl FnOnce() -> Result<Scene>,
    languages: &[Language],
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
        let mut suite = language.suite(scene.backend())?;
        suite.envs(scene.variables());
        tally.run(&format!("{} clients, Herd before {backend}", language.name), &mut suite)?;
    }
    Ok(())
}
