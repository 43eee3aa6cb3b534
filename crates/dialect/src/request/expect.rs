//! What the side that translates the answer must know about the request.

use proto::Api;

/// What was asked for, as far as the answer depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// The call that the client made, in whose words it is answered.
    pub client: Api,
    /// The call that the backend answers.
    pub upstream: Api,
    /// The model as the client named it; answers repeat it.
    pub model: String,
    /// Whether the answer is streamed, on both sides.
    pub stream: bool,
    /// Whether the client of a stream asked for a usage record at its end.
    pub include_usage: bool,
    /// The answer's text is a call of this tool, to be shown as such.
    pub forced_tool: Option<ForcedTool>,
    /// Only the first tool call of the answer is shown; the backend cannot be told to make no more than one.
    pub one_tool_call: bool,
    /// Tools that the backend knows by another name than the client.
    pub renamed_tools: Vec<RenamedTool>,
    /// Whether the client asked for log probabilities.
    pub logprobs: bool,
    /// `/v1/completions` with `echo`: the prompt, which comes before the answer's text.
    pub echo: Option<String>,
    /// The text of the assistant's message with which the conversation ended: the answer goes on from there. Where the
    /// backend says it once more at the beginning of its answer, it is left out.
    pub prefill: Option<String>,
    /// How many tokens the prompt is thought to have; 0 if nobody knows. Anthropic's clients are told at the beginning of
    /// a stream, when the backend has not counted yet; the last record has the backend's own count.
    pub prompt_tokens_estimate: u64,
    /// An Ollama client only wanted the model loaded: whatever the backend says, the answer has no text and ends in
    /// `"done_reason":"load"`.
    pub only_load: bool,
    /// Vectors go out as base64 of little-endian 32-bit floats.
    pub embeddings_base64: bool,
    /// `/api/embeddings`: one vector, not a list of them.
    pub legacy_single: bool,
    /// The backend cannot shorten vectors: longer ones are cut to so many numbers and brought to length 1 again.
    pub dimensions: Option<u32>,
    /// Responses: members of the response object that repeat the request, as JSON between the braces, without a comma at
    /// either end. Empty for other clients.
    pub response_members: String,
}

impl Expect {
    /// Nothing special about the answer to `client`'s call, given by a backend's `upstream`.
    pub fn new(client: Api, upstream: Api, model: impl Into<String>, stream: bool) -> Expect {
        Expect {
            client,
            upstream,
            model: model.into(),
            stream,
            include_usage: false,
            forced_tool: None,
            one_tool_call: false,
            renamed_tools: Vec::new(),
            logprobs: false,
            echo: None,
            prefill: None,
            prompt_tokens_estimate: 0,
            only_load: false,
            embeddings_base64: false,
            legacy_single: client == Api::OllamaEmbeddings,
            dimensions: None,
            response_members: String::new(),
        }
    }
}

/// A tool call that a backend without `tool_choice` was made to answer with, by the form of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForcedTool {
    /// The answer's text is the arguments of this tool: a JSON object.
    One {
        /// The tool, as the client knows it.
        name: String,
    },
    /// The answer's text is `{"name":…,"arguments":{…}}`.
    Any,
}

/// A tool of a namespace, which backends know by one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenamedTool {
    /// The name that the backend knows: namespace, dot, name.
    pub sent: String,
    /// The client's namespace.
    pub namespace: String,
    /// The client's name for it.
    pub name: String,
}
