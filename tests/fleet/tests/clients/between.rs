//! Stands between Herd and a server and keeps what Herd asks for; before a stand-in Ollama, also gives its models a longer
//! memory and more abilities than they have, because agents send more than a small model can hold.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use fleet_tests::{Answer, send};
use serde_json::{Value, json};

/// Tokens that the models were trained for, as they tell.
pub(crate) const TRAINED: u64 = 131_072;
/// Tokens of context that such an Ollama gives when nobody says.
const DEFAULT: u64 = 4096;

/// A request that Herd sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Null where there is none.
    pub(crate) body: Value,
}

impl Asked {
    /// Whether it makes a model work. Loads, which say nothing to the model, do not.
    pub(crate) fn is_inference(&self) -> bool {
        let says = |field: &str| self.body[field].as_str().is_some_and(|text| !text.is_empty());
        self.method == "POST"
            && match self.path.split('?').next().unwrap_or_default() {
                "/api/chat" | "/v1/chat/completions" | "/v1/messages" => {
                    self.body["messages"].as_array().is_some_and(|all| !all.is_empty())
                }
                "/api/generate" => says("prompt") || says("suffix"),
                "/api/embed" | "/v1/embeddings" => self.body["input"].as_array().is_some_and(|all| !all.is_empty()),
                "/v1/responses" => !self.body["input"].is_null(),
                "/v1/completions" => says("prompt"),
                _ => false,
            }
    }
}

/// What a model is loaded with, and how often it was.
#[derive(Clone, Copy, Debug, Default)]
struct Loaded {
    context: u64,
    loads: usize,
}

#[derive(Default)]
struct Kept {
    asked: Vec<Asked>,
    loaded: BTreeMap<String, Loaded>,
}

/// The one that stands between. Its threads end with the test program.
pub(crate) struct Between {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    kept: Arc<Mutex<Kept>>,
}

impl Between {
    /// Starts one before the server at `behind`; `lengthens` if that is a stand-in Ollama.
    pub(crate) fn start(behind: &str, lengthens: bool) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (behind, shared) = (behind.to_owned(), kept.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behind, kept) = (behind.clone(), shared.clone());
                std::thread::spawn(move || while serve(&stream, &behind, lengthens, &kept).is_some() {});
            }
        });
        Between { url, kept }
    }

    /// What was asked for since the last time this was called.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.kept.lock().unwrap().asked)
    }

    /// How often models were loaded, all together.
    pub(crate) fn loads(&self) -> usize {
        self.kept.lock().unwrap().loaded.values().map(|loaded| loaded.loads).sum()
    }
}

/// Answers one request; `None` when the connection is over.
fn serve(stream: &TcpStream, behind: &str, lengthens: bool, kept: &Mutex<Kept>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let mut parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
    let asked = Asked { method: method.clone(), path: path.clone(), headers: headers.clone(), body: parsed.clone() };
    {
        let mut kept = kept.lock().unwrap();
        if lengthens {
            load(&mut kept.loaded, &asked);
        }
        kept.asked.push(asked);
    }
    if lengthens && parsed.is_object() {
        shorten(&path, &mut parsed);
        body = parsed.to_string().into_bytes();
    }
    let onwards: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| !matches!(*name, "host" | "content-length" | "connection" | "accept-encoding"))
        .collect();
    let mut answer = send(&format!("{behind}{path}"), &method, &onwards, &body).ok()?.finish();
    if lengthens && answer.status == 200 {
        lengthen(&path, &mut answer, &kept.lock().unwrap().loaded);
    }
    hand_over(stream, &method, &answer)
}

fn hand_over(mut stream: &TcpStream, method: &str, answer: &Answer) -> Option<()> {
    let mut out = format!("HTTP/1.1 {} said\r\n", answer.status);
    for (name, value) in &answer.headers {
        if !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection") {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if method == "HEAD" {
        out.push_str("\r\n");
    } else if answer.header("transfer-encoding").is_some() {
        out.push_str("transfer-encoding: chunked\r\n\r\n");
        for line in answer.body.split_inclusive('\n') {
            out.push_str(&format!("{:x}\r\n{line}\r\n", line.len()));
        }
        out.push_str("0\r\n\r\n");
    } else {
        out.push_str(&format!("content-length: {}\r\n\r\n{}", answer.body.len(), answer.body));
    }
    stream.write_all(out.as_bytes()).ok()
}

fn full_name(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

/// Keeps account of what an Ollama would have loaded: another context than the loaded one is another load.
fn load(loaded: &mut BTreeMap<String, Loaded>, asked: &Asked) {
    if !matches!(asked.path.as_str(), "/api/chat" | "/api/generate" | "/api/embed") {
        return;
    }
    let Some(name) = asked.body["model"].as_str().map(full_name) else { return };
    if asked.body["keep_alive"] == 0 && !asked.is_inference() {
        loaded.entry(name).or_default().context = 0;
        return;
    }
    let context = asked.body["options"]["num_ctx"].as_u64().unwrap_or(DEFAULT).min(TRAINED);
    let entry = loaded.entry(name).or_default();
    if entry.context != context {
        *entry = Loaded { context, loads: entry.loads + 1 };
    }
}

/// Takes out of a request what the model behind cannot do, so that it does the rest.
fn shorten(path: &str, body: &mut Value) {
    if !matches!(path, "/api/chat" | "/api/generate") {
        return;
    }
    let Some(fields) = body.as_object_mut() else { return };
    // It cuts a prompt in silence.
    fields.insert("truncate".to_owned(), json!(true));
    fields.remove("think");
    fields.remove("suffix");
}

/// Writes over what the server tells about its models.
fn lengthen(path: &str, answer: &mut Answer, loaded: &BTreeMap<String, Loaded>) {
    let mut told = answer.json();
    let generates = |can: &Value| !can.as_array().is_some_and(|can| can.contains(&json!("embedding")));
    match path {
        "/api/tags" | "/api/ps" => {
            for model in told["models"].as_array_mut().into_iter().flatten() {
                let known = loaded.get(model["name"].as_str().unwrap_or_default());
                if let Some(known) = known.filter(|_| path == "/api/ps" && model["details"]["family"] != "bert") {
                    model["context_length"] = json!(known.context);
                }
                if path == "/api/tags" && generates(&model["capabilities"]) {
                    model["details"]["context_length"] = json!(TRAINED);
                    model["capabilities"] = json!(["completion", "tools", "thinking", "insert"]);
                }
            }
        }
        "/api/show" if generates(&told["capabilities"]) => {
            let architecture = told["model_info"]["general.architecture"].as_str().unwrap_or("llama").to_owned();
            told["model_info"][format!("{architecture}.context_length")] = json!(TRAINED);
            told["capabilities"] = json!(["completion", "tools", "thinking", "insert"]);
        }
        _ => return,
    }
    answer.body = told.to_string();
}
