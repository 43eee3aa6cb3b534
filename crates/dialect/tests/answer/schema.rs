//! Holds JSON against the descriptions in `tests/schemas`.

use std::path::Path;
use std::sync::LazyLock;

use proto::{Api, Dialect};
use serde_json::{Map, Value};

/// The objects of one dialect.
pub(crate) struct Schema {
    objects: Map<String, Value>,
    names: Map<String, Value>,
}

impl Schema {
    pub(crate) fn of(dialect: Dialect) -> &'static Schema {
        static SCHEMAS: [LazyLock<Schema>; 3] = [
            LazyLock::new(|| Schema::read("ollama.json")),
            LazyLock::new(|| Schema::read("openai.json")),
            LazyLock::new(|| Schema::read("anthropic.json")),
        ];
        match dialect {
            Dialect::Ollama => &SCHEMAS[0],
            Dialect::OpenAi => &SCHEMAS[1],
            Dialect::Anthropic => &SCHEMAS[2],
        }
    }

    fn read(name: &str) -> Schema {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas").join(name);
        let mut file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut part = |name: &str| file[name].as_object_mut().map(std::mem::take).unwrap_or_default();
        Schema { objects: part("objects"), names: part("names") }
    }

    /// Panics, naming the place, unless `value` is such an object.
    pub(crate) fn check(&self, object: &str, value: &Value) {
        if let Err(wrong) = self.object(object, value) {
            panic!("{object}{wrong}\n{value}");
        }
    }

    /// Checks the event, whose type names its object.
    pub(crate) fn check_event(&self, event: &Value) {
        self.check(event["type"].as_str().unwrap(), event);
    }

    fn object(&self, name: &str, value: &Value) -> Result<(), String> {
        let described = self.objects.get(name).and_then(Value::as_object);
        let described = described.unwrap_or_else(|| panic!("{name} is not described"));
        let Some(members) = value.as_object() else { return Err(": no object".to_owned()) };
        for (described, kind) in described {
            let name = described.trim_end_matches(['?', '+']);
            match members.get(name) {
                Some(value) => self.fits(kind.as_str().unwrap(), value).map_err(|wrong| format!(".{name}{wrong}"))?,
                None if name != described || name == "..." => {}
                None => return Err(format!(".{name}: missing")),
            }
        }
        let any = described.get("...").and_then(Value::as_str);
        for (name, value) in members {
            if ["", "?", "+"].iter().any(|sign| described.contains_key(&format!("{name}{sign}"))) {
                continue;
            }
            match any {
                Some(kind) => self.fits(kind, value).map_err(|wrong| format!(".{name}{wrong}"))?,
                None => return Err(format!(".{name}: not described")),
            }
        }
        Ok(())
    }

    fn fits(&self, kind: &str, value: &Value) -> Result<(), String> {
        let kind = self.names.get(kind).and_then(Value::as_str).unwrap_or(kind);
        let mut wrong = Vec::new();
        for one in alternatives(kind) {
            match self.fits_one(one, value) {
                Ok(()) => return Ok(()),
                Err(why) => wrong.push(why),
            }
        }
        // What is wrong inside says more than that it is something else altogether.
        Err(wrong.into_iter().max_by_key(String::len).unwrap())
    }

    fn fits_one(&self, kind: &str, value: &Value) -> Result<(), String> {
        let is_good = match kind {
            "any" => true,
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            "object" => value.is_object(),
            "'true'" | "'false'" if value.is_boolean() => *value == (kind == "'true'"),
            _ if kind.starts_with('\'') => value == kind.trim_matches('\''),
            _ if kind.starts_with('[') => {
                let inner = kind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap();
                let Some(elements) = value.as_array() else { return Err(": no list".to_owned()) };
                for (at, element) in elements.iter().enumerate() {
                    self.fits(inner, element).map_err(|wrong| format!("[{at}]{wrong}"))?;
                }
                true
            }
            _ => return self.object(kind, value),
        };
        if is_good { Ok(()) } else { Err(format!(": {value} is not {kind}")) }
    }
}

/// The alternatives of `kind`, those inside brackets apart.
fn alternatives(kind: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, sign) in kind.char_indices() {
        match sign {
            '[' => depth += 1,
            ']' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(kind[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(kind[start..].trim());
    parts
}

/// Checks every record of `answer`, which is `api`'s, and the order of those that have one.
pub(crate) fn check_answer(api: Api, stream: bool, answer: &str) {
    let schema = Schema::of(api.dialect());
    if !stream {
        let whole: Value = serde_json::from_str(answer).unwrap();
        return schema.check(whole_name(api), &whole);
    }
    match api {
        Api::OllamaChat | Api::OllamaGenerate => {
            for line in answer.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let line_name = if api == Api::OllamaChat { "ChatLine" } else { "GenerateLine" };
                schema.check(if line["done"] == true { whole_name(api) } else { line_name }, &line);
            }
        }
        Api::Responses | Api::Messages => {
            let events = super::client::data(answer);
            events.iter().for_each(|event| schema.check_event(event));
            if api == Api::Responses {
                in_order(&events);
            }
        }
        _ => {
            let name = if api == Api::Completions { "CompletionChunk" } else { "ChatCompletionChunk" };
            let chunks = super::client::data(answer);
            chunks.iter().filter(|chunk| **chunk != "[DONE]").for_each(|chunk| schema.check(name, chunk));
        }
    }
}

fn whole_name(api: Api) -> &'static str {
    match api {
        Api::OllamaChat => "ChatLast",
        Api::OllamaGenerate => "GenerateLast",
        Api::Completions => "Completion",
        Api::Responses => "Response",
        Api::Messages => "Message",
        _ => "ChatCompletion",
    }
}

/// Checks that items come one after another, each from its beginning to its end, and that all events are numbered.
fn in_order(events: &[Value]) {
    let mut path = String::new();
    let mut items = 0;
    let last_of = |kind: &str| matches!(kind, "completed" | "incomplete" | "failed");
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
        let before = path.rsplit(' ').next().unwrap().to_owned();
        let allowed = match kind {
            "created" => before.is_empty(),
            "in_progress" => before == "created",
            "output_item.added" => before == "in_progress" || before == "output_item.done",
            "content_part.added" => before == "output_item.added",
            "output_text.delta" => before == "content_part.added" || before == kind,
            "output_text.done" => before == "content_part.added" || before == "output_text.delta",
            "content_part.done" => before == "output_text.done",
            "reasoning_summary_part.added" => before == "output_item.added",
            "reasoning_summary_text.delta" => before == "reasoning_summary_part.added" || before == kind,
            "reasoning_summary_text.done" => before == "reasoning_summary_text.delta",
            "reasoning_summary_part.done" => before == "reasoning_summary_text.done",
            "function_call_arguments.delta" => before == "output_item.added" || before == kind,
            "function_call_arguments.done" => {
                before == "output_item.added" || before == "function_call_arguments.delta"
            }
            "output_item.done" => {
                ["content_part.done", "reasoning_summary_part.done", "function_call_arguments.done"].contains(&&*before)
            }
            "failed" => !before.is_empty() && !last_of(&before),
            _ => before == "in_progress" || before == "output_item.done",
        };
        assert!(allowed, "{kind} after{path}");
        items += u64::from(kind == "output_item.added");
        if let Some(index) = event["output_index"].as_u64() {
            assert_eq!(index + 1, items, "{event}");
        }
        for part in ["content_index", "summary_index"] {
            assert!(event.get(part).is_none_or(|index| *index == 0), "{event}");
        }
        path = format!("{path} {kind}");
    }
    assert!(last_of(path.rsplit(' ').next().unwrap()), "{path}");
}
