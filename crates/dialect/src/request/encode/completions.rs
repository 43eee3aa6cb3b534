//! Writes `/v1/completions`.

use super::super::context::Context;
use super::super::writer::Writer;
use super::{chat, text_pieces};
use crate::Failure;
use crate::canon::{Format, Part, Request, Thinking};

/// The prompt that `request` is, to be continued as it is.
pub(crate) fn completions(
    context: &mut Context<'_>,
    request: &Request<'_>,
    capacity: usize,
) -> Result<Writer, Failure> {
    if !matches!(request.format, Format::Text) {
        return Err(context.refusal("format"));
    }
    let suffix = request.plain.as_ref().and_then(|plain| plain.suffix.as_ref());
    if suffix.is_some() && !context.quirks.fills_in {
        return Err(context.refusal("suffix"));
    }
    let parts = || request.messages.iter().flat_map(|message| &message.parts);
    if parts().any(|part| matches!(part, Part::Media(_))) {
        return Err(context.refusal("images"));
    }
    if request.thinking != Thinking::Unsaid {
        // There is no template in which a model could be told.
        context.ignored("think");
    }
    let mut out = Writer::with_capacity(capacity);
    chat::start(context, request, &mut out)?;
    out.plain_field("logprobs", request.logprobs);
    out.key("prompt").pieces(request.messages.iter().flat_map(|message| text_pieces(&message.parts)));
    if let Some(suffix) = suffix {
        out.key("suffix").string(suffix);
    }
    out.close('}');
    Ok(out)
}
