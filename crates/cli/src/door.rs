//! Asks the running Herd through its door.
//!
//! Each question is one connection of its own: two seconds to connect, ten for the answer, at most 16 MiB of it.

mod lines;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, SERVER};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use node::settings::Settings;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::failure::Failure;
use crate::show::{clean, sentence};

pub(crate) use lines::Lines;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
const LARGEST_TOKEN: u64 = 4096;

/// The door of the Herd on this machine.
pub(crate) struct Door {
    addresses: Vec<SocketAddr>,
    token: Option<String>,
}

struct Answer {
    status: StatusCode,
    server: Option<String>,
    body: Bytes,
}

/// Why there is no answer.
enum Silence {
    Refused,
    ConnectTimedOut,
    AnswerTimedOut,
    TooLarge,
    NotHttp,
}

impl Door {
    /// The door that `settings` describe, and the token in their data directory, where there is one.
    pub(crate) fn new(settings: &Settings) -> Door {
        let addresses = settings.host.addresses().iter().map(|ip| SocketAddr::new(*ip, settings.port)).collect();
        Door { addresses, token: token(&settings.data_dir) }
    }

    /// What Herd answers to a GET of `path`.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        block_on(async {
            // Asked first, so that the token is shown to nothing that does not even call itself Herd.
            let address = self.find().await?;
            let answer = fetch(address, path, self.token.as_deref()).await.map_err(|silence| self.failed(&silence))?;
            understood(path, &answer)
        })
    }

    /// What Herd answers to `body`, sent to `path`, within `patience`.
    pub(crate) fn post(&self, path: &str, body: &Value, patience: Duration) -> Result<Value, Failure> {
        block_on(self.tell(path, body, patience))
    }

    /// As [`Door::post`], for those who wait for other things too.
    pub(crate) async fn tell(&self, path: &str, body: &Value, patience: Duration) -> Result<Value, Failure> {
        let address = self.find().await?;
        let body = Some(Bytes::from(body.to_string()));
        let asked = ask(address, path, self.token.as_deref(), body, patience).await;
        understood(path, &asked.map_err(|silence| self.failed(&silence))?)
    }

    /// The answer to `body`, sent to `path`, that comes line by line.
    pub(crate) async fn listen(&self, path: &str, body: &Value) -> Result<Lines, Failure> {
        let address = self.find().await?;
        let body = Bytes::from(body.to_string());
        let opened = lines::open(connect(address).await, address, path, self.token.as_deref(), body).await;
        match opened.map_err(|silence| self.failed(&silence))? {
            Ok(lines) => Ok(lines),
            Err(refused) => match understood(path, &refused) {
                Err(failure) => Err(failure),
                Ok(_) => Err(Failure::Failed(format!("Herd's answer to {path} is not understood."))),
            },
        }
    }

    /// The address where a Herd answers.
    async fn find(&self) -> Result<SocketAddr, Failure> {
        let mut last = Silence::Refused;
        for &address in &self.addresses {
            match fetch(address, "/api/version", None).await {
                Ok(answer) if is_herd(&answer) => return Ok(address),
                Ok(answer) => {
                    let who = who_answers(address, &answer).await;
                    return Err(Failure::NotRunning(format!(
                        "No Herd is running at {address}: {who} listens there. Ask at another port with --port N, or \
                         start Herd there with `herd serve --port N`."
                    )));
                }
                Err(Silence::Refused) => {}
                Err(silence) => {
                    last = silence;
                    break;
                }
            }
        }
        Err(self.failed(&last))
    }

    fn failed(&self, silence: &Silence) -> Failure {
        let at = self.addresses.first().map_or_else(String::new, ToString::to_string);
        match silence {
            Silence::Refused => Failure::NotRunning(format!("No Herd is running at {at}. Start it with `herd`.")),
            Silence::ConnectTimedOut => Failure::TimedOut(format!("No connection to {at} within 2 seconds.")),
            Silence::AnswerTimedOut => Failure::TimedOut(format!("No answer from {at} in time.")),
            Silence::TooLarge => Failure::Failed(format!("The answer from {at} is larger than 16 MiB.")),
            Silence::NotHttp => Failure::NotRunning(format!(
                "No Herd is running at {at}: another program listens there that does not speak HTTP."
            )),
        }
    }
}

/// Runs `future` on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no connection can be made: {error}")))?;
    runtime.block_on(future)
}

fn token(data_dir: &Path) -> Option<String> {
    use std::io::Read;
    let file = std::fs::File::open(data_dir.join("control.token")).ok()?;
    let mut text = String::new();
    file.take(LARGEST_TOKEN).read_to_string(&mut text).ok()?;
    let token = text.trim();
    (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then(|| token.to_owned())
}

fn understood(path: &str, answer: &Answer) -> Result<Value, Failure> {
    let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
    if answer.status.is_success() {
        return value.ok_or_else(|| Failure::Failed(format!("Herd's answer to {path} is not JSON.")));
    }
    let said = value.as_ref().and_then(|value| value["error"].as_str()).map(sentence);
    let said = said.unwrap_or_else(|| format!("Herd answered {} to {path}.", answer.status));
    Err(match answer.status.as_u16() {
        400 => Failure::Usage(said),
        401 | 403 => Failure::Refused(said),
        404 => Failure::NotFound(said),
        408 | 504 => Failure::TimedOut(said),
        _ => Failure::Failed(said),
    })
}

fn is_herd(answer: &Answer) -> bool {
    serde_json::from_slice::<Value>(&answer.body).is_ok_and(|value| value["herd"].is_string())
}

/// What listens at `address`, which answered `version` when asked for its version and is no Herd.
async fn who_answers(address: SocketAddr, version: &Answer) -> String {
    let status = fetch(address, "/fleet/status", None).await;
    if status.is_ok_and(|answer| {
        answer.status.is_success() && serde_json::from_slice::<Value>(&answer.body).is_ok_and(|value| value.is_object())
    }) {
        return "ollama-herd".to_owned();
    }
    if let Ok(value) = serde_json::from_slice::<Value>(&version.body)
        && let Some(number) = value["version"].as_str()
    {
        return format!("Ollama {}", clean(number));
    }
    match &version.server {
        Some(server) => format!("another program ({})", clean(server)),
        None => "another program".to_owned(),
    }
}

async fn fetch(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Answer, Silence> {
    ask(address, path, token, None, ANSWER_WITHIN).await
}

/// Sends `body`, where there is one, to `path`, and waits for the answer at most for `patience`.
async fn ask(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    body: Option<Bytes>,
    patience: Duration,
) -> Result<Answer, Silence> {
    let stream = connect(address).await?;
    tokio::time::timeout(patience, exchange(stream, address, path, token, body))
        .await
        .unwrap_or(Err(Silence::AnswerTimedOut))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Silence> {
    match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
        Err(_) => Err(Silence::ConnectTimedOut),
        Ok(Err(_)) => Err(Silence::Refused),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// A request of `path`, with `body` where there is one.
fn request(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    body: Option<Bytes>,
) -> Result<Request<Full<Bytes>>, Silence> {
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Full::new(body.unwrap_or_default())).map_err(|_| Silence::NotHttp)
}

async fn exchange(
    stream: TcpStream,
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    body: Option<Bytes>,
) -> Result<Answer, Silence> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Silence::NotHttp)?;
    let request = request(address, path, token, body)?;
    let answered = async move {
        let response = sender.send_request(request).await.map_err(|_| Silence::NotHttp)?;
        let status = response.status();
        let server = response.headers().get(SERVER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| if error.is::<LengthLimitError>() { Silence::TooLarge } else { Silence::NotHttp })?;
        Ok(Answer { status, server, body: body.to_bytes() })
    };
    // The connection ends by itself once its sender is gone; an error of it also reaches whoever waits for the answer.
    let (answer, _) = tokio::join!(answered, connection);
    answer
}
