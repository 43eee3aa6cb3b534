//! Responses that are kept for the next turn: what a request adds to them, and what is shown of them.
//!
//! A kept turn holds everything that the model was told and said so far, so that any turn can be continued whatever became
//! of those before it; the price is that a conversation of many turns is held many times, which the store bounds.

mod capture;
mod items;

use bytes::Bytes;
use serde_json::{Value, json};

pub use capture::Capture;

use crate::request::json::{Json, Kind};
use crate::request::writer::Writer;
use crate::{Cause, Failure, Storing};
use items::{history, inner, shown};

/// Items of a page where the client does not say, and the most that it may ask for: OpenAI's own.
const PAGE: usize = 20;
const PAGE_MOST: usize = 100;

/// A response that was kept, with all that was said before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    id: String,
    /// The items of the input, those of earlier turns included, as JSON with commas between them.
    input: Bytes,
    /// The response object.
    response: Bytes,
}

impl Turn {
    /// The turn with that `response` object to `input`, which is [`input_items`]' answer. `None` if the object has no id
    /// or no output.
    pub fn new(input: Bytes, response: Bytes) -> Option<Turn> {
        let id = {
            let object = Json::parse(std::str::from_utf8(&response).ok()?).ok()?;
            object.get("output").filter(|output| output.kind() == Kind::Array)?;
            object.get("id")?.string().filter(|id| !id.is_empty())?.text().into_owned()
        };
        Some(Turn { id, input, response })
    }

    /// The response's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        (self.id.len() + self.input.len() + self.response.len()) as u64
    }

    /// The response object.
    pub fn response(&self) -> &Bytes {
        &self.response
    }

    /// The `body` of a request that continues this turn, with everything that was said before its own input.
    ///
    /// Instructions are not carried over. `None` where the request has no input that could be continued with; what is
    /// wrong with it is best said by whoever gets the request.
    pub fn continued(&self, body: &[u8], storing: &Storing) -> Option<Bytes> {
        let range = storing.input.clone()?;
        let new = input_items(body, storing)?;
        let before = history(&self.input, &self.response);
        let mut whole = Vec::with_capacity(body.len() + before.len() + 64);
        whole.extend_from_slice(body.get(..range.start)?);
        whole.push(b'[');
        whole.extend_from_slice(before.as_bytes());
        if !before.is_empty() && !new.is_empty() {
            whole.push(b',');
        }
        whole.extend_from_slice(&new);
        whole.push(b']');
        whole.extend_from_slice(body.get(range.end..)?);
        Some(whole.into())
    }

    /// The list of the input's items that `/v1/responses/{id}/input_items` shows.
    ///
    /// Fails with 400 where the page cannot be had, naming the parameter.
    pub fn input_page(&self, page: &Page) -> Result<Bytes, Failure> {
        let mut items = shown(&self.id, &self.input);
        if !page.oldest_first {
            items.reverse();
        }
        if let Some(after) = &page.after {
            let at = items.iter().position(|item| item["id"] == after.as_str());
            let at = at.ok_or_else(|| bad(format!("`after`: no item with id '{}' is in the list", cut(after))))?;
            items.drain(..=at);
        }
        let has_more = items.len() > page.limit;
        items.truncate(page.limit);
        let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
        let (first, last) = (id(items.first()), id(items.last()));
        let list = json!({ "object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more });
        Ok(list.to_string().into())
    }
}

/// The items of the input of a request, as JSON with commas between them; a text becomes a message. `None` where there is
/// no input, or one that is neither a text nor items.
pub fn input_items(body: &[u8], storing: &Storing) -> Option<Bytes> {
    let input = std::str::from_utf8(body.get(storing.input.clone()?)?).ok()?;
    let json = Json::parse(input).ok()?;
    match json.kind() {
        Kind::Array => Some(Bytes::copy_from_slice(inner(json).as_bytes())),
        Kind::String => {
            let mut out = Writer::with_capacity(input.len() + 100);
            out.raw(r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"#);
            out.raw(json.as_str());
            let mut out = out.into_string();
            out.push_str("}]}");
            Some(out.into())
        }
        _ => None,
    }
}

/// Which of a list is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    limit: usize,
    oldest_first: bool,
    after: Option<String>,
}

impl Page {
    /// Reads the parameters `limit`, `order` and `after` of a query, and tells which others there are. Fails with 400
    /// where one makes no sense.
    pub fn read<'q>(query: impl Iterator<Item = (&'q str, &'q str)>) -> Result<(Page, Vec<&'q str>), Failure> {
        let mut page = Page { limit: PAGE, oldest_first: false, after: None };
        let mut others = Vec::new();
        for (name, value) in query {
            match (name, value) {
                ("limit", value) => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MOST).contains(limit));
                    page.limit = limit.ok_or_else(|| bad(format!("`limit` must be a number from 1 to {PAGE_MOST}")))?;
                }
                ("order", "asc") => page.oldest_first = true,
                ("order", "desc") => page.oldest_first = false,
                ("order", _) => return Err(bad("`order` must be asc or desc".to_owned())),
                ("after", id) => page.after = Some(id.to_owned()),
                (other, _) => others.push(other),
            }
        }
        Ok((page, others))
    }
}

/// What is said of a response that was deleted.
pub fn deleted(id: &str) -> Bytes {
    json!({ "id": id, "object": "response.deleted", "deleted": true }).to_string().into()
}

/// The refusal of a request that continues a response that is not kept.
pub fn previous_not_found(id: &str) -> Failure {
    let text = format!(
        "Previous response with id '{}' not found: it was not stored here, or was dropped to make room for others.",
        cut(id)
    );
    Failure::new(Cause::PreviousResponseNotFound, text)
}

/// The refusal of a question about a response that is not kept.
pub fn not_found(id: &str) -> Failure {
    Failure::new(Cause::NotFound, format!("Response with id '{}' not found.", cut(id)))
}

fn bad(text: String) -> Failure {
    Failure::new(Cause::BadRequest, text)
}

/// So much of an id as is repeated to a client.
fn cut(id: &str) -> &str {
    id.char_indices().nth(96).map_or(id, |(end, _)| &id[..end])
}

#[cfg(test)]
mod tests;
