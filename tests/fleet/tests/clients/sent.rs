//! Holds what a backend got against what the app sent: nothing may be missing without a word.

use serde_json::Value;

use crate::between::Asked;
use crate::conversation::{calls_arrived, is_told, role_of, strings, told_from, tools_arrived};
use crate::verdicts::Verdicts;

/// What has to become of a field, and of everything inside of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// The backend gets it at the same place.
    Same,
    /// The backend gets the value at this place, as a JSON pointer.
    At(&'static str),
    /// The backend gets this value for it there.
    As(&'static str, &'static str),
    /// The model is told it, in a message of the same role.
    Words,
    /// The model is told it, in a message of this role.
    WordsOf(&'static str),
    /// It stands somewhere in the messages, word for word.
    Somewhere,
    /// It is of a call that a model made, and the backend is told all calls: name, id and arguments.
    Call,
    /// It is told in these words, by a tool.
    Told(&'static str),
    /// It describes a tool, and the backend gets a tool of that name, with the same description and parameters.
    Tool,
    /// It says which kind of thing the object around it is.
    Form,
    /// It says what goes without saying.
    Default(&'static str),
    /// It has no effect and is named in `X-Fleet-Ignored`.
    Named,
    /// As above, under this name.
    NamedAs(&'static str),
    /// The context: the backend gets one, the client's or another, and another is named.
    Context,
    /// Herd keeps it for itself, and other checks look at what comes of it.
    Kept,
}

/// One row: the call, the field, and its fate before an Ollama and before a llama-server.
pub(crate) type Row = (&'static str, &'static str, Fate, Fate);

/// One value in a body: how it is called, and where it is.
struct Leaf<'a> {
    labels: Vec<String>,
    place: Vec<String>,
    value: &'a Value,
}

/// Looks at every field of `client`, which was sent to `call`, by the column of `rows` that `column` picks.
pub(crate) fn look(
    verdicts: &mut Verdicts,
    rows: &[Row],
    column: fn(&Row) -> Fate,
    call: &str,
    client: &Value,
    asked: &Asked,
    ignored: &str,
) {
    let mut leaves = Vec::new();
    walk(client, &mut Vec::new(), &mut Vec::new(), &mut leaves);
    let tools = tools_arrived(client, &asked.body);
    let names: Vec<&str> = ignored.split(',').map(str::trim).collect();
    let fields: Vec<Vec<String>> = leaves
        .iter()
        .map(|leaf| (1..=leaf.labels.len()).map(|depth| plain(&leaf.labels[..depth].concat())).collect())
        .collect();
    for name in names.iter().filter(|name| !name.is_empty()) {
        let is_a_row = rows.iter().any(|row| matches!(column(row), Fate::NamedAs(known) if known == *name));
        let is_sent = fields.iter().any(|prefixes| prefixes.iter().any(|field| field == name));
        let found = if is_a_row || is_sent { Ok(()) } else { Err(format!("`{name}` was not sent")) };
        verdicts.hold("ignored fields", found);
    }
    let mut at = 0;
    for leaf in leaves {
        let shown = leaf.labels.concat();
        let depth = (1..=leaf.labels.len()).rev().find_map(|depth| {
            let label = leaf.labels[..depth].concat();
            rows.iter().find(|row| call.starts_with(row.0) && row.1 == label).map(|row| (depth, row))
        });
        let Some((depth, row)) = depth else {
            verdicts.hold(&format!("{call} {shown}"), Err("no row says what becomes of it".to_owned()));
            continue;
        };
        // Instructions may stand behind the messages and still come first.
        if matches!(column(row), Fate::Words) && matches!(leaf.place[0].as_str(), "messages" | "input") {
            let text = leaf.value.as_str().unwrap_or_default();
            match told_from(&asked.body, at, text) {
                Some(place) => at = place,
                None => verdicts.hold("order", Err(format!("`{}` comes before what was said before it", short(text)))),
            }
            verdicts.hold("order", Ok(()));
        }
        let found = judge(column(row), row.1, &leaf, depth, client, asked, &names, &tools);
        let what = format!("{call} {}", row.1);
        verdicts.hold(&what, found.map_err(|why| format!("{shown} = {}: {why}", short(&leaf.value.to_string()))));
    }
}

pub(crate) fn short(text: &str) -> String {
    text.chars().take(160).collect()
}

/// Whether a value asks for nothing: there is nothing to lose.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

/// Lists all values that are no containers. Elements that say their `type` are called by it.
fn walk<'a>(value: &'a Value, labels: &mut Vec<String>, place: &mut Vec<String>, into: &mut Vec<Leaf<'a>>) {
    match value {
        _ if is_nothing(value) => {}
        Value::Array(all) => {
            for (index, one) in all.iter().enumerate() {
                labels.push(format!("[{}]", one["type"].as_str().unwrap_or_default()));
                place.push(index.to_string());
                walk(one, labels, place, into);
                labels.pop();
                place.pop();
            }
        }
        Value::Object(all) => {
            for (name, one) in all {
                labels.push(if labels.is_empty() { name.clone() } else { format!(".{name}") });
                place.push(name.replace('~', "~0").replace('/', "~1"));
                walk(one, labels, place, into);
                labels.pop();
                place.pop();
            }
        }
        _ => into.push(Leaf { labels: labels.clone(), place: place.clone(), value }),
    }
}

pub(crate) fn pointer(place: &[String]) -> String {
    place.iter().map(|step| format!("/{step}")).collect()
}

#[allow(clippy::too_many_arguments, reason = "one call, in one place")]
fn judge(
    fate: Fate,
    field: &str,
    leaf: &Leaf<'_>,
    depth: usize,
    client: &Value,
    asked: &Asked,
    names: &[&str],
    tools: &Result<(), String>,
) -> Result<(), String> {
    let got = |at: &str| asked.body.pointer(at);
    let must = |holds: bool, why: &dyn Fn() -> String| if holds { Ok(()) } else { Err(why()) };
    let is_at = |at: &str, wanted: &Value| {
        let found = got(at);
        must(found.is_some_and(|found| same(found, wanted)), &|| {
            format!("the backend got {} at {at}", found.map_or("nothing".to_owned(), |found| short(&found.to_string())))
        })
    };
    let is_named = |name: &str| must(names.contains(&name), &|| format!("`{name}` is not among the ignored {names:?}"));
    let text = || leaf.value.as_str().map_or_else(|| leaf.value.to_string(), str::to_owned);
    match fate {
        Fate::Same => is_at(&pointer(&leaf.place), leaf.value),
        Fate::At(at) => is_at(&format!("{at}{}", pointer(&leaf.place[depth..])), leaf.value),
        Fate::As(at, value) => is_at(at, &serde_json::from_str(value).unwrap()),
        Fate::Words => is_told(&asked.body, role_of(client, &leaf.place), &text()),
        Fate::WordsOf(role) => is_told(&asked.body, role, &text()),
        Fate::Somewhere => {
            must(strings(&asked.body["messages"]).contains(&text()), &|| "it stands nowhere in the messages".to_owned())
        }
        Fate::Call => calls_arrived(client, &asked.body),
        Fate::Told(words) => is_told(&asked.body, "tool", words),
        Fate::Tool => tools.clone(),
        Fate::Form | Fate::Kept => Ok(()),
        Fate::Default(value) => must(*leaf.value == serde_json::from_str::<Value>(value).unwrap(), &|| {
            format!("the row only knows what becomes of {value}")
        }),
        Fate::Named => is_named(&plain(field)),
        Fate::NamedAs(name) => is_named(name),
        Fate::Context => match got("/options/num_ctx") {
            Some(context) if same(context, leaf.value) => Ok(()),
            Some(context) if context.is_u64() => is_named("options.num_ctx"),
            other => Err(format!("the backend got {other:?} for a context")),
        },
    }
}

/// The name of a field without the kinds of elements.
fn plain(field: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in field.chars() {
        inside = (inside || c == '[') && c != ']';
        if !inside || c == '[' {
            out.push(c);
        }
    }
    out
}

/// Numbers count by their value: 1 is 1.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
