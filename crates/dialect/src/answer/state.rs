//! Hears what the backend says and has it written down as the client wishes to see it.

use proto::Api;

use super::event::{Event, Finish, Listener, Usage, merged};
use super::forced::Forced;
use super::json::escaped;
use super::logprobs;
use super::prefill::{Piece, Prefill};
use super::to::{Called, Ending, Head, Writer};
use crate::{Expect, Failure, RenamedTool};

/// What is known of an answer.
#[derive(Debug)]
pub(super) struct State {
    pub(super) head: Head,
    pub(super) writer: Writer,
    /// The model said, thought or called something.
    pub(super) has_content: bool,
    /// The last record was written.
    pub(super) has_ended: bool,
    pub(super) finish: Option<Finish>,
    /// How long the request has taken, in nanoseconds.
    pub(super) elapsed_ns: Option<u64>,
    /// How long it had when content began.
    first_ns: Option<u64>,
    forced: Option<Forced>,
    /// Gone as soon as it is clear whether the answer repeats its beginning.
    prefill: Option<Prefill>,
    wishes: Wishes,
    /// The call that began last is not shown.
    is_hidden: bool,
    calls: u64,
    stop_text: Option<String>,
    usage: Usage,
}

impl State {
    pub(super) fn new(expect: &Expect, head: Head) -> State {
        State {
            writer: Writer::new(expect, &head),
            head,
            has_content: false,
            has_ended: false,
            finish: None,
            elapsed_ns: None,
            first_ns: None,
            forced: expect.forced_tool.as_ref().map(Forced::new),
            prefill: expect.prefill.as_deref().filter(|text| !text.is_empty()).map(Prefill::new),
            wishes: Wishes::of(expect),
            is_hidden: false,
            calls: 0,
            stop_text: None,
            usage: Usage::default(),
        }
    }

    /// Writes what comes after the last piece.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(prefill) = self.prefill.take() {
            Scribe { state: self, out }.say_held(&prefill)?;
        }
        if let Some(forced) = self.forced.take() {
            forced.end(&mut Scribe { state: self, out })?;
        }
        self.has_ended = true;
        let finish = match self.finish.unwrap_or(Finish::Stop) {
            _ if self.wishes.only_load => Finish::Load,
            Finish::Stop if self.calls > 0 => Finish::ToolCalls,
            finish => finish,
        };
        let usage = merged(self.measured(), self.usage);
        let ending = Ending { finish, usage, stop_text: self.stop_text.take() };
        self.writer.end(&self.head, &ending, out)
    }

    /// What can be said of times without the backend's word.
    fn measured(&self) -> Usage {
        let first = self.first_ns.or(self.elapsed_ns);
        let since_first = self.elapsed_ns.zip(first).map(|(all, first)| all.saturating_sub(first));
        Usage { total_ns: self.elapsed_ns, prompt_ns: first, eval_ns: since_first, ..Usage::default() }
    }

    fn said_something(&mut self) {
        if !self.has_content {
            self.has_content = true;
            self.first_ns = self.elapsed_ns;
        }
    }
}

/// Hears what the backend says and writes it down for the client.
pub(super) struct Scribe<'a> {
    pub(super) state: &'a mut State,
    pub(super) out: &'a mut Vec<u8>,
}

impl Listener for Scribe<'_> {
    #[inline]
    fn hear(&mut self, event: Event<'_>) -> Result<(), Failure> {
        if let Some(prefill) = self.state.prefill.take() {
            return self.hear_beginning(prefill, event);
        }
        let Scribe { state, out } = self;
        match event {
            Event::Thinking(_) | Event::Text { .. } | Event::Call { .. } | Event::Arguments(_)
                if state.wishes.only_load =>
            {
                Ok(())
            }
            Event::Thinking(text) => {
                state.said_something();
                state.writer.thinking(&state.head, text, out)
            }
            Event::Text { text, logprobs } => {
                state.said_something();
                let Some(mut forced) = state.forced.take() else {
                    if !state.wishes.logprobs || logprobs.is_empty() {
                        return state.writer.text(&state.head, text, "", out);
                    }
                    // OpenAI's chats may be told that a token's bytes are not known; Responses may not.
                    let unknown = if state.head.client == Api::Responses { "[]" } else { "null" };
                    return state.writer.text(&state.head, text, &logprobs::completed(logprobs, unknown), out);
                };
                let heard = forced.text(text, self);
                self.state.forced = Some(forced);
                heard
            }
            Event::Call { id, name } => {
                state.said_something();
                state.is_hidden = state.wishes.one_tool_call && state.calls > 0;
                if state.is_hidden {
                    return Ok(());
                }
                state.calls += 1;
                let made;
                let id = if id.is_empty() {
                    let prefix = if state.head.client == Api::Messages { "toolu" } else { "call" };
                    made = format!("{prefix}_{}_{}", state.head.id, state.calls);
                    &made
                } else {
                    id
                };
                let renamed = state.wishes.renamed.iter().find(|tool| tool.sent == name);
                let (name, namespace) = renamed.map_or((name, ""), |tool| (&tool.name, &tool.namespace));
                state.writer.call(&state.head, Called { id, name, namespace }, out)
            }
            Event::Arguments(_) if state.is_hidden => Ok(()),
            Event::Arguments(text) => state.writer.arguments(&state.head, text, out),
            Event::Finish(finish) => {
                state.finish = Some(finish);
                Ok(())
            }
            Event::StopText(text) => {
                state.stop_text = Some(text.to_owned());
                Ok(())
            }
            Event::Usage(usage) => {
                state.usage = merged(state.usage, usage);
                Ok(())
            }
        }
    }
}

impl Scribe<'_> {
    /// As `hear`, while the answer may still repeat the beginning that the client gave it.
    fn hear_beginning(&mut self, mut prefill: Prefill, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Text { text, logprobs } => match prefill.take(text, logprobs) {
                Piece::Unclear => {}
                Piece::Repeated(rest) if rest.is_empty() => return Ok(()),
                Piece::Repeated(rest) => return self.hear(Event::Text { text: &rest, logprobs }),
                Piece::Own => {
                    self.say_held(&prefill)?;
                    return self.hear(event);
                }
            },
            Event::Call { .. } | Event::Arguments(_) => {
                self.say_held(&prefill)?;
                return self.hear(event);
            }
            // It comes before any text.
            Event::Thinking(_) if !prefill.held.is_empty() => {
                self.say_held(&prefill)?;
                return self.hear(event);
            }
            Event::Thinking(_) | Event::Finish(_) | Event::StopText(_) | Event::Usage(_) => self.hear(event)?,
        }
        self.state.prefill = Some(prefill);
        Ok(())
    }

    /// Says what was held back: the answer does not repeat its beginning.
    fn say_held(&mut self, prefill: &Prefill) -> Result<(), Failure> {
        if prefill.held.is_empty() && prefill.likely.is_empty() {
            return Ok(());
        }
        self.hear(Event::Text { text: &prefill.held, logprobs: &prefill.likely })
    }
}

/// What of an answer the client wants to see.
#[derive(Debug)]
struct Wishes {
    only_load: bool,
    one_tool_call: bool,
    logprobs: bool,
    /// Names as the backend writes them, names and namespaces as the client does: insides of JSON strings.
    renamed: Vec<RenamedTool>,
}

impl Wishes {
    fn of(expect: &Expect) -> Wishes {
        let quoted = |tool: &RenamedTool| RenamedTool {
            sent: escaped(&tool.sent),
            namespace: escaped(&tool.namespace),
            name: escaped(&tool.name),
        };
        Wishes {
            only_load: expect.only_load,
            one_tool_call: expect.one_tool_call,
            logprobs: expect.logprobs,
            renamed: expect.renamed_tools.iter().map(quoted).collect(),
        }
    }
}
