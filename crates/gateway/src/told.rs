//! What of an error's words may be written down. Servers quote: llama-server repeats all messages that it cannot parse,
//! vLLM the input, Ollama the tool call that its model botched. A trace keeps no prompt and no answer, so it keeps what
//! was said up to the quotation.

/// Most characters that are kept.
const MOST_CHARS: usize = 300;
/// The longest quoted text that still is a name: of a model, a field, a server.
const LONGEST_NAME: usize = 96;
/// What comes right before a quotation without marks (llama.cpp's chat parser, November 2026).
const QUOTES_NEXT: [&str; 2] = ["Failed to parse input at pos ", "Failed to parse messages: "];
/// Stands where something was left out.
const LEFT_OUT: char = '\u{2026}';

/// The beginning of `text` in which a server cannot have quoted a prompt or an answer.
pub(crate) fn tellable(text: &str) -> String {
    let end = QUOTES_NEXT.iter().filter_map(|words| text.find(words).map(|at| at + words.len())).min();
    let end = end.unwrap_or(text.len());
    let mut kept = String::new();
    let mut before = ' ';
    let mut rest = text[..end].chars();
    let mut is_cut = end < text.len();
    while let Some(next) = rest.next() {
        let after = rest.as_str();
        let is_list = next == '[' && !after.starts_with(']');
        if next == '{' || next == '=' || next.is_control() || is_list || kept.len() >= MOST_CHARS {
            is_cut = true;
            break;
        }
        kept.push(next);
        // An apostrophe is no quotation mark.
        let opens = matches!(next, '"' | '`') || (next == '\'' && !before.is_alphanumeric());
        if opens {
            let Some(name) = after.find(next).map(|at| &after[..at]).filter(|name| is_name(name)) else {
                is_cut = true;
                break;
            };
            kept.push_str(name);
            kept.push(next);
            rest = after[name.len() + next.len_utf8()..].chars();
        }
        before = next;
    }
    if is_cut {
        kept.push(LEFT_OUT);
    }
    kept
}

fn is_name(quoted: &str) -> bool {
    quoted.len() <= LONGEST_NAME && !quoted.contains(|c: char| c.is_whitespace() || c.is_control() || "{[=".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_quotes_is_left_out() {
        for (said, kept) in [
            ("model 'nope' not found", "model 'nope' not found"),
            ("option \"num_ctx\" must be of type integer", "option \"num_ctx\" must be of type integer"),
            ("the inference server `a` closed the connection", "the inference server `a` closed the connection"),
            ("the client's clock isn't right", "the client's clock isn't right"),
            ("cannot unmarshal into []api.Message", "cannot unmarshal into []api.Message"),
            ("Failed to parse messages: my secret; messages = x", "Failed to parse messages: \u{2026}"),
            ("Failed to parse input at pos 7: my secret", "Failed to parse input at pos \u{2026}"),
            ("error parsing tool call: raw='my secret'", "error parsing tool call: raw\u{2026}"),
            ("wrong input: [{\"role\":\"user\"}]", "wrong input: \u{2026}"),
            ("{\"detail\":1}", "\u{2026}"),
            ("line one\nmy secret", "line one\u{2026}"),
            ("unexpected \"my secret is\" here", "unexpected \"\u{2026}"),
            ("unexpected \"never closed", "unexpected \"\u{2026}"),
            ("", ""),
        ] {
            assert_eq!(tellable(said), kept, "{said}");
        }
    }

    #[test]
    fn nothing_long_is_kept() {
        let text = "\u{e4}".repeat(10_000);
        assert!(tellable(&text).len() < MOST_CHARS + 8);
        assert_eq!(tellable(&format!("'{text}'")), "'\u{2026}");
    }
}
