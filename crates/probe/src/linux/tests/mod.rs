//! Machines made of files.

mod cgroups;
mod garbage;
mod idle;
mod machines;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::{Prober, Roots};

/// A root directory with a few files of the kernel.
struct Tree(TempDir);

impl Tree {
    fn new() -> Tree {
        Tree(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts `text` into the file `path`.
    fn file(&self, path: &str, text: &str) -> &Tree {
        let file = self.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self
    }

    /// Puts several files into `directory`.
    fn files(&self, directory: &str, files: &[(&str, &str)]) -> &Tree {
        for (name, text) in files {
            self.file(&format!("{directory}/{name}"), text);
        }
        self
    }

    /// Senses that look here and nowhere else.
    fn prober(&self) -> Prober {
        Prober::new(&Roots {
            system: self.path().to_owned(),
            places: Vec::new(),
            session_bus: None,
            system_bus: None,
            display: None,
            nvidia: false,
        })
    }
}
