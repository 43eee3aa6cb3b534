//! Writes `/api/chat` and `/api/generate`.

use proto::Api;

use super::super::context::Context;
use super::super::json::Kind;
use super::super::writer::Writer;
use super::{forced, text_pieces, thinking_pieces, with_arguments};
use crate::canon::{Effort, Format, Message, Part, Request, Role, Thinking, Tool, ToolChoice};
use crate::request::ForcedTool;
use crate::scan::machine_option;
use crate::{Failure, Runner};

/// The chat that `request` is, and the tool call that its answer's form stands for.
///
/// Ollama has no `tool_choice`. Where a tool must be called, the tools are not sent as such: they are described at the end
/// of the instructions and `format` demands a call, so that the answer is one whatever the template does with tools. Sent
/// along, they would be read out of the answer by some of Ollama's parsers and not by others.
pub(crate) fn ollama_chat(
    context: &mut Context<'_>,
    request: &Request<'_>,
    capacity: usize,
) -> Result<(Writer, Option<ForcedTool>), Failure> {
    let mut out = Writer::with_capacity(capacity);
    let forced = forced::plan(context, request)?;
    start(context, request, &mut out);
    match &forced {
        Some(forced) => out.key("format").raw(&forced.schema),
        None => format(&request.format, &mut out),
    }
    let sends_tools = forced.is_none() && request.tool_choice != ToolChoice::None;
    if sends_tools && !request.tools.is_empty() {
        out.key("tools").open('[');
        request.tools.iter().for_each(|one| tool(one, &mut out));
        out.close(']');
    }
    out.key("messages").open('[');
    let mut orders = forced.as_ref().map(|forced| forced.orders.as_str());
    if let Some(orders) = orders.take_if(|_| request.messages.first().is_none_or(|first| first.role != Role::System)) {
        out.open('{');
        out.key("role").raw("\"system\"");
        out.key("content").text(orders);
        out.close('}');
    }
    for each in &request.messages {
        message(each, orders.take(), &mut out)?;
    }
    out.close(']');
    out.close('}');
    Ok((out, forced.map(|forced| forced.tool)))
}

/// The prompt that `request` is.
pub(crate) fn ollama_generate(context: &mut Context<'_>, request: &Request<'_>, capacity: usize) -> Writer {
    let mut out = Writer::with_capacity(capacity);
    start(context, request, &mut out);
    let parts = || request.messages.iter().flat_map(|message| text_pieces(&message.parts));
    out.key("prompt").pieces(parts());
    if let Some(suffix) = request.plain.as_ref().and_then(|plain| plain.suffix.as_ref()) {
        out.key("suffix").string(suffix);
    }
    out.close('}');
    out
}

/// Opens the object and writes what both calls have.
fn start(context: &mut Context<'_>, request: &Request<'_>, out: &mut Writer) {
    out.open('{');
    out.key("model").text(context.target.model);
    out.key("stream").plain(request.stream);
    think(context, request.thinking, out);
    if let Some(top) = request.logprobs {
        out.key("logprobs").plain(true);
        out.key("top_logprobs").plain(top);
    }
    // A prompt that does not fit is an error for these clients, on which agents shorten it; Ollama would cut it in silence.
    out.key("truncate").plain(request.truncate.unwrap_or(false));
    options(context, request, out);
}

fn options(context: &mut Context<'_>, request: &Request<'_>, out: &mut Writer) {
    let sampling = &request.sampling;
    // Ollama's own layer for OpenAI's calls says 1 where the client says nothing; its layer for Anthropic's does not.
    let unsaid = (context.client != Api::Messages).then_some(1.0);
    out.key("options").open('{');
    out.plain_field("temperature", sampling.temperature.or(unsaid));
    out.plain_field("top_p", sampling.top_p.or(unsaid));
    out.plain_field("top_k", sampling.top_k);
    out.plain_field("min_p", sampling.min_p);
    out.plain_field("presence_penalty", sampling.presence_penalty);
    out.plain_field("frequency_penalty", sampling.frequency_penalty);
    out.plain_field("repeat_penalty", sampling.repeat_penalty);
    out.plain_field("seed", sampling.seed);
    out.plain_field("num_predict", request.max_tokens.map(|most| most.min(i64::MAX as u64)));
    if !request.stop.is_empty() {
        out.key("stop").open('[');
        request.stop.iter().for_each(|stop| out.string(stop));
        out.close(']');
    }
    let Runner { context: loaded, strips } = context.target.runner;
    let mut names_context = false;
    for (name, value) in &request.options {
        let is_machines = machine_option(name).is_some() && value.kind() != Kind::Null;
        match &**name {
            "num_ctx" if strips => {
                // What the client gets is told by `X-Fleet-Context`; here, that its own number was not used.
                if value.number() != loaded.map(|tokens| tokens as f64) {
                    context.ignored("options.num_ctx");
                }
            }
            _ if strips && is_machines => context.ignored(format!("options.{name}")),
            name => {
                names_context |= name == "num_ctx";
                out.named(name).json(*value);
            }
        }
    }
    out.plain_field("num_ctx", loaded.filter(|_| !names_context));
    out.close('}');
}

fn think(context: &mut Context<'_>, thinking: Thinking, out: &mut Writer) {
    let (thinks, anthropic) = (context.target.thinks, context.client == Api::Messages);
    let field = if anthropic { "output_config.effort" } else { "reasoning.effort" };
    match thinking {
        Thinking::Unsaid => {}
        Thinking::Off => out.key("think").plain(false),
        // Models that can think do so unless told otherwise; of others, asking is an error that Ollama's own layer for
        // Anthropic's clients avoids.
        Thinking::On if anthropic && thinks != Some(true) => {}
        Thinking::Effort(_) if thinks == Some(false) || anthropic && thinks.is_none() => context.ignored(field),
        Thinking::On => out.key("think").plain(true),
        Thinking::Effort(effort) => out.key("think").raw(match effort {
            Effort::Minimal | Effort::Low => "\"low\"",
            Effort::Medium => "\"medium\"",
            Effort::High => "\"high\"",
            Effort::Max => "\"max\"",
        }),
    }
}

fn format(format: &Format<'_>, out: &mut Writer) {
    match format {
        Format::Text => {}
        // The word `json` leaves the text free where the template is the GGUF's own (measured on 0.33.0-rc2).
        Format::Json => out.key("format").raw(r#"{"type":"object"}"#),
        Format::Schema { schema, .. } => out.key("format").json(*schema),
    }
}

/// A tool in the form that OpenAI and Ollama share.
pub(super) fn tool(tool: &Tool<'_>, out: &mut Writer) {
    out.open('{');
    out.key("type").raw("\"function\"");
    out.key("function").open('{');
    out.key("name").string(&tool.name);
    if let Some(description) = &tool.description {
        out.key("description").string(description);
    }
    out.key("parameters").raw(tool.parameters.map_or(r#"{"type":"object","properties":{}}"#, |json| json.as_str()));
    out.plain_field("strict", tool.strict);
    out.close('}');
    out.close('}');
}

/// One message; `orders` come after its text.
fn message(message: &Message<'_>, orders: Option<&str>, out: &mut Writer) -> Result<(), Failure> {
    let result = message.parts.iter().find_map(|part| if let Part::ToolResult(one) = part { Some(one) } else { None });
    out.open('{');
    out.key("role").raw(match message.role {
        Role::System => "\"system\"",
        Role::User => "\"user\"",
        Role::Assistant => "\"assistant\"",
        Role::Tool => "\"tool\"",
    });
    let orders = orders.map(|orders| super::Quoted::new(&format!("\n\n{orders}")));
    let orders = orders.iter().map(super::Quoted::as_quoted);
    match result {
        Some(result) => out.key("content").string(&result.text),
        None => out.key("content").pieces(text_pieces(&message.parts).chain(orders)),
    }
    if message.parts.iter().any(|part| matches!(part, Part::Thinking(_))) {
        out.key("thinking").pieces(thinking_pieces(&message.parts));
    }
    let own = message.parts.iter().filter_map(|part| if let Part::Media(one) = part { Some(one) } else { None });
    let mut media = own.chain(result.into_iter().flat_map(|result| &result.media)).peekable();
    if media.peek().is_some() {
        out.key("images").open('[');
        media.for_each(|media| out.string(&media.base64));
        out.close(']');
    }
    if message.parts.iter().any(|part| matches!(part, Part::ToolCall(_))) {
        out.key("tool_calls").open('[');
        for part in &message.parts {
            let Part::ToolCall(call) = part else { continue };
            out.open('{');
            out.key("id").string(&call.id);
            out.key("function").open('{');
            out.key("name").string(&call.name);
            with_arguments(&call.arguments, |object| out.key("arguments").raw(object))?;
            out.close('}');
            out.close('}');
        }
        out.close(']');
    }
    if let Some(result) = result {
        if let Some(name) = &result.name {
            out.key("tool_name").string(name);
        }
        out.key("tool_call_id").string(&result.id);
    }
    out.close('}');
    Ok(())
}
