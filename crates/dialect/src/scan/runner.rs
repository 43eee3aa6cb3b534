//! Gives Ollama the options that its model was loaded with, whatever the client named.

use bytes::Bytes;

use super::Scan;
use crate::Edit;

/// What a request may say about the program that holds the model in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runner {
    /// The context to ask for, in tokens; `None`: none is named (models that only make vectors).
    pub context: Option<u64>,
    /// Whether what describes a machine is left out.
    pub strips: bool,
}

impl Scan {
    /// What to change in the body of one of Ollama's own calls, so that it asks for `runner` and says nothing about how
    /// long the model stays; and the names of the fields that lost their effect by that.
    ///
    /// Without `strips`, a context that the client named stays as it is.
    pub fn for_runner(&self, runner: Runner) -> (Vec<Edit>, Vec<&'static str>) {
        let (mut edits, mut ignored) = (Vec::new(), Vec::new());
        let mut change = |range: &std::ops::Range<usize>, with: Bytes| edits.push(Edit { range: range.clone(), with });
        let null = || Bytes::from_static(b"null");
        // Null is "not given" for all of these, and needs no care for commas.
        if let Some(at) = &self.keep_alive {
            change(at, null());
            if self.keep_alive_is_said {
                ignored.push("keep_alive");
            }
        }
        if let Some(at) = self.shift.as_ref().filter(|_| runner.strips) {
            change(at, null());
            ignored.push("shift");
        }
        for (name, at) in self.options.machine.iter().filter(|_| runner.strips) {
            change(at, null());
            ignored.push(name);
        }
        match (runner.context, &self.options.num_ctx) {
            (_, Some(_)) if !runner.strips => {}
            (Some(tokens), Some(at)) => {
                change(at, tokens.to_string().into());
                if self.num_ctx != Some(tokens) && self.num_ctx.is_some() {
                    ignored.push("options.num_ctx");
                }
            }
            (Some(tokens), None) => {
                let member = format!("\"num_ctx\":{tokens}");
                match (&self.options.object, &self.options.null) {
                    (Some(start), _) => {
                        let comma = if self.options.is_empty { "" } else { "," };
                        change(&(start + 1..start + 1), format!("{member}{comma}").into());
                    }
                    (None, Some(at)) => change(at, format!("{{{member}}}").into()),
                    // Options of a wrong type are Ollama's to refuse.
                    (None, None) if self.options.is_given => {}
                    (None, None) => {
                        if let Some(start) = self.start {
                            change(&(start + 1..start + 1), format!("\"options\":{{{member}}},").into());
                        }
                    }
                }
            }
            // Null would count as a context that was named.
            (None, Some(_)) => {
                edits.extend(self.options.num_ctx_cut.iter().map(|at| Edit { range: at.clone(), with: Bytes::new() }));
                if self.num_ctx.is_some() {
                    ignored.push("options.num_ctx");
                }
            }
            (None, None) => {}
        }
        (edits, ignored)
    }
}
