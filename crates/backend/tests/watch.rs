//! Servers come, go, hang and are replaced; what is no backend is left alone.

mod common;

use backend::{Pace, Place};
use common::{Reply, Stub, Watch, free_port, guessed, lazy, ok, quick, refused};
use proto::{Api, BackendKind, Health};
use std::time::Duration;

fn serves(models: &[&str]) -> impl Fn(&str, &str) -> Reply + Send + Sync + 'static {
    let entries: Vec<String> = models.iter().map(|id| format!(r#"{{"id":"{id}","object":"model"}}"#)).collect();
    let body = format!(r#"{{"object":"list","data":[{}]}}"#, entries.join(","));
    move |_, path| match path {
        "/v1/models" => ok(body.clone()),
        "/v1/chat/completions" => refused(405),
        _ => refused(404),
    }
}

fn ollama(_: &str, path: &str) -> Reply {
    match path {
        "/api/version" => ok(r#"{"version":"0.33.0"}"#),
        "/api/tags" | "/api/ps" => ok(r#"{"models":[]}"#),
        _ => refused(404),
    }
}

#[tokio::test]
async fn a_server_that_starts_late_dies_and_returns() {
    let port = free_port().await;
    let place = Place::parse(&format!("127.0.0.1:{port}")).unwrap();
    let mut watch = Watch::over(vec![guessed(place)], quick());
    watch.handle.first_look().await;
    assert!(watch.news.try_recv().is_err(), "a guess that does not answer is not shown");
    let stub = Stub::start_at(port, serves(&["a", "b"])).await;
    let states = watch.until("that it started", |states| !states.is_empty()).await;
    assert_eq!((states[0].id.as_str(), states[0].models.len()), ("openai", 2));
    drop(stub);
    let is_down = |health: &Health| matches!(health, Health::Down { .. });
    let states = watch.until("that it died", |states| is_down(&states[0].health)).await;
    assert_eq!(states[0].models.len(), 2, "kept as last seen");
    // Newer than before: what it can do is asked again.
    let _stub = Stub::start_at(port, |method, path| match path {
        "/v1/responses" => refused(405),
        _ => serves(&["a"])(method, path),
    })
    .await;
    let states = watch.until("that it returned", |states| states[0].health.is_up()).await;
    assert_eq!((states[0].id.as_str(), states[0].models.len()), ("openai", 1));
    assert!(states[0].speaks.has(Api::Responses));
}

#[tokio::test]
async fn a_guess_that_went_for_good_is_forgotten() {
    let stub = Stub::start(serves(&["a"])).await;
    let pace = Pace { forget: Duration::from_millis(50), ..quick() };
    let mut watch = Watch::over(vec![guessed(stub.place(""))], pace);
    watch.until("it", |states| !states.is_empty()).await;
    drop(stub);
    watch.until("that it is down", |states| states.iter().any(|state| !state.health.is_up())).await;
    watch.until("that it is forgotten", <[_]>::is_empty).await;
}

#[tokio::test]
async fn a_server_that_hangs_and_recovers() {
    let stub = Stub::start(serves(&["a"])).await;
    let mut watch = Watch::over(vec![stub.place("")], quick());
    watch.until("that it is up", |states| states.iter().any(|state| state.health.is_up())).await;
    stub.hold(Some("/"));
    let states = watch.until("that it hangs", |states| states[0].health == Health::Hung).await;
    assert_eq!(states[0].models.len(), 1, "kept as last seen");
    stub.hold(None);
    watch.until("that it recovered", |states| states[0].health.is_up()).await;
}

#[tokio::test]
async fn what_the_owner_named_is_shown_while_it_does_not_answer() {
    let silent = Stub::start(serves(&[])).await;
    silent.hold(Some("/"));
    let page = Stub::start(|_, _| ok("<html>")).await;
    let gone = Place::parse(&format!("127.0.0.1:{}?slots=2", free_port().await)).unwrap();
    let mut watch = Watch::over(vec![silent.place("?name=s"), page.place("?name=p"), gone], quick());
    let states = watch
        .until("all three", |states| {
            states.iter().filter(|state| state.health != Health::Hung).count() == 2 && states.len() == 3
        })
        .await;
    assert!(states[0].id.as_str().starts_with("backend-") && states[0].slots == Some(2));
    assert_eq!(states[0].health, Health::Down { reason: "refuses connections".to_owned() });
    assert!(matches!(&states[1].health, Health::Down { reason } if reason.contains("no inference server")));
    assert_eq!(states[2].health, Health::Hung);
}

#[tokio::test]
async fn what_must_never_be_used() {
    let page = "<html>not found</html>";
    let fleet = |name: &'static str, value: &'static str| {
        move |method: &str, path: &str| {
            let Reply(status, _, body) = ollama(method, path);
            Reply(status, vec![(name, value.to_owned())], body)
        }
    };
    let herd = Stub::start(fleet("X-Fleet-Node", "mac")).await;
    let ours = Stub::start(fleet("X-Fleet-Instance", "ourselves")).await;
    let newer = Stub::start(|method, path| match path {
        "/api/version" => ok(r#"{"version":"0.33.0","herd":"0.1.0"}"#),
        _ => ollama(method, path),
    })
    .await;
    let older = Stub::start(|method, path| match path {
        "/fleet/status" => ok(r#"{"fleet":{"nodes_total":1},"nodes":[]}"#),
        _ => serves(&["a"])(method, path),
    })
    .await;
    let policy = Stub::start(|method, path| match path {
        "/health" => ok(r#"{"ok":true,"version":"1.1.0","backends":["local"]}"#),
        _ => serves(&["local"])(method, path),
    })
    .await;
    let locked = Stub::start(|_, _| refused(401)).await;
    let web = Stub::start(move |_, _| Reply(404, Vec::new(), page.to_owned())).await;
    let stubs = [&herd, &ours, &newer, &older, &policy, &locked, &web];
    let expected = [
        "another Herd",
        "this Herd itself",
        "another Herd",
        "another Herd",
        "a router listens",
        "an API key",
        "no inference server",
    ];
    let places = stubs.iter().map(|stub| guessed(stub.place(""))).collect();
    let mut watch = Watch::over(places, quick());
    watch.handle.first_look().await;
    let notes = watch.handle.notes();
    for (stub, expected) in stubs.iter().zip(expected) {
        let place = format!("127.0.0.1:{}", stub.port);
        let note = notes.iter().find(|note| note.place == place).unwrap_or_else(|| panic!("a note: {expected}"));
        assert!(note.found.contains(expected) && note.found.contains(&place), "{}", note.found);
    }
    assert!(watch.news.try_recv().is_err(), "none of them is a backend");
    assert_eq!(web.seen().len(), 2, "a stranger is asked two questions");
    assert!(web.seen().iter().all(|(method, _)| method == "GET"));
    assert_eq!(herd.seen().len(), 1);
    // Only when the owner asks, it is looked at again.
    watch.handle.refresh_all();
    web.asked("/v1/models", 1).await;
}

#[tokio::test]
async fn another_herd_may_take_a_backends_place() {
    let stub = Stub::start(ollama).await;
    let mut watch = Watch::over(vec![guessed(stub.place(""))], quick());
    watch.until("the backend", |states| !states.is_empty()).await;
    stub.now(|method, path| {
        let Reply(status, _, body) = ollama(method, path);
        Reply(status, vec![("x-fleet-node", "mac".to_owned())], body)
    });
    watch.until("that it is no backend any more", <[_]>::is_empty).await;
    assert!(watch.handle.notes()[0].found.contains("another Herd"));
}

#[tokio::test]
async fn another_kind_of_server_may_take_its_place() {
    let stub = Stub::start(serves(&["a"])).await;
    let mut watch = Watch::over(vec![stub.place("")], quick());
    watch
        .until("the first", |states| {
            states.iter().any(|state| state.kind == BackendKind::OpenAi && state.health.is_up())
        })
        .await;
    stub.now(ollama);
    let states = watch.until("the second", |states| states[0].kind == BackendKind::Ollama).await;
    assert_eq!((states.len(), states[0].id.as_str(), states[0].models.len()), (1, "ollama", 0));
}

#[tokio::test]
async fn a_suspect_is_looked_at_now() {
    let stub = Stub::start(serves(&["a"])).await;
    let port = stub.port;
    let mut watch = Watch::over(vec![stub.place("")], lazy());
    let states = watch.until("that it is up", |states| states.iter().any(|state| state.health.is_up())).await;
    drop(stub);
    watch.handle.suspect(&states[0].id);
    watch.until("that it is down", |states| !states[0].health.is_up()).await;
    let _stub = Stub::start_at(port, serves(&["a"])).await;
    watch.handle.suspect(&states[0].id);
    watch.until("that it is up again", |states| states[0].health.is_up()).await;
    watch.handle.suspect(&proto::BackendId::new("nobody"));
}

#[tokio::test]
async fn models_are_listed_anew_when_asked() {
    let tags = |names: &'static str| {
        move |method: &str, path: &str| if path == "/api/tags" { ok(names) } else { ollama(method, path) }
    };
    let stub = Stub::start(tags(r#"{"models":[{"name":"a"}]}"#)).await;
    let mut watch = Watch::over(vec![stub.place("")], lazy());
    let states = watch.until("one model", |states| states.iter().any(|state| state.models.len() == 1)).await;
    stub.now(tags(r#"{"models":[{"name":"a"},{"name":"b"}]}"#));
    watch.handle.refresh(&states[0].id);
    watch.until("two models", |states| states[0].models.len() == 2).await;
}

#[tokio::test]
async fn nothing_is_told_while_nothing_changes() {
    let stub = Stub::start(serves(&["a"])).await;
    let mut watch = Watch::over(vec![stub.place("")], quick());
    watch.until("that it is up", |states| states.iter().any(|state| state.health.is_up())).await;
    stub.asked("/v1/models", 10).await;
    assert!(watch.news.try_recv().is_err());
}

#[tokio::test]
async fn it_ends_when_told_to_even_while_nobody_answers() {
    let stub = Stub::start(serves(&["a"])).await;
    stub.hold(Some("/"));
    let pace = Pace { answer: Duration::from_secs(3600), ..quick() };
    let mut watch = Watch::over(vec![stub.place("")], pace);
    stub.held(1).await;
    watch.stop.cancel();
    watch.task.join_next().await.unwrap().unwrap();
    // Nobody runs any more; asking is harmless.
    watch.handle.refresh_all();
    assert!(watch.handle.notes().is_empty());
}

#[tokio::test]
async fn a_huge_or_broken_answer_is_no_backend() {
    let huge = Stub::start(|_, path| match path {
        "/v1/models" => ok(format!(r#"{{"object":"list","data":[],"x":"{}"}}"#, "x".repeat(17 << 20))),
        _ => refused(404),
    })
    .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut greeter = tokio::task::JoinSet::new();
    greeter.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
        }
    });
    let ssh = Place::parse(&format!("127.0.0.1:{port}")).unwrap();
    let watch =
        Watch::over(vec![guessed(huge.place("")), guessed(ssh)], Pace { answer: Duration::from_secs(20), ..quick() });
    watch.handle.first_look().await;
    let mut found: Vec<String> = watch.handle.notes().into_iter().map(|note| note.found).collect();
    found.sort_by_key(|found| found.contains("speak HTTP"));
    assert!(found[0].contains("no inference server") && found[1].contains("does not speak HTTP"), "{found:?}");
}
