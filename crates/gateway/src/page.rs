//! The page at `/dashboard`: what this node is doing, as plain HTML without scripts.

use std::fmt::Write as _;

use proto::Health;
use proto::view::StatusView;

/// The page.
pub(crate) fn status(status: &StatusView) -> String {
    let mut rows = String::new();
    for backend in &status.backends {
        let health = match &backend.health {
            Health::Up => "answers".to_owned(),
            Health::Loading => "is loading".to_owned(),
            Health::Hung => "does not answer".to_owned(),
            Health::Down { reason } => format!("is down: {reason}"),
        };
        let _ = write!(
            rows,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{} of {}<td>{}",
            escaped(&backend.id),
            escaped(&backend.kind),
            escaped(&backend.url),
            escaped(&health),
            backend.loaded,
            backend.models,
            backend.in_flight,
        );
    }
    let servers = if rows.is_empty() {
        "<p>No inference server found on this machine. Start Ollama or llama-server: it is noticed within seconds."
            .to_owned()
    } else {
        format!("<table><tr><th>Server<th>Kind<th>Address<th>State<th>Models loaded<th>Requests now{rows}</table>")
    };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Herd on {name}</title><style>{STYLE}</style>\
         <h1>Herd on {name}</h1><p>{reason} {in_flight} at work, {queued} waiting.{servers}\
         <h2>Use it</h2><pre>export OLLAMA_HOST={base}\nexport OPENAI_BASE_URL={base}/v1</pre>\
         <p>More: <code>herd status</code>, <code>herd traces</code>, <code>herd why ID</code>. Herd {version}.</html>",
        name = escaped(&status.name),
        reason = escaped(&status.share.reason),
        in_flight = status.in_flight,
        queued = status.queued,
        base = escaped(&format!("http://{}", status.listening.first().map_or("localhost:11435", String::as_str))),
        version = escaped(&status.version),
    )
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
     padding:0 1rem}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;\
     border-bottom:1px solid #8884}pre{padding:.8rem;background:#8882;overflow-x:auto}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_markup() {
        assert_eq!(escaped("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }
}
