//! `docs/clients.md`: what each client can do through Herd, written from what the suites found and from nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::root;

const HEAD: &str = "# Clients

Real client packages, unchanged, each asked for each feature through a Herd that has one kind of inference server behind
it. Every cell is the result of a test that ran; `GOLDEN=write cargo xtask test` rewrites this page.

- **yes**: the answer was what it has to be.
- **no**: it was not; the reason is the server's or Herd's own refusal, or a fault that is known.
- **n/a**: there is nothing to try, and why.

The Ollama is the stand-in of these tests, which repeats what a real one was recorded to say; the llama-server is real.
Both have models so small that their answers are known beforehand.
";

/// The backends as the suites call them and as the page does.
const BACKENDS: [(&str, &str); 2] = [("ollama", "Ollama"), ("llama-server", "llama-server")];

/// What the suites found.
#[derive(Default)]
pub(crate) struct Page {
    /// In the order in which they ran.
    clients: Vec<Client>,
}

struct Client {
    title: String,
    /// Its packages with their versions.
    packages: String,
    /// By feature and backend.
    cells: BTreeMap<(String, &'static str), String>,
}

impl Page {
    /// Adds what one suite found with `backend`: a list of objects with `client`, `packages`, `feature` and `cell`.
    pub(crate) fn add(&mut self, backend: &'static str, found: &str) -> Result<()> {
        let found: Vec<Value> = serde_json::from_str(found).context("reading what a suite found")?;
        for row in &found {
            let text = |name: &str| row[name].as_str().with_context(|| format!("a suite said {row} without `{name}`"));
            let title = text("client")?;
            let place = self.clients.iter().position(|client| client.title == title).unwrap_or_else(|| {
                self.clients.push(Client { title: title.to_owned(), packages: String::new(), cells: BTreeMap::new() });
                self.clients.len() - 1
            });
            let client = &mut self.clients[place];
            text("packages")?.clone_into(&mut client.packages);
            client.cells.insert((text("feature")?.to_owned(), backend), in_table(text("cell")?));
        }
        Ok(())
    }

    /// Fails where the committed page says something else; with `GOLDEN=write`, writes it. Unless the run was `complete`,
    /// only the cells that there are count, and nothing is written.
    pub(crate) fn hold(&self, complete: bool) -> Result<()> {
        let features =
            std::fs::read_to_string(root().join("tests/sdk/features.txt")).context("reading the features")?;
        let features: Vec<&str> = features.lines().collect();
        let path = root().join("docs/clients.md");
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        if !complete {
            return self.fits(&committed);
        }
        let page = self.text(&features)?;
        if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            return std::fs::write(&path, page).context("writing docs/clients.md");
        }
        if page == committed {
            return Ok(());
        }
        let place = page.lines().zip(committed.lines()).position(|(one, other)| one != other);
        let line = |text: &str| text.lines().nth(place.unwrap_or(0)).unwrap_or_default().to_owned();
        bail!(
            "docs/clients.md differs, first in line {}. It says\n  {}\nand the suites say\n  {}\n\
             GOLDEN=write cargo xtask test rewrites it",
            place.map_or(0, |place| place + 1),
            line(&committed),
            line(&page)
        );
    }

    /// Whether `committed` says of each cell what was found.
    fn fits(&self, committed: &str) -> Result<()> {
        for client in &self.clients {
            let title = format!("\n## {}\n", client.title);
            let (_, section) =
                committed.split_once(&title).with_context(|| format!("no part about {}", client.title))?;
            let section = section.split("\n## ").next().unwrap_or_default();
            for ((feature, backend), found) in &client.cells {
                let row = section.lines().find_map(|line| line.strip_prefix(&format!("| {feature} | ")));
                let row = row.with_context(|| format!("{}: no row about {feature}", client.title))?;
                let place = BACKENDS.iter().position(|(name, _)| name == backend).context("a backend has a column")?;
                let cell = row.trim_end_matches(" |").split(" | ").nth(place).unwrap_or_default();
                ensure!(
                    cell == found,
                    "docs/clients.md differs. It says of {}, {feature}, {backend}:\n  {cell}\nand the suites say\n  {found}",
                    client.title
                );
            }
        }
        Ok(())
    }

    /// The whole page. Fails where a cell is empty.
    fn text(&self, features: &[&str]) -> Result<String> {
        let mut page = HEAD.to_owned();
        page += "\n| client |";
        for (_, backend) in BACKENDS {
            write!(page, " {backend} |")?;
        }
        page += "\n|---|---|---|\n";
        for client in &self.clients {
            write!(page, "| [{}](#{}) |", client.title, anchor(&client.title))?;
            for (backend, _) in BACKENDS {
                let count = |word: &str| {
                    let of_backend = client.cells.iter().filter(|((_, of), _)| *of == backend);
                    of_backend.filter(|(_, cell)| cell.starts_with(word)).count()
                };
                write!(page, " {} yes, {} no, {} n/a |", count("yes"), count("no:"), count("n/a:"))?;
            }
            page += "\n";
        }
        for client in &self.clients {
            write!(page, "\n## {}\n\n{}\n\n| feature |", client.title, client.packages)?;
            for (_, backend) in BACKENDS {
                write!(page, " {backend} |")?;
            }
            page += "\n|---|---|---|\n";
            for feature in features {
                write!(page, "| {feature} |")?;
                for (backend, _) in BACKENDS {
                    let cell = client.cells.get(&((*feature).to_owned(), backend));
                    let cell = cell.with_context(|| format!("{}, {feature}, {backend}: no cell", client.title))?;
                    write!(page, " {cell} |")?;
                }
                page += "\n";
            }
            let known = |(feature, _): &(String, &str)| features.contains(&feature.as_str());
            ensure!(client.cells.keys().all(known), "{}: a feature that is not in features.txt", client.title);
        }
        Ok(page)
    }
}

/// `cell` on one line and without what would end a column.
fn in_table(cell: &str) -> String {
    cell.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The name that a heading has in an address.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|character| character.is_alphanumeric() || "-_".contains(*character)).collect()
}

#[cfg(test)]
mod tests {
    use super::Page;

    fn found() -> Page {
        let mut page = Page::default();
        for (backend, cell) in [("ollama", "yes"), ("llama-server", "no: a | b\nc")] {
            let rows = serde_json::json!([{"client": "x, y", "packages": "x 1", "feature": "chat", "cell": cell}]);
            page.add(backend, &rows.to_string()).unwrap();
        }
        page
    }

    #[test]
    fn a_page_has_a_row_per_feature_and_a_column_per_backend() {
        let text = found().text(&["chat"]).unwrap();
        assert!(text.contains("\n| [x, y](#x-y) | 1 yes, 0 no, 0 n/a | 0 yes, 1 no, 0 n/a |\n"), "{text}");
        assert!(text.contains("\n## x, y\n\nx 1\n\n| feature | Ollama | llama-server |\n"), "{text}");
        assert!(text.contains("\n| chat | yes | no: a \\| b c |\n"), "{text}");
    }

    #[test]
    fn an_empty_cell_and_an_unknown_feature_are_faults() {
        assert!(found().text(&["chat", "more"]).is_err());
        assert!(found().text(&[]).is_err());
    }

    #[test]
    fn what_was_found_must_be_what_the_page_says() {
        let text = found().text(&["chat"]).unwrap();
        found().fits(&text).unwrap();
        assert!(found().fits(&text.replace("| yes |", "| no: x |")).is_err());
        assert!(found().fits(&text.replace("| chat |", "| chats |")).is_err());
        assert!(found().fits("").is_err());
    }
}
