//! Asks one question through Herd and shows the answer while it comes.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parts::http;
use serde_json::{Value, json};

/// The question.
pub(crate) const QUESTION: &str = "What is the capital of France? Answer in one sentence.";

/// Loading a large model from a slow disk may take minutes before the first token.
const PATIENCE: Duration = Duration::from_secs(300);

/// The head of an answer that was shown.
pub(crate) struct Shown {
    /// Names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
}

impl Shown {
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == "x-fleet-request-id").map(|(_, value)| value.as_str())
    }
}

/// Asks `model` through `door`, in Ollama's format or in OpenAI's, and prints the answer token by token.
pub(crate) fn ask(door: SocketAddr, model: &str, ollama: bool) -> Result<Shown> {
    let messages = json!([{"role": "user", "content": QUESTION}]);
    let (path, body) = if ollama {
        ("/api/chat", json!({"model": model, "messages": messages, "options": {"num_predict": 300, "temperature": 0}}))
    } else {
        (
            "/v1/chat/completions",
            json!({"model": model, "messages": messages, "max_tokens": 300, "temperature": 0, "stream": true}),
        )
    };
    let mut answer =
        http::call(door, "POST", path, &[], body.to_string().as_bytes(), PATIENCE).context("asking herd")?;
    if answer.status != 200 {
        let text = answer.text().unwrap_or_default();
        bail!("herd answered {}: {text}", answer.status);
    }
    let mut said = false;
    print!("\n  ");
    while let Some(line) = answer.line().context("reading the answer")? {
        match token(&line, ollama) {
            Token::Text(text) => {
                said |= !text.is_empty();
                print!("{}", printable(&text));
                std::io::stdout().flush().context("showing the answer")?;
            }
            Token::Error(error) => bail!("the answer ended in an error: {error}"),
            Token::Nothing => {}
        }
    }
    println!();
    if said { Ok(Shown { headers: answer.headers }) } else { bail!("the model said nothing") }
}

#[derive(Debug, PartialEq)]
pub(super) enum Token {
    Text(String),
    Error(String),
    Nothing,
}

/// What one line of the stream says.
pub(super) fn token(line: &str, ollama: bool) -> Token {
    let json = if ollama { Some(line) } else { line.strip_prefix("data:").map(str::trim) };
    let Some(Ok(record)) = json.map(serde_json::from_str::<Value>) else { return Token::Nothing };
    let error = &record["error"];
    if let Some(text) = error.as_str().or(error["message"].as_str()) {
        return Token::Error(text.to_owned());
    }
    let message = if ollama { &record["message"] } else { &record["choices"][0]["delta"] };
    let text = ["content", "thinking", "reasoning_content", "reasoning"]
        .iter()
        .find_map(|key| message[*key].as_str().filter(|text| !text.is_empty()));
    text.map_or(Token::Nothing, |text| Token::Text(text.to_owned()))
}

/// What a model says may hold control characters; a terminal should not obey them.
fn printable(text: &str) -> String {
    text.chars().filter(|character| *character == '\n' || !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Token, printable, token};

    #[test]
    fn tokens_are_found_in_both_formats() {
        let text = |text: &str| Token::Text(text.to_owned());
        for (line, ollama, expected) in [
            (r#"{"message":{"role":"assistant","content":"Hi"},"done":false}"#, true, text("Hi")),
            (r#"{"message":{"content":"","thinking":"Hm"}}"#, true, text("Hm")),
            (r#"{"error":"gone"}"#, true, Token::Error("gone".into())),
            (r#"data: {"choices":[{"delta":{"content":"Hi"}}]}"#, false, text("Hi")),
            (r#"data: {"choices":[]}"#, false, Token::Nothing),
            (r#"data: {"error":{"message":"gone"}}"#, false, Token::Error("gone".into())),
            ("data: [DONE]", false, Token::Nothing),
            (": comment", false, Token::Nothing),
            ("", false, Token::Nothing),
        ] {
            assert_eq!(token(line, ollama), expected, "{line}");
        }
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(printable("a\x1b[31mb\nc\u{9b}d"), "a[31mb\ncd");
    }
}
