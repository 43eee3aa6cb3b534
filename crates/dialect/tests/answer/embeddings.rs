//! Embeddings.

use dialect::Expect;
use proto::Api;

use super::translate;

const OLLAMA: &str = r#"{"model":"there","embeddings":[[0.6,-0.8,0.0],[1,2,2]],"total_duration":9,"load_duration":4,"prompt_eval_count":6}"#;
const OPENAI: &str = r#"{"object":"list","data":[{"object":"embedding","index":1,"embedding":[1,2,2]},{"object":"embedding","embedding":[0.6,-0.8,0.0],"index":0}],"model":"there","usage":{"prompt_tokens":6,"total_tokens":6}}"#;

#[test]
fn vectors_come_as_each_client_wants_them() {
    let same: fn(Expect) -> Expect = |expect| expect;
    for (client, upstream, change, expected) in [
        (
            Api::Embeddings,
            Api::OllamaEmbed,
            same,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.6,-0.8,0.0]},{"object":"embedding","index":1,"embedding":[1,2,2]}],"model":"asked","usage":{"prompt_tokens":6,"total_tokens":6}}"#,
        ),
        (
            Api::Embeddings,
            Api::OllamaEmbed,
            |expect| Expect { embeddings_base64: true, ..expect },
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"mpkZP83MTL8AAAAA"},{"object":"embedding","index":1,"embedding":"AACAPwAAAEAAAABA"}],"model":"asked","usage":{"prompt_tokens":6,"total_tokens":6}}"#,
        ),
        // Two numbers are eight bytes, whose last group is short.
        (
            Api::Embeddings,
            Api::OllamaEmbed,
            |expect| Expect { embeddings_base64: true, dimensions: Some(2), ..expect },
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"mpkZP83MTL8="},{"object":"embedding","index":1,"embedding":"LvnkPi75ZD8="}],"model":"asked","usage":{"prompt_tokens":6,"total_tokens":6}}"#,
        ),
        (
            Api::OllamaEmbed,
            Api::Embeddings,
            same,
            r#"{"model":"asked","embeddings":[[0.6,-0.8,0.0],[1,2,2]],"total_duration":0,"load_duration":0,"prompt_eval_count":6}"#,
        ),
        (
            Api::OllamaEmbed,
            Api::Embeddings,
            |expect| Expect { dimensions: Some(1), ..expect },
            r#"{"model":"asked","embeddings":[[1],[1]],"total_duration":0,"load_duration":0,"prompt_eval_count":6}"#,
        ),
        (Api::OllamaEmbeddings, Api::Embeddings, same, r#"{"embedding":[0.6,-0.8,0.0]}"#),
        (Api::OllamaEmbeddings, Api::OllamaEmbed, same, r#"{"embedding":[0.6,-0.8,0.0]}"#),
    ] {
        let answer = if upstream == Api::OllamaEmbed { OLLAMA } else { OPENAI };
        let done = translate(change(Expect::new(client, upstream, "asked", false)), [answer.as_bytes()]);
        assert_eq!((&*done.text, &done.failure), (expected, &None), "{client:?}");
    }
}

#[test]
fn what_are_no_vectors_is_an_error() {
    for answer in [
        "",
        "{}",
        "[]",
        r#"{"embeddings":["x"]}"#,
        r#"{"error":"no"}"#,
        r#"{"embeddings":[[1,null]]}"#,
        r#"{"data":[{}]}"#,
        r#"{"embeddings":[[1]"#,
    ] {
        let expect =
            Expect { embeddings_base64: true, ..Expect::new(Api::Embeddings, Api::OllamaEmbed, "asked", false) };
        assert!(translate(expect, [answer.as_bytes()]).failure.is_some(), "{answer}");
    }
    let empty =
        translate(Expect::new(Api::OllamaEmbeddings, Api::OllamaEmbed, "asked", false), [&br#"{"embeddings":[]}"#[..]]);
    assert_eq!(empty.text, r#"{"embedding":[]}"#);
}
