//! Bodies that a backend gets in the client's own dialect, with what it would leave unread said in another way.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

use bytes::Bytes;
use dialect::{Failure, scan, splice};
use proto::{Api, BackendKind};

fn sent(client: Api, kind: BackendKind, body: &str) -> Result<String, Failure> {
    let edits = scan(body.as_bytes(), false).unwrap().emulations(body.as_bytes(), client, kind)?;
    let pieces: Vec<u8> = splice(&Bytes::from(body.to_owned()), edits).into_iter().flatten().collect();
    Ok(String::from_utf8(pieces).unwrap())
}

#[test]
fn any_json_is_asked_for_by_a_schema() {
    const SCHEMA: &str = r#"{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}}"#;
    use BackendKind::{LlamaServer, Ollama, Vllm};
    for (client, kind, body, expected) in [
        (Api::OllamaChat, Ollama, r#"{"format":"json","x":1}"#, r#"{"format":{"type":"object"},"x":1}"#.to_owned()),
        (Api::OllamaGenerate, Ollama, r#"{"format":""}"#, r#"{"format":""}"#.to_owned()),
        (Api::OllamaChat, Ollama, r#"{"format":{"type":"array"}}"#, r#"{"format":{"type":"array"}}"#.to_owned()),
        (
            Api::ChatCompletions,
            LlamaServer,
            r#"{"response_format": {"type":"json_object"}}"#,
            format!(r#"{{"response_format": {SCHEMA}}}"#),
        ),
        (
            Api::ChatCompletions,
            Vllm,
            r#"{"response_format":{"type":"json_object"}}"#,
            r#"{"response_format":{"type":"json_object"}}"#.to_owned(),
        ),
        (
            Api::ChatCompletions,
            LlamaServer,
            r#"{"response_format":{"type":"text"}}"#,
            r#"{"response_format":{"type":"text"}}"#.to_owned(),
        ),
    ] {
        assert_eq!(sent(client, kind, body).unwrap(), expected, "{client:?} {kind:?}");
    }
}

#[test]
fn a_tool_that_is_demanded_by_name_is_the_only_one_sent() {
    let tools = r#"[ {"type":"function","function":{"name":"a"}} , {"type":"function","function":{"parameters":{},"name":"b"}} ]"#;
    let choice = r#"{"type":"function","function":{"name":"b"}}"#;
    let only = r#"[{"type":"function","function":{"parameters":{},"name":"b"}}]"#;
    for (body, expected) in [
        (
            format!(r#"{{"tools":{tools},"tool_choice":{choice},"seed":1}}"#),
            format!(r#"{{"tools":{only},"tool_choice":"required","seed":1}}"#),
        ),
        (
            format!(r#"{{"tool_choice":{choice},"tools":{tools}}}"#),
            format!(r#"{{"tool_choice":"required","tools":{only}}}"#),
        ),
        (
            format!(r#"{{"tools":{tools},"tool_choice":"auto"}}"#),
            format!(r#"{{"tools":{tools},"tool_choice":"auto"}}"#),
        ),
        // What is no choice is the backend's to refuse.
        (r#"{"tool_choice":{"type":"x"}}"#.to_owned(), r#"{"tool_choice":{"type":"x"}}"#.to_owned()),
    ] {
        assert_eq!(sent(Api::ChatCompletions, BackendKind::LlamaServer, &body).unwrap(), expected);
        assert_eq!(sent(Api::ChatCompletions, BackendKind::Vllm, &body).unwrap(), body);
    }
    for tools in ["", r#","tools":[]"#, r#","tools":[{"type":"function","function":{"name":"a"}},7]"#] {
        let body = format!(r#"{{"tool_choice":{choice}{tools}}}"#);
        let failure = sent(Api::ChatCompletions, BackendKind::LlamaServer, &body).unwrap_err();
        assert!(failure.status() == 400 && failure.message.contains("tool_choice"), "{failure:?}");
    }
}
