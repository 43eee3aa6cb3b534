//! Reads `/v1/completions`.

use super::super::context::Context;
use super::super::json::{Json, Quoted};
use super::super::object::Object;
use super::{chat, ollama, shared};
use crate::Failure;
use crate::canon::{Plain, Request};

/// The request in `object`, and the prompt if it is to be repeated before the answer.
pub(crate) fn decode<'a>(
    context: &mut Context<'_>,
    mut object: Object<'a>,
) -> Result<(Request<'a>, Option<String>), Failure> {
    let mut request = Request { model: object.string("model")?.unwrap_or_default(), ..Request::default() };
    let prompt = prompt(&mut object)?;
    let echo = object.bool("echo")?.unwrap_or(false).then(|| prompt.text().into_owned());
    if echo.is_some() {
        context.emulated("echo");
    }
    request.messages.push(chat::user_text(prompt));
    request.plain = Some(Plain { suffix: object.string("suffix")?.filter(|suffix| !suffix.is_empty()) });
    shared::sampling(&mut object, &mut request)?;
    shared::stream(context, &mut object, &mut request)?;
    shared::stop(context, &mut object, "stop", &mut request)?;
    shared::only_one(context, &mut object, "n")?;
    shared::only_one(context, &mut object, "best_of")?;
    request.max_tokens = object.count("max_tokens")?;
    request.logprobs = match object.take("logprobs").filter(|logprobs| !matches!(logprobs.bool(), Some(false))) {
        None => None,
        Some(logprobs) => {
            let count = logprobs.integer().and_then(|count| u32::try_from(count).ok());
            Some(count.ok_or_else(|| object.must_be("logprobs", "a number that is not negative"))?)
        }
    };
    if let Some(options) = object.object("options")? {
        ollama::options(context, options, &mut request)?;
    }
    context.rest(object)?;
    Ok((request, echo))
}

/// One text; several, or tokens, are refused.
fn prompt<'a>(object: &mut Object<'a>) -> Result<Quoted<'a>, Failure> {
    let Some(prompt) = object.take("prompt") else { return Ok(Quoted::default()) };
    let mut elements = prompt.elements();
    let only = elements.next().filter(|_| elements.next().is_none());
    prompt.string().or(only.and_then(Json::string)).ok_or_else(|| object.must_be("prompt", "one string"))
}
