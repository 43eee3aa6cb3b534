//! Answers how many tokens the input of a request has: `/v1/responses/input_tokens`.

use std::sync::Arc;

use bytes::Bytes;
use dialect::Failure;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use proto::{Api, Dialect, Outcome};

use crate::exchange::Exchange;
use crate::fleet::Count;
use crate::headers;
use crate::record::Record;
use crate::reply::{self, Reply};
use crate::worker::Worker;

/// Bytes of text that a token stands for, where nothing was counted yet.
const TOKEN_BYTES: u64 = 4;

/// Whether `path` asks for that.
pub(crate) fn is_count(path: &str) -> bool {
    path == "/v1/responses/input_tokens"
}

/// The number of tokens, earlier turns included, as an estimate; which it is said to be.
pub(crate) async fn count(worker: &Arc<Worker>, request: Request<Incoming>, record: Box<Record>) -> Response<Reply> {
    let (parts, body) = request.into_parts();
    let (counted, mut record) = match Exchange::read(worker.clone(), Api::Responses, parts, body, record).await {
        Err(refused) => (Err(refused.0), refused.1),
        Ok(exchange) => (counted(worker, &exchange), exchange.record),
    };
    match counted {
        Ok(tokens) => {
            let body = format!("{{\"object\":\"response.input_tokens\",\"input_tokens\":{tokens}}}");
            let mut response = reply::full(StatusCode::OK, "application/json", Bytes::from(body));
            response.headers_mut().insert(headers::ESTIMATED, HeaderValue::from_static("input_tokens"));
            record.end(Outcome::Completed, 200, None);
            response
        }
        Err(failure) => {
            let response = reply::failure(&failure, Dialect::OpenAi);
            record.end(Outcome::Rejected, response.status().as_u16(), Some(failure.message));
            response
        }
    }
}

fn counted(worker: &Worker, exchange: &Exchange) -> Result<u64, Failure> {
    let (text_bytes, images) = (exchange.scan.text_bytes, exchange.scan.images);
    let counts = exchange.models().iter().map(|model| worker.door().fleet().count(model, text_bytes, images));
    let known = counts.into_iter().find(|count| *count != Count::UnknownModel);
    match known {
        Some(Count::Estimate(tokens)) => Ok(tokens),
        // Those who count do so in another dialect only.
        Some(Count::Backend) => Ok(text_bytes.div_ceil(TOKEN_BYTES)),
        Some(Count::UnknownModel) | None => {
            Err(Failure::model_not_found(Api::Responses, &exchange.record.trace().original_model))
        }
    }
}
