//! The apps that people use, replayed: their requests as recorded, sent through a real Herd, must be answered as their
//! libraries expect, and reach the model without losing a field in silence.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

#[path = "clients/answers.rs"]
mod answers;
#[path = "clients/between.rs"]
mod between;
#[path = "clients/conversation.rs"]
mod conversation;
#[path = "clients/lists.rs"]
mod lists;
#[path = "clients/recorded.rs"]
mod recorded;
#[path = "clients/replay.rs"]
mod replay;
#[path = "clients/sent.rs"]
mod sent;
#[path = "clients/verdicts.rs"]
mod verdicts;

use recorded::Length;
use replay::House;
use sent::Fate::{
    As, At, Call, Context, Default, Form, Kept, Named, NamedAs, Same, Somewhere, Told, Tool, Words, WordsOf,
};
use sent::Row;
use verdicts::NotYet;

/// What has to become of each field that an app sends: before an Ollama, and before a llama-server where Herd translates.
/// Where it passes a call on as it is, everything is at its place. A call may be the beginning of several. The row with the
/// longest field counts.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("/", "model", Kept, Kept),

    ("/api/", "stream", Same, At("/stream")),
    ("/api/", "keep_alive", Named, Named),
    ("/api/", "think", Same, At("/chat_template_kwargs/enable_thinking")),
    ("/api/", "format", Same, At("/response_format/json_schema/schema")),
    ("/api/", "options.temperature", Same, At("/temperature")),
    ("/api/", "options.top_k", Same, At("/top_k")),
    ("/api/", "options.top_p", Same, At("/top_p")),
    ("/api/", "options.min_p", Same, At("/min_p")),
    ("/api/", "options.repeat_penalty", Same, At("/repeat_penalty")),
    ("/api/", "options.repeat_last_n", Same, At("/repeat_last_n")),
    ("/api/", "options.seed", Same, At("/seed")),
    ("/api/", "options.num_predict", Same, At("/max_tokens")),
    ("/api/", "options.stop", Same, At("/stop")),
    ("/api/", "options.num_ctx", Context, Named),
    ("/api/", "options.num_thread", Named, Named),
    ("/api/", "options.num_gpu", Named, Named),
    ("/api/", "options.use_mmap", Named, Named),

    ("/api/chat", "messages[].role", Same, Form),
    ("/api/chat", "messages[].content", Same, Words),
    ("/api/chat", "messages[].tool_calls", Same, Call),
    ("/api/chat", "messages[].tool_call_id", Same, Somewhere),
    ("/api/chat", "messages[].tool_name", Same, Somewhere),
    ("/api/chat", "tools", Same, Tool),
    ("/api/chat", "tool_choice", Same, Named),

    ("/api/generate", "prompt", Same, WordsOf("user")),
    ("/api/generate", "suffix", Same, Kept),
    ("/api/generate", "raw", Same, Default("false")),

    ("/api/embed", "input", Same, At("/input")),

    ("/v1/chat/completions", "stream", At("/stream"), Same),
    ("/v1/chat/completions", "stream_options.include_usage", Kept, Same),
    ("/v1/chat/completions", "messages[].role", Form, Same),
    ("/v1/chat/completions", "messages[].content", Words, Same),
    ("/v1/chat/completions", "messages[].content[text].type", Form, Same),
    ("/v1/chat/completions", "messages[].tool_calls", Call, Same),
    ("/v1/chat/completions", "messages[].tool_call_id", Somewhere, Same),
    ("/v1/chat/completions", "tools", Tool, Same),
    ("/v1/chat/completions", "tool_choice", Default("\"auto\""), Same),
    ("/v1/chat/completions", "parallel_tool_calls", Default("true"), Same),
    ("/v1/chat/completions", "n", Default("1"), Same),
    ("/v1/chat/completions", "max_tokens", At("/options/num_predict"), Same),
    ("/v1/chat/completions", "temperature", At("/options/temperature"), Same),
    ("/v1/chat/completions", "top_p", At("/options/top_p"), Same),
    ("/v1/chat/completions", "frequency_penalty", At("/options/frequency_penalty"), Same),
    ("/v1/chat/completions", "presence_penalty", At("/options/presence_penalty"), Same),
    ("/v1/chat/completions", "seed", At("/options/seed"), Same),
    ("/v1/chat/completions", "stop", At("/options/stop"), Same),
    ("/v1/chat/completions", "reasoning_effort", At("/think"), Same),
    ("/v1/chat/completions", "options.top_k", At("/options/top_k"), Same),
    ("/v1/chat/completions", "options.num_ctx", Context, Same),
    ("/v1/chat/completions", "options.num_thread", Named, Same),
    ("/v1/chat/completions", "options.num_gpu", Named, Same),
    ("/v1/chat/completions", "user", Named, Same),
    ("/v1/chat/completions", "metadata", Named, Same),
    ("/v1/chat/completions", "metadata.tags", Kept, Kept),
    ("/v1/chat/completions", "fallback_models", Kept, Kept),

    ("/v1/responses", "stream", At("/stream"), At("/stream")),
    ("/v1/responses", "store", Kept, Kept),
    ("/v1/responses", "instructions", Words, Words),
    ("/v1/responses", "input[message].type", Form, Form),
    ("/v1/responses", "input[message].role", Form, Form),
    ("/v1/responses", "input[message].content[input_text].type", Form, Form),
    ("/v1/responses", "input[message].content[input_text].text", Words, Words),
    ("/v1/responses", "input[message].content[output_text].type", Form, Form),
    ("/v1/responses", "input[message].content[output_text].text", Words, Words),
    ("/v1/responses", "input[reasoning].type", Form, Form),
    ("/v1/responses", "input[reasoning].id", Form, Form),
    ("/v1/responses", "input[reasoning].summary[summary_text].type", Form, Form),
    ("/v1/responses", "input[reasoning].summary[summary_text].text", WordsOf("assistant"), WordsOf("assistant")),
    ("/v1/responses", "input[reasoning].encrypted_content", WordsOf("assistant"), WordsOf("assistant")),
    ("/v1/responses", "input[function_call]", Call, Call),
    ("/v1/responses", "input[function_call_output].type", Form, Form),
    ("/v1/responses", "input[function_call_output].call_id", Somewhere, Somewhere),
    ("/v1/responses", "input[function_call_output].output", WordsOf("tool"), WordsOf("tool")),
    ("/v1/responses", "tools", Tool, Tool),
    ("/v1/responses", "tools[namespace].description", Named, Named),
    ("/v1/responses", "tools[web_search]", NamedAs("tools[].web_search"), NamedAs("tools[].web_search")),
    ("/v1/responses", "tool_choice", Default("\"auto\""), Default("\"auto\"")),
    ("/v1/responses", "parallel_tool_calls", Default("true"), Default("true")),
    ("/v1/responses", "reasoning.summary", Named, Named),
    ("/v1/responses", "include", Named, Named),
    ("/v1/responses", "prompt_cache_key", Named, Named),
    ("/v1/responses", "client_metadata", Named, Named),


    ("/v1/messages", "stream", At("/stream"), At("/stream")),
    ("/v1/messages", "max_tokens", At("/options/num_predict"), At("/max_tokens")),
    ("/v1/messages", "temperature", At("/options/temperature"), At("/temperature")),
    ("/v1/messages", "thinking.type", As("/think", "true"), As("/chat_template_kwargs/enable_thinking", "true")),
    ("/v1/messages", "thinking.budget_tokens", Named, Named),
    ("/v1/messages", "context_management", Named, Named),
    ("/v1/messages", "metadata", Named, Named),
    ("/v1/messages", "system[text].type", Form, Form),
    ("/v1/messages", "system[text].text", Words, Words),
    ("/v1/messages", "system[text].cache_control", Named, Named),
    ("/v1/messages", "tools", Tool, Tool),
    ("/v1/messages", "tools[].cache_control", Named, Named),
    ("/v1/messages", "messages[].role", Form, Form),
    ("/v1/messages", "messages[].content", Words, Words),
    ("/v1/messages", "messages[].content[text].type", Form, Form),
    ("/v1/messages", "messages[].content[text].cache_control", Named, Named),
    ("/v1/messages", "messages[].content[thinking].type", Form, Form),
    ("/v1/messages", "messages[].content[thinking].signature", Named, Named),
    ("/v1/messages", "messages[].content[tool_use]", Call, Call),
    ("/v1/messages", "messages[].content[tool_result].type", Form, Form),
    ("/v1/messages", "messages[].content[tool_result].tool_use_id", Somewhere, Somewhere),
    ("/v1/messages", "messages[].content[tool_result].content", WordsOf("tool"), WordsOf("tool")),
    ("/v1/messages", "messages[].content[tool_result].content[text].type", Form, Form),
    ("/v1/messages", "messages[].content[tool_result].is_error", Told("Error:"), Told("Error:")),
    ("/v1/messages", "messages[].content[tool_result].cache_control", Named, Named),
];

/// What does not hold yet. A line whose time has come fails until it is taken out.
const NOT_YET: &[NotYet] = &[];

/// What is refused for good reason: app, backend, what it does, and the field that the answer names.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    // It would leave it unread and answer something else.
    ("continue-ide", "llama-server", "fills in", "suffix"),
];

macro_rules! apps {
    ($($test:ident: $app:literal,)+) => {
        const APPS: &[&str] = &[$($app),+];
        $(#[test]
        fn $test() {
            House::with_ollama().replay($app, Length::Full).end(NOT_YET).unwrap_or_else(|faults| panic!("{faults}"));
        })+
    };
}

apps! {
    claude_code_works_on_an_ollama: "claude-code",
    codex_works_on_an_ollama: "codex",
    cline_works_on_an_ollama: "cline",
    aider_works_on_an_ollama: "aider",
    open_webui_works_on_an_ollama: "open-webui",
    the_continue_extension_works_on_an_ollama: "continue-ide",
    the_continue_program_works_on_an_ollama: "continue-cli",
    llama_index_works_on_an_ollama: "llamaindex",
    home_assistant_works_on_an_ollama: "home-assistant",
    lang_chain_works_on_an_ollama: "langchain",
    open_code_works_on_an_ollama: "opencode",
    copilot_works_on_an_ollama: "copilot",
}

#[test]
fn all_of_them_work_on_a_llama_server() {
    let Some(house) = House::with_llama_server() else { return };
    let faults: Vec<String> =
        APPS.iter().filter_map(|app| house.replay(app, Length::Short).end(NOT_YET).err()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_agent_whose_prompt_no_model_can_hold_is_told_so_in_its_own_words() {
    const CODE: &[&str] = &["\"code\":\"context_length_exceeded\"", "\"type\":\"invalid_request_error\""];
    let house = House::with_forgetful_ollama();
    let faults: Vec<String> = [
        ("codex", vec!["asks", "asks in zstd"], CODE),
        ("claude-code", vec!["asks"], &["\"type\":\"invalid_request_error\"", "\"message\":\"prompt is too long: "]),
        ("opencode", vec!["asks"], CODE),
    ]
    .into_iter()
    .filter_map(|(app, requests, words)| house.refusal(app, &requests, words).end(NOT_YET).err())
    .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
