//! What every dialect asks for, in one form. (The same for answers is in `answer::event`.)
//!
//! Decoders turn a client's request into these; encoders write them in another dialect. A field that one dialect has
//! and the other cannot express is not lost here but named: see [`Note`].

use std::borrow::Cow;

use crate::request::json::{Json, Quoted};

/// A generation request, whatever its dialect. Text stays as it was in the client's body, escapes and all.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    /// The model, as the client wrote it.
    pub(crate) model: Quoted<'a>,
    /// The conversation; system messages stand where the client put them. For plain prompts: one user message.
    pub(crate) messages: Vec<Message<'a>>,
    /// Set for prompts of `/api/generate` and `/v1/completions`.
    pub(crate) plain: Option<Plain<'a>>,
    /// Tools that the model may call.
    pub(crate) tools: Vec<Tool<'a>>,
    /// Whether and which tools must be called.
    pub(crate) tool_choice: ToolChoice<'a>,
    /// Whether at most one tool may be called in a turn.
    pub(crate) one_tool_call: bool,
    /// What form the answer must have.
    pub(crate) format: Format<'a>,
    /// Whether and how hard the model should think.
    pub(crate) thinking: Thinking,
    /// How tokens are chosen.
    pub(crate) sampling: Sampling,
    /// Texts that end the answer.
    pub(crate) stop: Vec<Quoted<'a>>,
    /// Most tokens of the answer.
    pub(crate) max_tokens: Option<u64>,
    /// Whether log probabilities are wanted, and of how many others at each place.
    pub(crate) logprobs: Option<u32>,
    /// Whether the answer is streamed.
    pub(crate) stream: bool,
    /// Whether a stream ends with a usage record that the client asked for (`stream_options.include_usage`).
    pub(crate) include_usage: bool,
    /// Ollama's `options` that are not among the fields above, by name.
    pub(crate) options: Vec<(Cow<'a, str>, Json<'a>)>,
    /// Whether a prompt that is too long may be cut, where the client says.
    pub(crate) truncate: Option<bool>,
    /// Ollama: no prompt, so the model is only to be loaded.
    pub(crate) only_load: bool,
}

/// One message of a conversation.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// Who speaks.
    pub(crate) role: Role,
    /// What is said, in order.
    pub(crate) parts: Vec<Part<'a>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Instructions (`system`, `developer`).
    System,
    /// The user.
    User,
    /// The model. As the last message: the beginning of its answer (prefill).
    Assistant,
    /// The result of a tool, in one [`Part::ToolResult`].
    Tool,
}

/// A piece of a message.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// Text.
    Text(Quoted<'a>),
    /// An image or a sound.
    Media(Media<'a>),
    /// What the model thought before.
    Thinking(Quoted<'a>),
    /// A tool that the model called.
    ToolCall(ToolCall<'a>),
    /// What a tool answered.
    ToolResult(ToolResult<'a>),
}

/// An image or a sound, as bytes in base64.
#[derive(Clone, Debug)]
pub(crate) struct Media<'a> {
    /// `image/png`, `audio/wav`…, as told by the client or by the first bytes.
    pub(crate) media_type: Cow<'a, str>,
    /// The bytes.
    pub(crate) base64: Quoted<'a>,
}

/// A call of a tool.
#[derive(Debug)]
pub(crate) struct ToolCall<'a> {
    /// What its result refers to; made up where the dialect has none.
    pub(crate) id: Quoted<'a>,
    /// The tool.
    pub(crate) name: Quoted<'a>,
    /// A JSON object.
    pub(crate) arguments: Arguments<'a>,
}

/// What a tool answered.
#[derive(Debug)]
pub(crate) struct ToolResult<'a> {
    /// The call's id.
    pub(crate) id: Quoted<'a>,
    /// The tool, where the dialect tells it or an earlier call has the same id.
    pub(crate) name: Option<Quoted<'a>>,
    /// The answer.
    pub(crate) text: Quoted<'a>,
    /// Images and sounds of the answer.
    pub(crate) media: Vec<Media<'a>>,
}

/// A tool call's arguments.
#[derive(Debug)]
pub(crate) enum Arguments<'a> {
    /// An object in the body.
    Object(Json<'a>),
    /// An object written as text inside a string.
    Text(Quoted<'a>),
}

/// A plain prompt's own fields.
#[derive(Debug, Default)]
pub(crate) struct Plain<'a> {
    /// What comes after the gap that is to be filled.
    pub(crate) suffix: Option<Quoted<'a>>,
}

/// A tool.
#[derive(Debug)]
pub(crate) struct Tool<'a> {
    /// Its name.
    pub(crate) name: Quoted<'a>,
    /// What it does.
    pub(crate) description: Option<Quoted<'a>>,
    /// The JSON schema of its arguments, as written.
    pub(crate) parameters: Option<Json<'a>>,
    /// Whether the arguments must follow the schema exactly.
    pub(crate) strict: Option<bool>,
}

/// Whether and which tools must be called.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum ToolChoice<'a> {
    /// The model decides.
    #[default]
    Auto,
    /// None may be called.
    None,
    /// One must be called.
    Required,
    /// This one must be called.
    Named(Quoted<'a>),
}

/// The form of an answer.
#[derive(Debug, Default)]
pub(crate) enum Format<'a> {
    /// Any text.
    #[default]
    Text,
    /// Any JSON object.
    Json,
    /// JSON that follows a schema.
    Schema { name: Option<Quoted<'a>>, schema: Json<'a>, strict: Option<bool> },
}

/// How hard to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// As the model does by itself.
    #[default]
    Unsaid,
    /// Not at all.
    Off,
    /// Yes.
    On,
    /// Yes, so hard.
    Effort(Effort),
}

/// Degrees of thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As little as can be.
    Minimal,
    /// Little.
    Low,
    /// The usual.
    Medium,
    /// Hard.
    High,
    /// As hard as can be.
    Max,
}

/// How tokens are chosen; what is `None` is the backend's business.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sampling {
    /// Temperature.
    pub(crate) temperature: Option<f64>,
    /// Nucleus.
    pub(crate) top_p: Option<f64>,
    /// Most likely tokens considered.
    pub(crate) top_k: Option<i64>,
    /// Least share of the most likely token's probability.
    pub(crate) min_p: Option<f64>,
    /// Penalty on tokens that were said.
    pub(crate) presence_penalty: Option<f64>,
    /// Penalty on tokens by how often they were said.
    pub(crate) frequency_penalty: Option<f64>,
    /// llama.cpp's penalty on repetition.
    pub(crate) repeat_penalty: Option<f64>,
    /// Seed.
    pub(crate) seed: Option<i64>,
}

/// What became of a field on its way to a backend that does not know it. The field is named as a client would.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// It has no effect on the answer and was left out: to be named in `X-Fleet-Ignored`. Only letters, digits and
    /// `_.-[]`, at most 64 of them.
    Ignored(Cow<'static, str>),
    /// Its effect is had in another way.
    Emulated(Cow<'static, str>),
}
