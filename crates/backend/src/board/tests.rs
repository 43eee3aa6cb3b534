use std::sync::mpsc;

use proto::ApiSet;

use super::*;

type Told = mpsc::Receiver<Vec<Arc<BackendState>>>;

fn board(places: &[&str]) -> (Board, Told) {
    let (tell, told) = mpsc::channel();
    let places = places.iter().map(|text| Place::parse(text).unwrap()).collect();
    (Board::new(places, Box::new(move |states| tell.send(states).unwrap())), told)
}

fn report(kind: Option<BackendKind>, health: Health) -> Report {
    let portrait = kind.map(|kind| Portrait {
        kind,
        version: None,
        speaks: ApiSet::NONE,
        slots: Some(1),
        most_loaded: None,
        ignores_model_name: false,
        models: Vec::new(),
    });
    Report { sighting: Some(Sighting { portrait, guess: BackendKind::OpenAi, health }), note: None }
}

fn up(kind: BackendKind) -> Report {
    report(Some(kind), Health::Up)
}

fn ids(told: &Told) -> Vec<String> {
    told.try_iter().last().unwrap().iter().map(|state| state.id.to_string()).collect()
}

#[test]
fn names_do_not_depend_on_who_answers_first() {
    for order in [[0, 1, 2], [2, 1, 0]] {
        let (board, told) = board(&["gpu:8080", "127.0.0.1:8081", "127.0.0.1:8081/x"]);
        for at in order {
            assert!(told.try_recv().is_err(), "nothing is told before all were looked at");
            board.report(at, up(BackendKind::LlamaServer));
        }
        let states = told.try_recv().unwrap();
        let named = |at: usize| (states[at].id.as_str(), states[at].address.to_string());
        assert_eq!(named(0), ("llama-server", "http://gpu:8080".to_owned()));
        assert_eq!(named(1), ("llama-server-8081", "http://127.0.0.1:8081".to_owned()));
        assert_eq!(named(2), ("llama-server-8081-2", "http://127.0.0.1:8081/x".to_owned()));
        assert_eq!((states[0].link, states[1].link), (Link::Unencrypted, Link::Loopback));
    }
}

#[test]
fn a_name_stays_while_the_address_does() {
    let (board, told) = board(&["127.0.0.1:1", "127.0.0.1:2"]);
    board.report(0, up(BackendKind::LlamaServer));
    board.report(1, Report::default());
    assert_eq!(ids(&told), ["llama-server"]);
    board.report(0, Report::default());
    assert!(told.try_recv().unwrap().is_empty());
    board.report(1, up(BackendKind::LlamaServer));
    assert_eq!(ids(&told), ["llama-server-2"], "the other one may come back");
    board.report(0, up(BackendKind::LlamaServer));
    assert_eq!(ids(&told), ["llama-server", "llama-server-2"]);
    board.report(0, up(BackendKind::Vllm));
    assert_eq!(ids(&told), ["llama-server-2", "vllm"], "another program is another backend");
}

#[test]
fn the_owners_names_come_first() {
    let (board, told) = board(&["gpu:1", "gpu:2?name=vllm", "gpu:3?name=vllm", "gpu:4"]);
    board.report(0, up(BackendKind::Vllm));
    board.report(1, up(BackendKind::LlamaServer));
    board.report(2, up(BackendKind::LlamaServer));
    board.report(3, report(None, Health::Hung));
    assert_eq!(ids(&told), ["backend-4", "vllm", "vllm-1", "vllm-3"]);
}

#[test]
fn no_news_are_not_told() {
    let (board, told) = board(&["gpu:1?slots=7"]);
    board.report(0, up(BackendKind::Vllm));
    assert_eq!(told.try_recv().unwrap()[0].slots, Some(7), "the owner's word about slots counts");
    board.report(0, up(BackendKind::Vllm));
    assert!(told.try_recv().is_err());
    board.report(0, report(Some(BackendKind::Vllm), Health::Hung));
    assert_eq!(told.try_recv().unwrap()[0].health, Health::Hung);
}

#[tokio::test]
async fn a_look_is_waited_for_that_began_after_the_asking() {
    let (board, _told) = board(&["127.0.0.1:1"]);
    board.begin_look(0);
    board.report(0, up(BackendKind::Ollama));
    let id = BackendId::new("ollama");
    board.begin_look(0);
    let mut look = std::pin::pin!(board.look(&id));
    for step in ["asked", "the look from before ends", "another begins"] {
        tokio::select! {
            biased;
            () = &mut look => panic!("{step}: nothing new was seen"),
            () = std::future::ready(()) => {}
        }
        match step {
            "asked" => board.report(0, up(BackendKind::Ollama)),
            _ => assert!(!board.begin_look(0)),
        }
    }
    board.report(0, up(BackendKind::Ollama));
    look.await;
    board.look(&BackendId::new("nobody")).await;
}
