//! What holds for any answer.

use dialect::{AnswerTranslator, Expect, ForcedTool};
use proptest::collection::vec;
use proptest::prelude::*;
use proto::Api;
use serde_json::json;

use super::client::hear;
use super::upstream::{Act, answer};
use super::{ID, NOW_MS, PAIRS, expect, forced_one, translate};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{1,6}", any::<String>()]
}

pub(crate) fn acts() -> impl Strategy<Value = Vec<Act>> {
    let call = ("[a-z]{0,3}", "[a-z_]{1,8}", text())
        .prop_map(|(id, name, city)| Act::Call(id, name, json!({"city": city, "deep": {"n": [1, null]}})));
    // In the order in which a model does things: whole answers tell no other.
    (vec(text().prop_map(Act::Think), 0..3), vec(text().prop_map(Act::Say), 0..4), vec(call, 0..3))
        .prop_map(|(thinking, text, calls)| [thinking, text, calls].concat())
}

pub(crate) fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for &size in sizes.iter().cycle().take(if sizes.is_empty() { 0 } else { bytes.len() }) {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

fn all_kinds() -> impl Strategy<Value = Expect> {
    let forced = prop_oneof![Just(None), Just(forced_one()), Just(Some(ForcedTool::Any))];
    let upstream = prop::sample::select(vec![
        Api::OllamaChat,
        Api::OllamaGenerate,
        Api::ChatCompletions,
        Api::Completions,
        Api::OllamaEmbed,
        Api::Embeddings,
    ]);
    (prop::sample::select(Api::ALL.to_vec()), upstream, any::<[bool; 5]>(), forced).prop_map(
        |(client, upstream, [stream, one, load, base64, cut], forced_tool)| Expect {
            forced_tool,
            one_tool_call: one,
            only_load: load,
            embeddings_base64: base64,
            dimensions: cut.then_some(2),
            ..expect(client, upstream, stream)
        },
    )
}

/// Bytes in which something like an answer may be hidden.
fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "data: ",
        "event: error\n",
        "error: ",
        "\n",
        "\n\n",
        "\r\n",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "null",
        "1",
        "-1e999",
        "true",
        "[DONE]",
        "{\"message\":{\"content\":\"a\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{}}}]}}\n",
        "{\"done\":true,\"done_reason\":\"stop\"}",
        "{\"error\":\"x\"}",
        "\\ud83d",
        "\\",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\",\"reasoning\":\"y\"},\"finish_reason\":\"length\"}]}\n\n",
        "{\"embeddings\":[[1,2,3],[]]}",
        "{\"data\":[{\"index\":1,\"embedding\":[0.5,\"a\"]}]}",
        "{\"choices\":[{\"logprobs\":{\"tokens\":[\"a\"],\"token_logprobs\":[null]},\"text\":\"a\"}]}",
    ]);
    let some = prop_oneof![4 => piece.prop_map(|piece| piece.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..20)];
    vec(some, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn streamed_and_whole_say_the_same(acts in acts(), cut_off: bool) {
        let reason = if cut_off { "length" } else { "stop" };
        for (client, upstream) in PAIRS {
            let [streamed, whole] = [true, false].map(|stream| {
                let done = translate(expect(client, upstream, stream), [&answer(upstream, stream, &acts, reason)[..]]);
                prop_assert_eq!(done.failure, None);
                Ok(hear(client, stream, &done.text))
            });
            let (mut streamed, whole) = (streamed?, whole?);
            // Only here are arguments read as JSON, which may order and space them anew.
            for ((.., streamed), (.., whole)) in streamed.calls.iter_mut().zip(&whole.calls) {
                let value: [serde_json::Value; 2] = [&*streamed, whole].map(|text| serde_json::from_str(text).unwrap());
                prop_assert_eq!(&value[0], &value[1]);
                whole.clone_into(streamed);
            }
            prop_assert_eq!(&streamed, &whole, "{:?} from {:?}", client, upstream);

            let expected: String = acts.iter().filter_map(|act| if let Act::Say(text) = act { Some(&**text) } else { None }).collect();
            prop_assert_eq!(streamed.text, expected);
            prop_assert_eq!(streamed.tokens, (21, 11));
        }
    }

    #[test]
    fn how_an_answer_is_cut_changes_nothing(acts in acts(), sizes in vec(1usize..60, 1..6), stream: bool) {
        for (client, upstream) in PAIRS {
            let answer = answer(upstream, stream, &acts, "stop");
            let at_once = translate(expect(client, upstream, stream), [&answer[..]]);
            let in_pieces = translate(expect(client, upstream, stream), cut(&answer, &sizes));
            prop_assert_eq!(at_once, in_pieces);
        }
    }

    #[test]
    fn nonsense_breaks_nothing(expect in all_kinds(), bytes in nonsense(), sizes in vec(1usize..60, 1..6)) {
        let at_once = translate(expect.clone(), [&bytes[..]]);
        let in_pieces = translate(expect.clone(), cut(&bytes, &sizes));
        prop_assert_eq!(&at_once, &in_pieces);
        AnswerTranslator::error(&expect, 500, &bytes);
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_no_good_end(acts in acts(), at in any::<prop::sample::Index>()) {
        for (client, upstream) in [(Api::OllamaChat, Api::ChatCompletions), (Api::Messages, Api::ChatCompletions)] {
            let answer = answer(upstream, true, &acts, "stop");
            // Before the record that says why the model stopped.
            let end = memchr::memmem::rfind(&answer, b"data: {\"choices\":[{\"finish_reason\":\"").unwrap();
            let mut translator = AnswerTranslator::new(expect(client, upstream, true), ID, NOW_MS);
            let mut out = Vec::new();
            translator.feed(&answer[..at.index(end + 1)], &mut out).unwrap();
            prop_assert!(translator.finish(&mut out).is_err());
        }
    }
}
