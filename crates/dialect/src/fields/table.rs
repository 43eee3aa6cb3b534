//! The rows.

use proto::Api;

use super::Class::{Emulated as E, Hint as I, Honoured as H, Passed as P, Refused as R};
use super::{Class, Row};

const fn row(field: &'static str, example: &'static str, classes: [Class; 5], why: &'static str) -> Row {
    Row { field, example, classes, why }
}

/// The rows of each call.
pub(super) const TABLES: &[(Api, &[Row])] = &[
    (Api::OllamaChat, OLLAMA_CHAT),
    (Api::OllamaGenerate, OLLAMA_GENERATE),
    (Api::ChatCompletions, CHAT_COMPLETIONS),
    (Api::Completions, COMPLETIONS),
    (Api::Responses, RESPONSES),
    (Api::Messages, MESSAGES),
    (Api::OllamaEmbed, OLLAMA_EMBED),
    (Api::OllamaEmbeddings, OLLAMA_EMBEDDINGS),
    (Api::Embeddings, EMBEDDINGS),
];

const IMAGE: &str =
    r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]"#;
const IMAGE_BY_ADDRESS: &str =
    r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.org/x.png"}}]}]"#;
const TOOLS: &str = r#"[{"type":"function","function":{"name":"sum","parameters":{"type":"object"}}}]"#;
const FLAT_TOOLS: &str = r#"[{"type":"function","name":"sum","parameters":{"type":"object"}}]"#;
const SCHEMA: &str = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;

const OLLAMA_CHAT: &[Row] = &[
    row("stream", "true", [P, H, H, H, H], ""),
    row("format", SCHEMA, [P, H, H, H, H], "`response_format` with the schema; the word `json` asks for any object"),
    row("think", "false", [P, H, H, H, H], "`chat_template_kwargs.enable_thinking`, or `reasoning_effort`"),
    row("tools", TOOLS, [P, H, H, H, H], ""),
    row("logprobs", "true", [P, H, H, H, H], ""),
    row(
        "keep_alive",
        "\"5m\"",
        [I, I, I, I, I],
        "a wish that the node keeps in mind; it decides what stays. 0 with an empty conversation unloads, elsewhere than on Ollama it is answered 501",
    ),
    row("truncate", "true", [P, I, I, I, I], "a prompt that is too long is an error there"),
    row(
        "shift",
        "true",
        [P, I, I, I, I],
        "the context is never shifted there; on Ollama, `false` is left out and named: it would load the model again",
    ),
    row("_debug_render_only", "true", [P, R, R, R, R], ""),
    row(
        "messages[].images",
        r#"["iVBORw0KGgo="]"#,
        [P, H, H, H, H],
        "as data URIs; the kind is told by the first bytes",
    ),
    row("messages[].thinking", "\"hm\"", [P, H, H, H, I], "`reasoning_content`; servers that do not know it refuse it"),
    row("options.temperature", "0.5", [P, H, H, H, H], ""),
    row("options.top_p", "0.5", [P, H, H, H, H], ""),
    row("options.top_k", "7", [P, H, H, H, R], "40, Ollama's own value, is never refused"),
    row("options.min_p", "0.1", [P, H, R, H, R], ""),
    row("options.presence_penalty", "0.5", [P, H, H, H, H], ""),
    row("options.frequency_penalty", "0.5", [P, H, H, H, H], ""),
    row("options.repeat_penalty", "1.2", [P, H, H, H, R], "vLLM calls it `repetition_penalty`"),
    row("options.seed", "7", [P, H, H, H, H], ""),
    row("options.stop", "[\"x\"]", [P, H, H, H, H], ""),
    row("options.num_predict", "7", [P, H, H, H, H], "`max_tokens`; below zero means no limit"),
    row("options.num_keep", "5", [P, H, I, I, I], "`n_keep`; matters only where a context is shifted"),
    row("options.typical_p", "0.5", [P, H, R, R, R], ""),
    row("options.repeat_last_n", "7", [P, H, R, R, R], ""),
    row("options.mirostat", "1", [P, H, R, R, R], ""),
    row("options.mirostat_tau", "4", [P, H, I, I, I], "says nothing without `mirostat`"),
    row("options.mirostat_eta", "0.2", [P, H, I, I, I], "says nothing without `mirostat`"),
    row(
        "options.num_ctx",
        "8192",
        [I, I, I, I, I],
        "the model gets a context that holds prompt and answer, and says so in `X-Fleet-Context`",
    ),
    row(
        "options.num_gpu",
        "1",
        [I, I, I, I, I],
        "describes a machine: the node's business (`FLEET_CONTEXT_PROTECTION`)",
    ),
    row(
        "options.num_thread",
        "2",
        [I, I, I, I, I],
        "describes a machine: the node's business (`FLEET_CONTEXT_PROTECTION`)",
    ),
    row(
        "options.num_batch",
        "512",
        [I, I, I, I, I],
        "describes a machine: the node's business (`FLEET_CONTEXT_PROTECTION`)",
    ),
    row(
        "options.main_gpu",
        "1",
        [I, I, I, I, I],
        "describes a machine: the node's business (`FLEET_CONTEXT_PROTECTION`)",
    ),
    row(
        "options.use_mmap",
        "true",
        [I, I, I, I, I],
        "describes a machine: the node's business (`FLEET_CONTEXT_PROTECTION`)",
    ),
    row(
        "options.draft_num_predict",
        "2",
        [I, I, I, I, I],
        "describes a machine: the node's business (`FLEET_CONTEXT_PROTECTION`)",
    ),
];

const OLLAMA_GENERATE: &[Row] = &[
    row("stream", "true", [P, H, H, H, H], ""),
    row("system", "\"be brief\"", [P, H, H, H, H], "a system message"),
    row("raw", "true", [P, H, H, H, H], "goes to `/v1/completions`"),
    row("suffix", "\"end\"", [P, R, R, H, H], "goes to `/v1/completions`; llama-server would leave it unread"),
    row("images", r#"["iVBORw0KGgo="]"#, [P, H, H, H, H], ""),
    row("format", SCHEMA, [P, H, H, H, H], "refused with `raw`"),
    row("think", "false", [P, H, H, H, H], "a hint with `raw`"),
    row("logprobs", "true", [P, H, H, H, H], ""),
    row("template", "\"{{ .Prompt }}\"", [P, R, R, R, R], ""),
    row("context", "[1]", [P, R, R, R, R], ""),
    row("keep_alive", "\"5m\"", [I, I, I, I, I], "as for `/api/chat`"),
    row("truncate", "true", [P, I, I, I, I], "as for `/api/chat`"),
    row("shift", "true", [P, I, I, I, I], "as for `/api/chat`"),
    row("_debug_render_only", "true", [P, R, R, R, R], ""),
    row("options.temperature", "0.5", [P, H, H, H, H], "and all other `options` as for `/api/chat`"),
    row("options.typical_p", "0.5", [P, H, R, R, R], ""),
    row("options.repeat_last_n", "7", [P, H, R, R, R], ""),
    row("options.mirostat", "1", [P, H, R, R, R], ""),
];

const CHAT_COMPLETIONS: &[Row] = &[
    row("stream", "true", [H, P, P, P, P], ""),
    row("stream_options.include_usage", "true", [H, P, P, P, P], ""),
    row("stream_options.include_obfuscation", "true", [I, P, P, P, P], ""),
    row("max_tokens", "7", [H, P, P, P, P], ""),
    row("max_completion_tokens", "7", [H, P, P, P, P], ""),
    row("temperature", "0.5", [H, P, P, P, P], "1 where not said, as in Ollama's own `/v1`"),
    row("top_p", "0.5", [H, P, P, P, P], "1 where not said, as in Ollama's own `/v1`"),
    row("frequency_penalty", "0.5", [H, P, P, P, P], ""),
    row("presence_penalty", "0.5", [H, P, P, P, P], ""),
    row("seed", "7", [H, P, P, P, P], ""),
    row("stop", "[\"x\"]", [H, P, P, P, P], ""),
    row("top_k", "7", [H, P, P, P, P], "not OpenAI's, but widely sent"),
    row("min_p", "0.1", [H, P, P, P, P], "not OpenAI's, but widely sent"),
    row("repeat_penalty", "1.2", [H, P, P, P, P], "not OpenAI's, but widely sent"),
    row("repetition_penalty", "1.2", [H, P, P, P, P], "not OpenAI's, but widely sent"),
    row("options", r#"{"num_ctx":8192}"#, [H, P, P, P, P], "Ollama's own, as in `/api/chat`"),
    row("logprobs", "true", [H, P, P, P, P], ""),
    row(
        "response_format",
        r#"{"type":"json_object"}"#,
        [H, E, E, P, P],
        "`format`: the schema; any object is asked for by the schema of one",
    ),
    row("reasoning_effort", "\"high\"", [H, P, P, P, P], "`think`; a hint where the model cannot think"),
    row("reasoning", r#"{"effort":"high"}"#, [H, P, P, P, P], "`think`"),
    row("chat_template_kwargs", r#"{"enable_thinking":false}"#, [H, P, P, P, P], "`think`"),
    row("tools", TOOLS, [H, P, P, P, P], ""),
    row(
        "tool_choice",
        "\"required\"",
        [E, P, P, P, P],
        "the answer's form is that of a call; `none` sends no tools. llama-server and LM Studio get a tool that is named as the only one, and `required`",
    ),
    row("parallel_tool_calls", "false", [E, P, P, P, P], "the first call is shown, others are not"),
    row("n", "2", [R, P, P, P, P], "1 is fine"),
    row("messages", IMAGE, [H, P, P, P, P], "images as data URIs; sounds as `input_audio`"),
    row("messages[].content", IMAGE_BY_ADDRESS, [R, P, P, P, P], "an image by address: nothing is ever fetched"),
    row("messages[].name", "\"ann\"", [I, P, P, P, P], ""),
    row("messages[].reasoning_content", "\"hm\"", [H, P, P, P, P], "`thinking`; also `reasoning`"),
    row("logit_bias", r#"{"5":1}"#, [R, P, P, P, P], ""),
    row("modalities", r#"["text","audio"]"#, [R, P, P, P, P], "`text` alone is fine"),
    row("audio", r#"{"voice":"x"}"#, [R, P, P, P, P], ""),
    row("functions", r#"[{"name":"f"}]"#, [R, P, P, P, P], "the older form of `tools`"),
    row("function_call", "\"auto\"", [R, P, P, P, P], "the older form of `tool_choice`"),
    row("web_search_options", r#"{"a":1}"#, [R, P, P, P, P], ""),
    row("prediction", r#"{"type":"content"}"#, [I, P, P, P, P], "only for speed"),
    row("verbosity", "\"low\"", [I, P, P, P, P], ""),
    row("keep_alive", "\"5m\"", [I, P, P, P, P], "as in Ollama's own `/v1`"),
    row("user", "\"u\"", [I, P, P, P, P], ""),
    row("metadata", r#"{"a":"b"}"#, [I, P, P, P, P], "`metadata.tags` is read by the door"),
    row("store", "true", [I, P, P, P, P], "nothing is stored"),
    row("service_tier", "\"auto\"", [I, P, P, P, P], ""),
    row("safety_identifier", "\"s\"", [I, P, P, P, P], ""),
    row("prompt_cache_key", "\"k\"", [I, P, P, P, P], ""),
    row("prompt_cache_retention", "\"24h\"", [I, P, P, P, P], ""),
];

const COMPLETIONS: &[Row] = &[
    row("stream", "true", [H, P, P, P, P], ""),
    row("prompt", "\"other\"", [H, P, P, P, P], "one string; several, or tokens, are refused"),
    row("suffix", "\"end\"", [H, P, P, P, P], ""),
    row("max_tokens", "7", [H, P, P, P, P], "no limit where not said, as in Ollama's own `/v1`"),
    row("temperature", "0.5", [H, P, P, P, P], ""),
    row("top_p", "0.5", [H, P, P, P, P], ""),
    row("frequency_penalty", "0.5", [H, P, P, P, P], ""),
    row("presence_penalty", "0.5", [H, P, P, P, P], ""),
    row("seed", "7", [H, P, P, P, P], ""),
    row("stop", "\"x\"", [H, P, P, P, P], ""),
    row("logprobs", "2", [H, P, P, P, P], ""),
    row("echo", "true", [E, P, P, P, P], "the prompt is put before the answer; it has no log probabilities"),
    row("n", "2", [R, P, P, P, P], "1 is fine"),
    row("best_of", "2", [R, P, P, P, P], "1 is fine"),
    row("logit_bias", r#"{"5":1}"#, [R, P, P, P, P], ""),
    row("user", "\"u\"", [I, P, P, P, P], ""),
];

const RESPONSES: &[Row] = &[
    row("stream", "true", [H; 5], ""),
    row("instructions", "\"be brief\"", [H; 5], "a system message"),
    row("max_output_tokens", "7", [H; 5], ""),
    row("temperature", "0.5", [H; 5], ""),
    row("top_p", "0.5", [H; 5], ""),
    row("text.format", r#"{"type":"json_schema","name":"a","schema":{"type":"object"}}"#, [H; 5], ""),
    row("text.verbosity", "\"low\"", [I; 5], ""),
    row("reasoning.effort", "\"high\"", [H; 5], ""),
    row("reasoning.summary", "\"auto\"", [I; 5], "thinking is shown as it is"),
    row("tools", FLAT_TOOLS, [H; 5], "functions, also in namespaces"),
    row("tools[].web_search", r#"{"type":"web_search"}"#, [I; 5], "Codex sends it with every request"),
    row("tools[].type", r#"{"type":"file_search"}"#, [R; 5], "tools that OpenAI's servers run"),
    row("tool_choice", "\"required\"", [E, H, H, H, H], "as for `/v1/chat/completions`"),
    row("parallel_tool_calls", "false", [E, H, E, H, H], ""),
    row("truncation", "\"auto\"", [H, I, I, I, I], "a prompt that is too long is an error unless this says otherwise"),
    row("previous_response_id", "\"resp_1\"", [E; 5], "what was said before is put in front of the input"),
    row("conversation", "\"conv_1\"", [R; 5], "conversations are not stored"),
    row("background", "true", [R; 5], ""),
    row("prompt", r#"{"id":"p"}"#, [R; 5], "prompts are not stored"),
    row("top_logprobs", "2", [R; 5], ""),
    row("input[].type", r#"{"type":"item_reference","id":"x"}"#, [R; 5], "items are not stored"),
    row("input[].web_search_call", r#"{"type":"web_search_call","id":"x"}"#, [I; 5], "what was found is not in it"),
    row("include", r#"["reasoning.encrypted_content"]"#, [I; 5], ""),
    row("max_tool_calls", "3", [I; 5], "counts only tools that OpenAI's servers run"),
    row("store", "false", [H; 5], "stored by the door where not said; no backend is told to"),
    row("metadata", r#"{"a":"b"}"#, [I; 5], "repeated in the answer; `metadata.tags` is read by the door"),
    row("user", "\"u\"", [I; 5], ""),
    row("service_tier", "\"auto\"", [I; 5], ""),
    row("safety_identifier", "\"s\"", [I; 5], ""),
    row("prompt_cache_key", "\"k\"", [I; 5], ""),
    row("prompt_cache_retention", "\"24h\"", [I; 5], ""),
    row("client_metadata", r#"{"a":"b"}"#, [I; 5], ""),
    row("stream_options.include_obfuscation", "true", [I; 5], ""),
];

const MESSAGES: &[Row] = &[
    row("stream", "true", [H; 5], ""),
    row("system", "\"be brief\"", [H; 5], "the first message"),
    row("max_tokens", "9", [H; 5], "must be given"),
    row("temperature", "0.5", [H; 5], ""),
    row("top_p", "0.5", [H; 5], ""),
    row("top_k", "7", [H, H, H, H, R], "40 is never refused"),
    row("stop_sequences", "[\"x\"]", [H; 5], ""),
    row("tools", r#"[{"name":"sum","input_schema":{"type":"object"}}]"#, [H; 5], ""),
    row("tools[].type", r#"{"type":"web_search_20250305","name":"web_search"}"#, [R; 5], "tools of Anthropic's"),
    row("tools[].cache_control", r#"{"type":"ephemeral"}"#, [I; 5], ""),
    row("tool_choice", r#"{"type":"any"}"#, [E, H, H, H, H], "as for `/v1/chat/completions`"),
    row("tool_choice.disable_parallel_tool_use", "true", [E, H, E, H, H], ""),
    row("thinking", r#"{"type":"disabled"}"#, [H; 5], "`enabled` is what models do by themselves"),
    row("thinking.budget_tokens", "1024", [I; 5], ""),
    row("output_config.effort", "\"high\"", [I, H, H, H, H], "honoured with Ollama where the model is known to think"),
    row("output_config.format", r#"{"type":"json_schema","schema":{"type":"object"}}"#, [H; 5], ""),
    row("output_format", r#"{"type":"json_schema","schema":{"type":"object"}}"#, [H; 5], ""),
    row(
        "messages[].content",
        r#"[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://example.org/x.png"}}]}]"#,
        [R; 5],
        "an image by address: nothing is ever fetched",
    ),
    row("messages[].content[].cache_control", r#"{"type":"ephemeral"}"#, [I; 5], ""),
    row("messages[].content[].citations", r#"{"enabled":true}"#, [I; 5], ""),
    row("system[].cache_control", r#"{"type":"ephemeral"}"#, [I; 5], ""),
    row("cache_control", r#"{"type":"ephemeral"}"#, [I; 5], ""),
    row("metadata", r#"{"user_id":"u"}"#, [I; 5], "`metadata.tags` is read by the door"),
    row("service_tier", "\"auto\"", [I; 5], ""),
    row("betas", "[\"x\"]", [I; 5], ""),
    row("context_management", r#"{"edits":[{"type":"clear_thinking_20251015"}]}"#, [I; 5], ""),
    row("inference_geo", "\"us\"", [I; 5], ""),
    row("speed", "\"fast\"", [I; 5], ""),
    row("container", "\"c\"", [R; 5], ""),
    row("mcp_servers", r#"[{"type":"url"}]"#, [R; 5], ""),
];

const OLLAMA_EMBED: &[Row] = &[
    row("input", "[\"a\",\"b\"]", [P, H, H, H, H], ""),
    row("dimensions", "2", [P, E, E, H, H], "vectors are cut and brought to length 1 again"),
    row("truncate", "true", [P, I, I, I, I], "a text that is too long is an error there"),
    row("keep_alive", "\"5m\"", [I, I, I, I, I], "as for `/api/chat`"),
    row("options", r#"{"num_ctx":512}"#, [I, I, I, I, I], "nothing in it changes a vector"),
];

const OLLAMA_EMBEDDINGS: &[Row] = &[
    row("prompt", "\"other\"", [P, H, H, H, H], "not brought to length 1 only with llama-server"),
    row("keep_alive", "\"5m\"", [I, I, I, I, I], "as for `/api/chat`"),
    row("options", r#"{"num_ctx":512}"#, [I, I, I, I, I], "nothing in it changes a vector"),
];

const EMBEDDINGS: &[Row] = &[
    row("input", "[\"a\",\"b\"]", [H, P, P, P, P], "strings; tokens are refused"),
    row("dimensions", "2", [H, P, P, P, P], ""),
    row("encoding_format", "\"base64\"", [E, P, P, P, P], ""),
    row("user", "\"u\"", [I, P, P, P, P], ""),
];
