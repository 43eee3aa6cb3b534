//! The tokens an answer is made of, one by one, from the model, the request and the settings.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::models::Says;
use crate::text::draw_letters;

/// Tokens a tool call takes, its opening words not counted.
const CALL_TOKENS: u64 = 62;
/// Tokens each further call takes.
const MORE_CALL_TOKENS: u64 = 74;
/// Of these, the ones before the arguments begin.
const CALL_HEAD: u64 = 15;

/// A tool call as the model made it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// What one token brings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Text(Cow<'static, str>),
    Thinking(Cow<'static, str>),
    /// Part of a tool call: nothing is sent for it.
    Hidden,
}

/// Where an answer that is cut right after a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// In the open: the answer is just short.
    Clean,
    /// Inside the arguments of a tool call: an error.
    InArguments,
}

#[derive(Clone, Debug)]
enum Source {
    Cycle(&'static [&'static str], Option<u64>),
    Thoughts { thinking: &'static [&'static str], answer: &'static [&'static str], length: u64, parsed: bool },
    Call { words: &'static [&'static str], calls: u64 },
    Own(Vec<String>),
}

/// The whole answer of a model, as a function of the token's index.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    source: Source,
    /// Tokens of the source that are skipped because the prompt already ends with them.
    skip: u64,
    /// What is left of the token the prompt ends in the middle of.
    rest: Option<String>,
    pub(crate) calls: Vec<Call>,
}

/// What a script is made from.
#[derive(Default)]
pub(crate) struct Brief<'a> {
    /// Tools the request offers.
    pub(crate) tools: &'a [Value],
    /// Whether thoughts are told apart from the answer.
    pub(crate) think: bool,
    /// A JSON schema the answer must fit.
    pub(crate) schema: Option<&'a Value>,
    /// Length of the answer in tokens, for models that would stop by themselves.
    pub(crate) length: Option<u64>,
    /// Tool calls in one answer.
    pub(crate) calls: u64,
    /// The part of the answer that the prompt already holds.
    pub(crate) partial: &'a str,
    /// One token for ever.
    pub(crate) repeats: bool,
}

impl Script {
    /// The answer of a model that says `says` to a request like `brief`.
    pub(crate) fn new(says: Says, brief: &Brief<'_>) -> Script {
        let source = match says {
            _ if brief.repeats => Source::Cycle(&["na"], None),
            Says::Vectors => Source::Own(Vec::new()),
            _ if brief.schema.is_some() => {
                let text = sample(brief.schema.unwrap_or(&Value::Null), 0).to_string();
                Source::Own(text.chars().map(String::from).collect())
            }
            Says::Words(words) => Source::Cycle(words, Some(brief.length.unwrap_or(count(words)))),
            Says::Loop(words) => Source::Cycle(words, None),
            Says::Thoughts(thinking, answer) => {
                let length = brief.length.unwrap_or(count(thinking) + count(answer));
                Source::Thoughts { thinking, answer, length, parsed: brief.think }
            }
            Says::Call(words) if brief.tools.is_empty() => {
                Source::Cycle(words, Some(brief.length.unwrap_or(count(words))))
            }
            Says::Call(words) => Source::Call { words, calls: brief.calls.max(1) },
        };
        let calls = match &source {
            Source::Call { calls, .. } => (0..*calls).map(|_| call(&brief.tools[0])).collect(),
            _ => Vec::new(),
        };
        let mut script = Script { source, skip: 0, rest: None, calls };
        script.resume(brief.partial);
        script
    }

    /// The token at `index` of this answer; `None` when the answer is over.
    pub(crate) fn token(&self, index: u64) -> Option<Token> {
        match (&self.rest, index) {
            (Some(rest), 0) => Some(Token::Text(Cow::Owned(rest.clone()))),
            (Some(_), _) => self.raw(self.skip + index - 1),
            (None, _) => self.raw(self.skip + index),
        }
    }

    /// What it means to cut the answer after `taken` tokens.
    pub(crate) fn cut_after(&self, taken: u64) -> Cut {
        let Source::Call { words, calls } = &self.source else { return Cut::Clean };
        let at = taken.saturating_sub(count(words));
        let at = if at > CALL_TOKENS { (at - CALL_TOKENS) % MORE_CALL_TOKENS } else { at % CALL_TOKENS };
        let inside = at > CALL_HEAD && taken < count(words) + call_tokens(*calls);
        if inside { Cut::InArguments } else { Cut::Clean }
    }

    fn raw(&self, index: u64) -> Option<Token> {
        let text = |words: &'static [&'static str], at: u64| {
            let word = words[usize::try_from(at % count(words)).unwrap_or(0)];
            // A second round of a sentence needs its blank; endless models are quoted as they were recorded.
            Token::Text(Cow::Borrowed(word))
        };
        match &self.source {
            Source::Own(tokens) => {
                let token = tokens.get(usize::try_from(index).ok()?)?;
                Some(Token::Text(Cow::Owned(token.clone())))
            }
            Source::Cycle(words, None) => Some(text(words, index)),
            Source::Cycle(words, Some(length)) => (index < *length).then(|| match text(words, index) {
                Token::Text(word) if index > 0 && index.is_multiple_of(count(words)) => {
                    Token::Text(Cow::Owned(format!(" {word}")))
                }
                token => token,
            }),
            Source::Thoughts { thinking, answer, length, parsed } => {
                let thoughts = count(thinking);
                match text(
                    if index < thoughts { thinking } else { answer },
                    index.saturating_sub(if index < thoughts { 0 } else { thoughts }),
                ) {
                    _ if index >= *length => None,
                    Token::Text(word) if index < thoughts && *parsed => Some(Token::Thinking(word)),
                    Token::Text(word) if index == thoughts && !*parsed => {
                        Some(Token::Text(Cow::Owned(format!("</think> {word}"))))
                    }
                    Token::Text(word) if index > thoughts && (index - thoughts).is_multiple_of(count(answer)) => {
                        Some(Token::Text(Cow::Owned(format!(" {word}"))))
                    }
                    token => Some(token),
                }
            }
            Source::Call { words, calls } => match index {
                _ if index < count(words) => Some(text(words, index)),
                _ if index < count(words) + call_tokens(*calls) => Some(Token::Hidden),
                _ => None,
            },
        }
    }

    /// Goes on where `partial` stops, if `partial` is how this answer begins; else the answer starts over.
    fn resume(&mut self, partial: &str) {
        let mut left = partial;
        let mut index = 0;
        while !left.is_empty() {
            let Some(Token::Text(token)) = self.raw(index) else { return };
            index += 1;
            if let Some(rest) = left.strip_prefix(token.as_ref()) {
                left = rest;
            } else if let Some(rest) = token.strip_prefix(left) {
                self.rest = Some(rest.to_owned());
                break;
            } else {
                return;
            }
        }
        self.skip = index;
    }
}

fn count(words: &[&str]) -> u64 {
    u64::try_from(words.len()).unwrap_or(u64::MAX).max(1)
}

fn call_tokens(calls: u64) -> u64 {
    CALL_TOKENS + MORE_CALL_TOKENS * calls.saturating_sub(1)
}

fn call(tool: &Value) -> Call {
    let function = tool.get("function").unwrap_or(tool);
    let schema = function.get("parameters").or_else(|| function.get("input_schema")).unwrap_or(&Value::Null);
    let arguments = match sample(schema, 0) {
        Value::Object(arguments) => Value::Object(arguments),
        _ => json!({}),
    };
    let name = function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    Call { id: draw_letters(32), name, arguments }
}

/// A small value that fits `schema`; deeper than eight levels is null.
fn sample(schema: &Value, depth: u32) -> Value {
    if depth > 8 {
        return Value::Null;
    }
    if let Some(first) = schema.get("enum").and_then(|list| list.get(0)) {
        return first.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => json!("Let me look ."),
        Some("integer") => json!(7),
        Some("number") => json!(7.5),
        Some("boolean") => json!(true),
        Some("array") => json!([sample(schema.get("items").unwrap_or(&Value::Null), depth + 1)]),
        Some("object") => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let fields = properties.into_iter().flatten();
            Value::Object(fields.map(|(key, inner)| (key.clone(), sample(inner, depth + 1))).collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["a", " b", " c"];

    fn all(script: &Script) -> String {
        let mut text = String::new();
        for index in 0..50 {
            if let Some(Token::Text(token)) = script.token(index) {
                text.push_str(&token);
            }
        }
        text
    }

    #[test]
    fn an_answer_goes_on_where_the_prompt_stops() {
        for (partial, rest) in
            [("", "a b c"), ("a b", " c"), ("a b ", "c"), ("x", "a b c"), ("a b c", ""), ("a x", "a b c")]
        {
            let script = Script::new(Says::Words(WORDS), &Brief { partial, ..Brief::default() });
            assert_eq!(all(&script), rest, "{partial:?}");
        }
    }

    #[test]
    fn a_wished_length_repeats_or_cuts() {
        for (length, text) in [(2, "a b"), (5, "a b c a b")] {
            let script = Script::new(Says::Words(WORDS), &Brief { length: Some(length), ..Brief::default() });
            assert_eq!(all(&script), text);
        }
    }

    #[test]
    fn a_schema_is_kept() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}, "s": {"enum": ["x"]}}});
        let script = Script::new(Says::Words(WORDS), &Brief { schema: Some(&schema), ..Brief::default() });
        assert_eq!(all(&script), r#"{"n":7,"s":"x"}"#);
    }

    #[test]
    fn a_call_can_be_cut_before_or_in_its_arguments() {
        let tools = [json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}})];
        let script = Script::new(Says::Call(WORDS), &Brief { tools: &tools, ..Brief::default() });
        assert_eq!(script.calls[0].name, "f");
        for (taken, cut) in [(2, Cut::Clean), (5, Cut::Clean), (50, Cut::InArguments), (65, Cut::Clean)] {
            assert_eq!(script.cut_after(taken), cut, "{taken}");
        }
    }
}
