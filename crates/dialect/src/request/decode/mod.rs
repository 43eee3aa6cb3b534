//! Reads requests of every dialect into one form.

pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod embeddings;
mod link;
mod media;
pub(crate) mod messages;
pub(crate) mod ollama;
pub(crate) mod responses;
mod responses_input;
mod shared;
mod tools;
