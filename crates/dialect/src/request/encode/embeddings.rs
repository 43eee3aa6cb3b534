//! Writes `/api/embed` and `/v1/embeddings`.

use proto::Api;

use super::super::context::Context;
use super::super::writer::Writer;
use crate::request::decode::embeddings::Embed;

/// The texts that are to become vectors, and the length to which the answer's must still be cut.
pub(crate) fn embeddings(context: &mut Context<'_>, embed: &Embed<'_>, capacity: usize) -> (Writer, Option<u32>) {
    let mut out = Writer::with_capacity(capacity);
    out.open('{');
    out.key("model").text(context.target.model);
    let cut_later = embed.dimensions.filter(|_| !context.quirks.shortens_vectors);
    if cut_later.is_none() {
        out.plain_field("dimensions", embed.dimensions);
    } else {
        context.emulated("dimensions");
    }
    if context.quirks.ollama {
        // As Ollama's own layer does for these clients.
        out.plain_field("truncate", embed.truncate);
    } else {
        if embed.truncate == Some(true) {
            context.ignored("truncate");
        }
        if context.client == Api::OllamaEmbeddings && context.quirks.plain_vectors {
            // The older call gives vectors as the model makes them.
            out.key("embd_normalize").plain(-1);
        }
    }
    out.key("input").json(embed.input);
    out.close('}');
    (out, cut_later)
}
