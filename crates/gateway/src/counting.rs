//! Answers how many tokens a prompt has, where no backend can say.

use bytes::Bytes;
use dialect::Failure;
use http::{HeaderValue, Response, StatusCode};
use proto::{Api, Outcome};

use crate::exchange::Exchange;
use crate::fleet::Count;
use crate::headers;
use crate::reply::{self, Reply};
use crate::worker::Worker;

/// The answer to a `count_tokens` that Herd gives itself; `None` when a backend with a tokenizer shall.
pub(crate) fn answer(worker: &Worker, exchange: &mut Exchange) -> Option<Response<Reply>> {
    let (text_bytes, images) = (exchange.scan.text_bytes, exchange.scan.images);
    let count = |model| worker.door().fleet().count(model, text_bytes, images);
    let counts: Vec<Count> = exchange.models().iter().map(count).collect();
    if counts.contains(&Count::Backend) {
        return None;
    }
    let estimate = counts.iter().zip(exchange.models()).find_map(|(count, model)| match count {
        Count::Estimate(tokens) => Some((*tokens, model)),
        _ => None,
    });
    let Some((tokens, model)) = estimate else {
        let failure = Failure::model_not_found(Api::CountTokens, &exchange.record.trace().original_model);
        let response = reply::failure(&failure, Api::CountTokens.dialect());
        exchange.record.end(Outcome::Rejected, response.status().as_u16(), Some(failure.message));
        return Some(response);
    };
    let mut response =
        reply::full(StatusCode::OK, "application/json", Bytes::from(format!("{{\"input_tokens\":{tokens}}}")));
    response.headers_mut().insert(headers::ESTIMATED, HeaderValue::from_static("input_tokens"));
    response.headers_mut().insert(headers::SERVED_MODEL, headers::value(model.as_str()));
    exchange.record.end(Outcome::Completed, 200, None);
    Some(response)
}
