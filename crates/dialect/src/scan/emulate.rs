//! What is changed in a body that a backend gets in the client's own dialect, so that what it would leave unread has its
//! effect all the same. Everything else stays as it came.

use std::ops::Range;

use bytes::Bytes;
use proto::{Api, BackendKind};
use serde::Deserialize;

use super::Scan;
use crate::reader::Reader;
use crate::request::quirks;
use crate::{Cause, Edit, Failure};

/// The schema of any object, in Ollama's words.
const ANY_OBJECT: &[u8] = br#"{"type":"object"}"#;
/// The same in OpenAI's.
const ANY_OBJECT_OPENAI: &[u8] =
    br#"{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}}"#;

impl Scan {
    /// What to change in the `body` of a `client` call that a backend of that `kind` gets as it is.
    ///
    /// Fails with 400 where a tool is demanded that is not among the tools.
    pub fn emulations(&self, body: &[u8], client: Api, kind: BackendKind) -> Result<Vec<Edit>, Failure> {
        let quirks = quirks(kind);
        let mut edits = Vec::new();
        match client {
            // The word alone leaves models free whose template is in the GGUF; the schema does not.
            Api::OllamaChat | Api::OllamaGenerate => {
                edits.extend(self.any_json.iter().map(|at| edit(at, Bytes::from_static(ANY_OBJECT))));
            }
            Api::ChatCompletions => {
                if !quirks.json_object {
                    edits.extend(self.any_json.iter().map(|at| edit(at, Bytes::from_static(ANY_OBJECT_OPENAI))));
                }
                if let (Some(choice), false) = (&self.tool_choice, quirks.named_tool_choice)
                    && let Ok(choice_made) = serde_json::from_slice::<Choice>(&body[choice.clone()])
                {
                    let only = self.tool(body, &choice_made.function.name)?;
                    let tools = self.tools_at.clone().unwrap_or_default();
                    edits.push(edit(&tools, [b"[", &body[only], b"]"].concat().into()));
                    edits.push(edit(choice, Bytes::from_static(b"\"required\"")));
                }
            }
            _ => {}
        }
        Ok(edits)
    }

    /// Where the tool called `name` stands.
    fn tool(&self, body: &[u8], name: &str) -> Result<Range<usize>, Failure> {
        let missing = || Failure::new(Cause::BadRequest, "`tool_choice` demands a tool that is not in `tools`");
        let tools = self.tools_at.clone().ok_or_else(missing)?;
        let mut reader = Reader::new(&body[tools.clone()]);
        reader.enter();
        let mut first = true;
        // Read before, and found to be in order.
        while let Ok(true) = reader.next_element(&mut first) {
            let Ok(at) = reader.value(2) else { break };
            let at = tools.start + at.start..tools.start + at.end;
            if serde_json::from_slice::<Choice>(&body[at.clone()]).is_ok_and(|tool| tool.function.name == name) {
                return Ok(at);
            }
        }
        Err(missing())
    }
}

fn edit(at: &Range<usize>, with: Bytes) -> Edit {
    Edit { range: at.clone(), with }
}

/// A tool, or the choice of one, as far as its name goes.
#[derive(Deserialize)]
struct Choice {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
}
