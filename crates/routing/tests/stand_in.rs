//! Which model answers for a name that nobody has.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod fixture;

use std::sync::Arc;

use fixture::{backend, model};
use proto::{BackendKind, BackendState, Capability, Model};
use routing::stand_in;

fn with(models: Vec<Model>) -> Arc<BackendState> {
    Arc::new(BackendState { models, ..backend("one", BackendKind::Ollama, None, &[]) })
}

fn able(name: &str, size: &str, capabilities: &[Capability]) -> Model {
    let context_trained = Some(131_072);
    Model { parameter_size: Some(size.to_owned()), capabilities: capabilities.to_vec(), context_trained, ..model(name) }
}

#[test]
fn a_large_model_with_tools_stands_in() {
    use Capability::{Completion, Embedding, Tools};
    let small = able("small", "1.5B", &[Completion, Tools]);
    let large = able("large", "32.0B", &[Completion, Tools]);
    let toolless = able("toolless", "70.0B", &[Completion]);
    let untold = able("untold", "70.0B", &[]);
    let vectors = able("vectors", "300.0B", &[Embedding]);
    let cloud = able("big:480b-cloud", "480B", &[Completion, Tools]);
    let narrow = Model { context_trained: Some(4096), ..able("narrow", "90.0B", &[Completion, Tools]) };
    for (models, best) in [
        (vec![&small, &large, &toolless, &untold, &vectors, &cloud, &narrow], Some("large")),
        (vec![&toolless, &untold], Some("untold")),
        (vec![&toolless, &vectors], Some("toolless")),
        (vec![&narrow, &toolless], Some("narrow")),
        (vec![&vectors, &cloud], None),
        (vec![], None),
    ] {
        let mut models: Vec<Model> = models.into_iter().cloned().collect();
        assert_eq!(stand_in(&[with(models.clone())]), best);
        models.reverse();
        let apart: Vec<_> = models.into_iter().map(|model| with(vec![model])).collect();
        assert_eq!(stand_in(&apart), best, "whichever backend has it");
    }
}

#[test]
fn equals_are_told_apart_by_name() {
    let twins = [model("b"), model("a")].map(|twin| with(vec![twin]));
    assert_eq!(stand_in(&twins), Some("a"));
}
