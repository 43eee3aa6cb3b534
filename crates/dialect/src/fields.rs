//! What becomes of each field that a client may send, by the kind of the backend: the one table.
//!
//! A field that nobody reads is judged by it; a test sends every field of it and looks whether it tells the truth.

mod table;

use std::fmt::Write as _;

use proto::{Api, BackendKind};
use table::TABLES;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The backend is told, in its own words.
    Honoured,
    /// The backend does not know it, but its effect is had in another way, exactly.
    Emulated,
    /// It has no effect on what the answer says: left out and named in `X-Fleet-Ignored`.
    Hint,
    /// It would change the answer and cannot: the request is answered 400, with the field's name.
    Refused,
    /// The backend gets the client's own bytes.
    Passed,
}

impl Class {
    fn word(self) -> &'static str {
        match self {
            Class::Honoured => "honoured",
            Class::Emulated => "emulated",
            Class::Hint => "hint",
            Class::Refused => "refused",
            Class::Passed => "passed on",
        }
    }
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its name, with dots into objects and `[]` into lists.
    pub(crate) field: &'static str,
    /// A value that asks for something, as JSON.
    pub(crate) example: &'static str,
    /// What becomes of it with each kind of backend, in the order of [`KINDS`].
    pub(crate) classes: [Class; 5],
    /// What there is to say about it.
    pub(crate) why: &'static str,
}

/// The columns of the table; both ways of running llama-server are one.
pub(crate) const KINDS: [BackendKind; 5] =
    [BackendKind::Ollama, BackendKind::LlamaServer, BackendKind::LmStudio, BackendKind::Vllm, BackendKind::OpenAi];

/// What becomes of that `field` of a `client` call; `None` for fields that nobody knows, which are hints.
pub(crate) fn class(client: Api, kind: BackendKind, field: &str) -> Option<Class> {
    let (_, rows) = TABLES.iter().find(|(api, _)| *api == client)?;
    let row = rows.iter().find(|row| row.field == field)?;
    let kind = if kind == BackendKind::LlamaRouter { BackendKind::LlamaServer } else { kind };
    let column = KINDS.iter().position(|known| *known == kind)?;
    Some(row.classes[column])
}

/// The whole table for people, as Markdown.
pub fn fields_markdown() -> String {
    let mut out = String::from(
        "# What becomes of each field\n\n\
         Written by `GOLDEN=write cargo test -p dialect fields`; a test sends every field to every kind of backend and holds this page to be true.\n\n\
         - **honoured**: the backend is told, in its own words.\n\
         - **emulated**: the backend does not know it, but its effect is had in another way, exactly.\n\
         - **hint**: it has no effect on what the answer says; it is left out and named in `X-Fleet-Ignored`. So is every field that is not in this table.\n\
         - **refused**: it would change the answer and cannot; the request is answered 400 with the field's name. A value that asks for nothing (`null`, `false`, 0, empty) is never refused.\n\
         - **passed on**: the backend speaks the client's own dialect and gets its bytes as they are.\n",
    );
    for (client, rows) in TABLES {
        writeln!(out, "\n## {}\n", client.path()).expect("a string takes everything");
        out.push_str(
            "| field | for instance | Ollama | llama-server | LM Studio | vLLM | other OpenAI | |\n|---|---|---|---|---|---|---|---|\n",
        );
        for row in *rows {
            let classes = row.classes.map(Class::word).join(" | ");
            writeln!(out, "| `{}` | `{}` | {classes} | {} |", row.field, row.example, row.why)
                .expect("a string takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests;
