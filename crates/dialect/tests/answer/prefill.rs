//! The beginning of an answer that the client wrote itself.

use dialect::{Expect, translate as translate_request};
use proptest::collection::vec;
use proptest::prelude::*;
use proto::{Api, BackendKind};
use serde_json::json;

use super::client::hear;
use super::properties::cut;
use super::upstream::{Act, answer, call, say, think};
use super::{expect, translate};

const PAIRS: [(Api, Api); 4] = [
    (Api::ChatCompletions, Api::OllamaChat),
    (Api::Responses, Api::OllamaChat),
    (Api::Messages, Api::OllamaChat),
    (Api::Messages, Api::ChatCompletions),
];

fn began(client: Api, upstream: Api, stream: bool, prefill: &str) -> Expect {
    Expect { prefill: Some(prefill.to_owned()), ..expect(client, upstream, stream) }
}

#[test]
fn only_an_answer_that_repeats_its_beginning_loses_it() {
    for (acts, expected) in [
        // As Ollama does with a template of the engine's: the beginning and the first token come in one piece.
        (vec![say("A river is wide"), say(" and deep")], " wide and deep"),
        (vec![say("A river isA river is"), say(" wide")], "A river is wide"),
        (vec![say("A"), say(" river"), say(" is"), say(" wide")], " wide"),
        (vec![say("A river is")], ""),
        // It began anew.
        (vec![say("A river"), say(" carries water")], "A river carries water"),
        (vec![say("Rivers are wide")], "Rivers are wide"),
        (vec![say("A river")], "A river"),
        (vec![], ""),
        (vec![think("Hm."), say("A river is wide")], " wide"),
        (vec![say("A river"), call("a", "f", json!({}))], "A river"),
        (vec![call("a", "f", json!({}))], ""),
    ] {
        for (client, upstream) in PAIRS {
            for stream in [true, false] {
                let answer = answer(upstream, stream, &acts, "stop");
                let done = translate(began(client, upstream, stream, "A river is"), [&answer[..]]);
                assert_eq!(done.failure, None);
                let heard = hear(client, stream, &done.text);
                assert_eq!(heard.text, expected, "{client:?} {acts:?}");
                assert_eq!(heard.calls.len(), acts.iter().filter(|act| matches!(act, Act::Call(..))).count());
            }
        }
    }
}

#[test]
fn what_is_clear_is_said_at_once() {
    let expect = began(Api::ChatCompletions, Api::OllamaChat, true, "ab");
    let mut translator = dialect::AnswerTranslator::new(expect, super::ID, super::NOW_MS);
    for (text, is_said) in [("a", false), ("x", true), ("a", true)] {
        let mut out = Vec::new();
        translator
            .feed(format!("{}\n", json!({"message": {"content": text}, "done": false})).as_bytes(), &mut out)
            .unwrap();
        assert_eq!(!out.is_empty(), is_said, "{text}");
        assert_eq!(translator.has_content(), is_said);
    }
}

#[test]
fn requests_tell_how_the_answer_begins() {
    let user = json!({"role": "user", "content": "Hi"});
    let blocks = json!([{"type": "text", "text": "A \"river\""}, {"type": "text", "text": "is"}]);
    let tool = json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}]);
    for (client, kind, content, expected) in [
        (Api::Messages, BackendKind::Ollama, json!("A river"), Some("A river")),
        (Api::Messages, BackendKind::Ollama, blocks, Some("A \"river\"\nis")),
        (Api::Messages, BackendKind::Ollama, tool, None),
        (Api::Messages, BackendKind::Ollama, json!(""), None),
        (Api::ChatCompletions, BackendKind::Ollama, json!("A river"), Some("A river")),
    ] {
        for last in [true, false] {
            let mut messages = vec![user.clone(), json!({"role": "assistant", "content": content})];
            if !last {
                messages.push(user.clone());
            }
            let body = json!({"model": "m", "max_tokens": 9, "messages": messages}).to_string();
            let prefill = translate_request(client, kind, "there", body.as_bytes()).unwrap().expect.prefill;
            assert_eq!(prefill.as_deref(), expected.filter(|_| last), "{client:?} {body}");
        }
    }
    // Ollama's clients get what an Ollama says.
    let body = json!({"model": "m", "messages": [user, {"role": "assistant", "content": "A"}]}).to_string();
    let request = translate_request(Api::OllamaChat, BackendKind::LlamaServer, "there", body.as_bytes()).unwrap();
    assert_eq!(request.expect.prefill, None);
}

proptest! {
    #[test]
    fn how_it_is_said_and_cut_changes_nothing(
        begins in "[ab\"é\n😀]{1,4}",
        rest in "[ab\"é\n😀]{0,6}",
        repeats: bool,
        tokens in vec(1usize..4, 1..4),
        sizes in vec(1usize..40, 1..4),
    ) {
        let text = if repeats { format!("{begins}{rest}") } else { rest };
        let expected = text.strip_prefix(&begins).unwrap_or(&text);
        let letters: Vec<char> = text.chars().collect();
        let mut acts = Vec::new();
        let (mut at, mut sizes_of_tokens) = (0, tokens.iter().cycle());
        while at < letters.len() {
            let end = (at + sizes_of_tokens.next().unwrap()).min(letters.len());
            acts.push(say(&letters[at..end].iter().collect::<String>()));
            at = end;
        }
        for (client, upstream) in PAIRS {
            for stream in [true, false] {
                let answer = answer(upstream, stream, &acts, "stop");
                let done = translate(began(client, upstream, stream, &begins), cut(&answer, &sizes));
                prop_assert_eq!(&done.failure, &None);
                prop_assert_eq!(&hear(client, stream, &done.text).text, expected, "{:?}", client);
            }
        }
    }
}
