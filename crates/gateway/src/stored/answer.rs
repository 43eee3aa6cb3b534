//! What can be asked about stored responses, and their deletion.

use bytes::Bytes;
use dialect::{Cause, Failure, Page};
use http::{Method, Request, Response, StatusCode};
use proto::Dialect;

use crate::door::Door;
use crate::headers;
use crate::listing::percent_decoded;
use crate::reply::not_allowed;
use crate::reply::{self, Reply};

/// Paths of other calls than those about one response.
const CALLS: [&str; 2] = ["input_tokens", "compact"];
/// Parameters that are named as ignored.
const IGNORED_MOST: usize = 16;

/// The answer, if the path is that of a stored response. `owner`: the key of the client, where it needed one.
pub(crate) fn answer<B>(door: &Door, request: &Request<B>, owner: Option<&str>) -> Option<Response<Reply>> {
    let path = request.uri().path().strip_prefix("/v1/responses/")?;
    let (id, about) = path.split_once('/').map_or((path, None), |(id, about)| (id, Some(about)));
    if id.is_empty() || CALLS.contains(&id) {
        return None;
    }
    let id = percent_decoded(id);
    let query = parameters(request.uri().query().unwrap_or(""));
    let answered = match (about, request.method()) {
        (None, &Method::GET | &Method::HEAD) => shown(door, owner, &id, &query),
        (None, &Method::DELETE) => deleted(door, owner, &id),
        (None, _) => return Some(not_allowed("GET, HEAD, DELETE", Dialect::OpenAi)),
        (Some("input_items"), &Method::GET | &Method::HEAD) => items(door, owner, &id, &query),
        (Some("input_items"), _) => return Some(not_allowed("GET, HEAD", Dialect::OpenAi)),
        (Some("cancel"), &Method::POST) => cancelled(door, owner, &id),
        (Some("cancel"), _) => return Some(not_allowed("POST", Dialect::OpenAi)),
        (Some(_), _) => return None,
    };
    Some(match answered {
        Ok((body, ignored)) => {
            let mut response = reply::full(StatusCode::OK, "application/json", body);
            if !ignored.is_empty() {
                let named = ignored[..ignored.len().min(IGNORED_MOST)].join(", ");
                response.headers_mut().insert(headers::IGNORED, headers::value(&named));
            }
            response
        }
        Err(failure) => reply::failure(&failure, Dialect::OpenAi),
    })
}

/// A body, and the parameters that had no effect on it.
type Answered<'q> = Result<(Bytes, Vec<&'q str>), Failure>;

fn shown<'q>(door: &Door, owner: Option<&str>, id: &str, query: &'q [(String, String)]) -> Answered<'q> {
    let turn = door.responses().get(owner, id).ok_or_else(|| dialect::not_found(id))?;
    if query.iter().any(|(name, value)| name == "stream" && value != "false") {
        let text = "`stream` is not supported here: only the whole response is kept";
        return Err(Failure::new(Cause::BadRequest, text));
    }
    let others = query.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "stream");
    Ok((turn.response().clone(), others.collect()))
}

fn deleted<'q>(door: &Door, owner: Option<&str>, id: &str) -> Answered<'q> {
    if !door.responses().remove(owner, id) {
        return Err(dialect::not_found(id));
    }
    Ok((dialect::deleted(id), Vec::new()))
}

fn items<'q>(door: &Door, owner: Option<&str>, id: &str, query: &'q [(String, String)]) -> Answered<'q> {
    let turn = door.responses().get(owner, id).ok_or_else(|| dialect::not_found(id))?;
    let (page, others) = Page::read(query.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    Ok((turn.input_page(&page)?, others))
}

fn cancelled<'q>(door: &Door, owner: Option<&str>, id: &str) -> Answered<'q> {
    door.responses().get(owner, id).ok_or_else(|| dialect::not_found(id))?;
    let text = "`cancel` is not supported: only responses made with `background` could be cancelled, and none are";
    Err(Failure::new(Cause::BadRequest, text))
}

/// The parameters of a query, as forms write them (in short, `+` is a blank).
fn parameters(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decoded(&text.replace('+', " "));
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}
