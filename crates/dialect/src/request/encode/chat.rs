//! Writes `/v1/chat/completions`.

use super::super::context::Context;
use super::super::json::Kind;
use super::super::quirks::ThinkingSwitch;
use super::super::writer::Writer;
use super::ollama::tool;
use super::{text_pieces, thinking_pieces, with_arguments};
use crate::Failure;
use crate::canon::{Effort, Format, Media, Message, Part, Request, Role, Thinking, Tool, ToolChoice};
use crate::request::object::bad_request;
use crate::scan::machine_option;

/// The conversation that `request` is.
pub(crate) fn chat(context: &mut Context<'_>, request: &Request<'_>, capacity: usize) -> Result<Writer, Failure> {
    let mut out = Writer::with_capacity(capacity);
    start(context, request, &mut out)?;
    if request.logprobs.is_some() {
        out.key("logprobs").plain(true);
        out.plain_field("top_logprobs", request.logprobs.filter(|&top| top > 0));
    }
    thinking(context, request.thinking, &mut out);
    format(context, &request.format, &mut out);
    tools(context, request, &mut out)?;
    out.key("messages").open('[');
    for each in &request.messages {
        message(context, each, &mut out)?;
    }
    out.close(']');
    out.close('}');
    Ok(out)
}

/// Opens the object and writes what OpenAI's generating calls have in common.
pub(super) fn start(context: &mut Context<'_>, request: &Request<'_>, out: &mut Writer) -> Result<(), Failure> {
    let quirks = context.quirks;
    out.open('{');
    out.key("model").text(context.target.model);
    out.key("stream").plain(request.stream);
    if request.stream {
        // Whoever asked: the counts are for our own records and for the final records of other dialects.
        out.key("stream_options").raw(r#"{"include_usage":true}"#);
    }
    if request.truncate == Some(true) {
        // These never cut a prompt, which is what false asks for.
        context.ignored(if context.client == proto::Api::Responses { "truncation" } else { "truncate" });
    }
    // A model is loaded by the shortest of answers.
    out.plain_field("max_tokens", if request.only_load { Some(1) } else { request.max_tokens });
    let sampling = &request.sampling;
    out.plain_field("temperature", sampling.temperature);
    out.plain_field("top_p", sampling.top_p);
    out.plain_field("presence_penalty", sampling.presence_penalty);
    out.plain_field("frequency_penalty", sampling.frequency_penalty);
    out.plain_field("seed", sampling.seed);
    special(context, out, "top_k", quirks.top_k, sampling.top_k.map(|k| k as f64), 40.0)?;
    special(context, out, "min_p", quirks.min_p, sampling.min_p, 0.0)?;
    special(context, out, "repeat_penalty", quirks.repeat_penalty, sampling.repeat_penalty, 1.0)?;
    if !request.stop.is_empty() {
        out.key("stop").open('[');
        request.stop.iter().for_each(|stop| out.string(stop));
        out.close(']');
    }
    options(context, request, out)
}

/// Writes a number that not every backend takes. Where one does not, only Ollama's default may be asked for.
fn special(
    context: &mut Context<'_>,
    out: &mut Writer,
    option: &'static str,
    name: Option<&str>,
    value: Option<f64>,
    default: f64,
) -> Result<(), Failure> {
    match (name, value) {
        (Some(name), Some(value)) => out.key(name).plain(value),
        (None, Some(value)) if value != default => {
            // Only Ollama's and Anthropic's calls have these.
            let ollama = context.client.dialect() == proto::Dialect::Ollama;
            let field = if ollama { format!("options.{option}") } else { option.to_owned() };
            return Err(context.refusal(&field));
        }
        _ => {}
    }
    Ok(())
}

/// Writes what llama.cpp knows of Ollama's further options; the rest describes a machine or says nothing any more.
fn options(context: &mut Context<'_>, request: &Request<'_>, out: &mut Writer) -> Result<(), Failure> {
    for (name, value) in &request.options {
        let (known, default) = match &**name {
            "num_keep" => (Some("n_keep"), None),
            "typical_p" => (Some("typical_p"), Some(1.0)),
            "repeat_last_n" => (Some("repeat_last_n"), Some(64.0)),
            "mirostat" => (Some("mirostat"), Some(0.0)),
            "mirostat_tau" => (Some("mirostat_tau"), None),
            "mirostat_eta" => (Some("mirostat_eta"), None),
            _ => (None, None),
        };
        match known {
            Some(known) if context.quirks.llama_sampling => {
                let number = value.number().ok_or_else(|| bad_request(format!("`options.{name}` must be a number")))?;
                out.key(known).plain(number);
            }
            Some(_) if default.is_some() && value.number() == default => {}
            // False and zero ask for something where they are not what the server does anyway.
            _ if machine_option(name).is_some() && value.kind() != Kind::Null => {
                context.ignored(format!("options.{name}"))
            }
            _ => context.leftover(format!("options.{name}"), *value)?,
        }
    }
    Ok(())
}

fn thinking(context: &mut Context<'_>, thinking: Thinking, out: &mut Writer) {
    let switch = context.quirks.thinking;
    let (on, effort) = match thinking {
        Thinking::Unsaid => return,
        Thinking::Off => (false, None),
        Thinking::On => (true, None),
        Thinking::Effort(effort) => (true, Some(effort)),
    };
    let word = effort.map(|effort| match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        // Templates and servers know no word beyond this one.
        Effort::High | Effort::Max => "high",
    });
    if matches!(switch, ThinkingSwitch::Template | ThinkingSwitch::TemplateAndEffort) {
        out.key("chat_template_kwargs").open('{');
        out.key("enable_thinking").plain(on);
        if let Some(word) = word {
            out.key("reasoning_effort").text(word);
        }
        out.close('}');
    }
    if matches!(switch, ThinkingSwitch::Effort | ThinkingSwitch::TemplateAndEffort) {
        match word {
            Some(word) => out.key("reasoning_effort").text(word),
            None if switch == ThinkingSwitch::TemplateAndEffort => {}
            None if !on => out.key("reasoning_effort").text("none"),
            // There is no word for it, and a model that can think does.
            None => context.ignored(if context.client == proto::Api::Messages { "thinking" } else { "think" }),
        }
    }
}

fn format(context: &mut Context<'_>, format: &Format<'_>, out: &mut Writer) {
    match format {
        Format::Text => {}
        Format::Json if context.quirks.json_object => out.key("response_format").raw(r#"{"type":"json_object"}"#),
        Format::Json => {
            context.emulated("format");
            let schema = r#"{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}}"#;
            out.key("response_format").raw(schema);
        }
        Format::Schema { name, schema, strict } => {
            out.key("response_format").open('{');
            out.key("type").raw("\"json_schema\"");
            out.key("json_schema").open('{');
            match name {
                Some(name) => out.key("name").string(name),
                None => out.key("name").raw("\"answer\""),
            }
            out.plain_field("strict", *strict);
            out.key("schema").json(*schema);
            out.close('}');
            out.close('}');
        }
    }
}

fn tools(context: &mut Context<'_>, request: &Request<'_>, out: &mut Writer) -> Result<(), Failure> {
    let named = match &request.tool_choice {
        ToolChoice::Named(name) => Some(name.text()),
        _ => None,
    };
    // A backend that cannot be told which tool gets no other to choose from.
    let only = named.as_ref().filter(|_| !context.quirks.named_tool_choice);
    let wanted = |tool: &&Tool<'_>| only.is_none_or(|only| tool.name.text() == *only);
    if request.tool_choice == ToolChoice::None || request.tools.is_empty() {
        return match named {
            Some(_) => Err(bad_request("`tool_choice` demands a tool that is not in `tools`")),
            None => Ok(()),
        };
    }
    let mut sent = request.tools.iter().filter(wanted).peekable();
    if sent.peek().is_none() {
        return Err(bad_request("`tool_choice` demands a tool that is not in `tools`"));
    }
    out.key("tools").open('[');
    sent.for_each(|one| tool(one, out));
    out.close(']');
    match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => {}
        ToolChoice::Required => out.key("tool_choice").raw("\"required\""),
        ToolChoice::Named(_) if only.is_some() => {
            context.emulated("tool_choice");
            out.key("tool_choice").raw("\"required\"");
        }
        ToolChoice::Named(name) => {
            out.key("tool_choice").open('{');
            out.key("type").raw("\"function\"");
            out.key("function").open('{');
            out.key("name").string(name);
            out.close('}');
            out.close('}');
        }
    }
    if request.one_tool_call && context.quirks.parallel_tool_calls {
        out.key("parallel_tool_calls").plain(false);
    }
    Ok(())
}

fn message(context: &mut Context<'_>, message: &Message<'_>, out: &mut Writer) -> Result<(), Failure> {
    let result = message.parts.iter().find_map(|part| if let Part::ToolResult(one) = part { Some(one) } else { None });
    out.open('{');
    out.key("role").raw(match message.role {
        Role::System => "\"system\"",
        Role::User => "\"user\"",
        Role::Assistant => "\"assistant\"",
        Role::Tool => "\"tool\"",
    });
    if let Some(result) = result {
        out.key("tool_call_id").string(&result.id);
        out.key("content").string(&result.text);
        out.close('}');
        if !result.media.is_empty() {
            // Only users may show images.
            context.emulated("images of tool results");
            out.open('{');
            out.key("role").raw("\"user\"");
            out.key("content").open('[');
            result.media.iter().try_for_each(|one| media(context, one, out))?;
            out.close(']');
            out.close('}');
        }
        return Ok(());
    }
    if message.parts.iter().any(|part| matches!(part, Part::Media(_))) {
        out.key("content").open('[');
        for part in &message.parts {
            match part {
                Part::Text(text) if !text.is_empty() => {
                    out.open('{');
                    out.key("type").raw("\"text\"");
                    out.key("text").string(text);
                    out.close('}');
                }
                Part::Media(one) => media(context, one, out)?,
                _ => {}
            }
        }
        out.close(']');
    } else {
        out.key("content").pieces(text_pieces(&message.parts));
    }
    if message.parts.iter().any(|part| matches!(part, Part::Thinking(_))) {
        if context.quirks.takes_thinking {
            out.key("reasoning_content").pieces(thinking_pieces(&message.parts));
        } else {
            context.ignored("messages[].thinking");
        }
    }
    if message.parts.iter().any(|part| matches!(part, Part::ToolCall(_))) {
        out.key("tool_calls").open('[');
        for part in &message.parts {
            let Part::ToolCall(call) = part else { continue };
            out.open('{');
            out.key("id").string(&call.id);
            out.key("type").raw("\"function\"");
            out.key("function").open('{');
            out.key("name").string(&call.name);
            with_arguments(&call.arguments, |object| out.key("arguments").text(object))?;
            out.close('}');
            out.close('}');
        }
        out.close(']');
    }
    out.close('}');
    Ok(())
}

fn media(context: &Context<'_>, media: &Media<'_>, out: &mut Writer) -> Result<(), Failure> {
    out.open('{');
    match media.media_type.strip_prefix("audio/") {
        None => {
            out.key("type").raw("\"image_url\"");
            out.key("image_url").open('{');
            out.key("url").pieces(["data:", &media.media_type, ";base64,", media.base64.as_quoted()]);
            out.close('}');
        }
        Some(format @ ("wav" | "mp3")) => {
            out.key("type").raw("\"input_audio\"");
            out.key("input_audio").open('{');
            out.key("data").string(&media.base64);
            out.key("format").text(format);
            out.close('}');
        }
        Some(_) => return Err(context.refusal("audio that is neither wav nor mp3")),
    }
    out.close('}');
    Ok(())
}
