//! Makes a tiny model that a real llama-server loads and whose answers are known beforehand.
//!
//! Llama architecture, 2 layers, 128 dimensions, about 0.9 MB, the same bytes at each call. Attention and feed-forward
//! weights are zero, so what comes next depends on the last token alone. A token's embedding is a constant plus one axis:
//! tokens that something must follow have an axis of their own, the rest share what is left. A row of the output matrix
//! holds, on the constant's place, how much its token is liked anywhere, and on the axis of a predecessor how much it is
//! liked after that one. So the model says [`SAYS`] and ends its turn, whatever it is asked. Where a grammar narrows the
//! choice (JSON schema, forced tool call), quotes, closing brackets and digits win, so that the answer is short and valid.

use std::io;
use std::path::Path;

use crate::gguf::Writer;

/// The sentence that the model says.
pub const SAYS: &str = "This reply comes from a tiny but real model .";

/// Which tiny model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Says [`SAYS`] and ends; calls a tool when it must.
    Says,
    /// Says [`SAYS`], then calls a tool whenever there is one.
    AlwaysCall,
    /// Says [`SAYS`] again and again, until it is cut or the context is full.
    Loop,
}

impl Variant {
    /// The file name that the tests use.
    pub fn file_name(self) -> &'static str {
        match self {
            Variant::Says => "tiny.gguf",
            Variant::AlwaysCall => "tiny-call.gguf",
            Variant::Loop => "tiny-loop.gguf",
        }
    }
}

/// Writes the model to `path`, over what is there.
pub fn write(path: &Path, variant: Variant) -> io::Result<()> {
    std::fs::write(path, bytes(variant))
}

const WIDTH: usize = 128;
const HIDDEN: usize = 32;
const LAYERS: u32 = 2;
const HEADS: usize = 4;
const KEY_HEADS: usize = 2;
const CONTEXT: u32 = 4096;

/// The constant part of each embedding; the axis part is 1.
const CONSTANT: f32 = 0.5;

/// Logit that the right successor gets on top: far above everything that is liked anywhere.
const SUCCESSOR: f32 = 24.0;

/// Token kinds of the llama tokenizer.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Turns as in ChatML; tool calls as JSON between `<tool_call>` tags, the form that llama-server recognises from a template.
const TEMPLATE: &str = r#"{%- if tools %}<|im_start|>system
# Tools
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
To use one, answer:
<tool_call>
{"name": <its name>, "arguments": <an object>}
</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{%- if message.content %}
{{ message.content }}
{%- endif %}
{%- for call in message.tool_calls or [] %}
{%- set made = call.function or call %}
<tool_call>
{"name": "{{ made.name }}", "arguments": {{ made.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"#;

/// The whole file.
pub fn bytes(variant: Variant) -> Vec<u8> {
    let vocabulary = Vocabulary::new();
    let weights = Weights::new(&vocabulary, variant);
    let mut file = Writer::default();
    file.text("general.architecture", "llama");
    file.text("general.name", variant.file_name().trim_end_matches(".gguf"));
    file.text("general.size_label", "0.3M");
    file.number("general.file_type", 0);
    file.number("llama.context_length", CONTEXT);
    file.number("llama.embedding_length", small(WIDTH));
    file.number("llama.block_count", LAYERS);
    file.number("llama.feed_forward_length", small(HIDDEN));
    file.number("llama.attention.head_count", small(HEADS));
    file.number("llama.attention.head_count_kv", small(KEY_HEADS));
    file.float("llama.attention.layer_norm_rms_epsilon", 1e-6);
    file.number("llama.rope.dimension_count", small(WIDTH / HEADS));
    file.number("llama.vocab_size", small(vocabulary.texts.len()));
    file.text("tokenizer.ggml.model", "llama");
    file.texts("tokenizer.ggml.tokens", &vocabulary.texts);
    file.floats("tokenizer.ggml.scores", &vocabulary.scores());
    file.integers("tokenizer.ggml.token_type", &vocabulary.kinds);
    file.number("tokenizer.ggml.unknown_token_id", small(vocabulary.unknown));
    file.number("tokenizer.ggml.bos_token_id", small(vocabulary.begin));
    file.number("tokenizer.ggml.eos_token_id", small(vocabulary.end));
    file.flag("tokenizer.ggml.add_bos_token", true);
    file.flag("tokenizer.ggml.add_space_prefix", false);
    file.text("tokenizer.chat_template", TEMPLATE);
    let tokens = vocabulary.texts.len();
    file.tensor("token_embd.weight", &[tokens, WIDTH], &weights.embedding);
    file.tensor("output_norm.weight", &[WIDTH], &[1.0; WIDTH]);
    file.tensor("output.weight", &[tokens, WIDTH], &weights.output);
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        file.tensor(&name("attn_norm"), &[WIDTH], &[1.0; WIDTH]);
        file.tensor(&name("ffn_norm"), &[WIDTH], &[1.0; WIDTH]);
        let keys = WIDTH / HEADS * KEY_HEADS;
        for (part, rows, columns) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", keys, WIDTH),
            ("attn_v", keys, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", HIDDEN, WIDTH),
            ("ffn_up", HIDDEN, WIDTH),
            ("ffn_down", WIDTH, HIDDEN),
        ] {
            file.tensor(&name(part), &[rows, columns], &vec![0.0; rows * columns]);
        }
    }
    file.finish()
}

/// The tokens: control tokens, the 256 bytes, printable ASCII one by one, the words of the sentence, one opener of a tool call.
struct Vocabulary {
    texts: Vec<String>,
    kinds: Vec<i32>,
    unknown: usize,
    begin: usize,
    turn: usize,
    end: usize,
    bytes: std::ops::Range<usize>,
    /// `characters[0]` is `!`, the first printable character after the space.
    characters: std::ops::Range<usize>,
    words: std::ops::Range<usize>,
    call: usize,
}

impl Vocabulary {
    fn new() -> Vocabulary {
        let mut texts = Vec::new();
        let mut kinds = Vec::new();
        let mut add = |text: String, kind: i32| {
            texts.push(text);
            kinds.push(kind);
            texts.len() - 1
        };
        let unknown = add("<unk>".into(), UNKNOWN);
        let begin = add("<s>".into(), CONTROL);
        let turn = add("<|im_start|>".into(), CONTROL);
        let end = add("<|im_end|>".into(), CONTROL);
        let bytes = run((0..=255_u8).map(|byte| add(format!("<0x{byte:02X}>"), BYTE)));
        add("\u{2581}".into(), NORMAL); // how this tokenizer writes a space
        let characters = run(('!'..='~').map(|character| add(character.into(), NORMAL)));
        let words = run(SAYS
            .split(' ')
            .enumerate()
            .map(|(place, word)| add(if place == 0 { word.to_owned() } else { format!("\u{2581}{word}") }, NORMAL)));
        // One token for the whole opening, so that wanting a call is one choice.
        let call = add("\n<tool_call>\n{".into(), NORMAL);
        Vocabulary { texts, kinds, unknown, begin, turn, end, bytes, characters, words, call }
    }

    /// The tokenizer joins the pair with the highest score; rising numbers keep single characters apart from words.
    fn scores(&self) -> Vec<f32> {
        (0..self.texts.len()).map(|token| if token < self.bytes.end { 0.0 } else { -(small(token) as f32) }).collect()
    }

    fn character(&self, character: char) -> usize {
        let token = self.characters.start + (character as usize - '!' as usize);
        debug_assert_eq!(self.texts[token], character.to_string());
        token
    }
}

struct Weights {
    embedding: Vec<f32>,
    output: Vec<f32>,
}

impl Weights {
    fn new(vocabulary: &Vocabulary, variant: Variant) -> Weights {
        let tokens = vocabulary.texts.len();
        let (first, last) = (vocabulary.words.start, vocabulary.words.end - 1);
        let tag_end = vocabulary.character('>');
        let marked: Vec<usize> = vocabulary.words.clone().chain([tag_end]).collect();
        let axis = |token: usize| match marked.iter().position(|&one| one == token) {
            Some(place) => 1 + place,
            None => 1 + marked.len() + token % (WIDTH - 1 - marked.len()),
        };

        let mut embedding = vec![0.0; tokens * WIDTH];
        for token in 0..tokens {
            embedding[token * WIDTH] = CONSTANT;
            embedding[token * WIDTH + axis(token)] = 1.0;
        }

        // Each embedding has the same length, so the norm before the output divides all by the same number.
        let scale = ((CONSTANT * CONSTANT + 1.0) / small(WIDTH) as f32).sqrt();
        let mut output = vec![0.0; tokens * WIDTH];
        for token in 0..tokens {
            output[token * WIDTH] = liking(vocabulary, token) * scale / CONSTANT;
        }
        let mut follows =
            |before: usize, token: usize, logit: f32| output[token * WIDTH + axis(before)] += logit * scale;
        for word in vocabulary.words.clone().skip(1) {
            follows(word - 1, word, SUCCESSOR);
        }
        follows(last, if variant == Variant::Loop { first } else { vocabulary.end }, SUCCESSOR);
        follows(tag_end, vocabulary.end, SUCCESSOR);
        // Where the turn may not end yet: a string closes, a demanded tool call opens.
        follows(last, vocabulary.character('"'), 0.6 * SUCCESSOR);
        let eagerness = if variant == Variant::AlwaysCall { 2.15 } else { 1.15 };
        follows(last, vocabulary.call, eagerness * SUCCESSOR);
        Weights { embedding, output }
    }
}

/// The logit of `token` after anything.
fn liking(vocabulary: &Vocabulary, token: usize) -> f32 {
    if token == vocabulary.words.start {
        return 13.0;
    }
    if token == vocabulary.end {
        return 5.5;
    }
    if [vocabulary.unknown, vocabulary.begin, vocabulary.turn].contains(&token) {
        return -30.0;
    }
    if vocabulary.bytes.contains(&token) {
        return -6.0;
    }
    match vocabulary.texts[token].as_str() {
        "\"" => 6.0,
        "}" => 5.5,
        "]" => 5.2,
        "{" | "[" | "<" => 5.0,
        ":" => 4.5,
        "7" => 4.0,
        "," => 1.0,
        _ => -4.0,
    }
}

/// The range that consecutive `tokens` span.
fn run(tokens: impl Iterator<Item = usize>) -> std::ops::Range<usize> {
    let tokens: Vec<usize> = tokens.collect();
    let first = tokens.first().copied().unwrap_or(0);
    first..first + tokens.len()
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("sizes of a tiny model fit 32 bits")
}

#[cfg(test)]
mod tests {
    use super::{SAYS, Variant, Vocabulary, WIDTH, Weights, bytes};

    /// What the model says after `token` when nothing narrows its choice, and how sure it is.
    fn next(weights: &Weights, tokens: usize, token: usize, allowed: impl Fn(usize) -> bool) -> (usize, f32) {
        let row = |matrix: &[f32], token: usize| matrix[token * WIDTH..][..WIDTH].to_vec();
        let embedding = row(&weights.embedding, token);
        let size = (embedding.iter().map(|x| x * x).sum::<f32>() / WIDTH as f32).sqrt();
        let logit = |token| row(&weights.output, token).iter().zip(&embedding).map(|(a, b)| a * b / size).sum::<f32>();
        let mut logits: Vec<_> =
            (0..tokens).filter(|&token| allowed(token)).map(|token| (token, logit(token))).collect();
        logits.sort_by(|a, b| b.1.total_cmp(&a.1));
        (logits[0].0, logits[0].1 - logits[1].1)
    }

    #[test]
    fn the_sentence_is_said_then_the_variant_decides() {
        let vocabulary = Vocabulary::new();
        for (variant, after) in [
            (Variant::Says, vocabulary.end),
            (Variant::AlwaysCall, vocabulary.call),
            (Variant::Loop, vocabulary.words.start),
        ] {
            let weights = Weights::new(&vocabulary, variant);
            let mut token = vocabulary.bytes.start + usize::from(b'\n');
            let mut said = String::new();
            for _ in vocabulary.words.clone() {
                let (chosen, margin) = next(&weights, vocabulary.texts.len(), token, |_| true);
                assert!(margin > 5.0, "{variant:?} hesitates after {:?}", vocabulary.texts[token]);
                token = chosen;
                said += &vocabulary.texts[token].replace('\u{2581}', " ");
            }
            assert_eq!(said, SAYS, "{variant:?}");
            assert_eq!(next(&weights, vocabulary.texts.len(), token, |_| true).0, after, "{variant:?}");
        }
    }

    #[test]
    fn a_turn_that_may_not_end_calls_a_tool_and_a_string_that_may_only_close_closes() {
        let vocabulary = Vocabulary::new();
        let weights = Weights::new(&vocabulary, Variant::Says);
        let last = vocabulary.words.end - 1;
        let choose = |allowed: &dyn Fn(usize) -> bool| next(&weights, vocabulary.texts.len(), last, allowed).0;
        assert_eq!(choose(&|token| token != vocabulary.end), vocabulary.call);
        let quote = vocabulary.character('"');
        assert_eq!(choose(&|token| token != vocabulary.end && token != vocabulary.call), quote);
    }

    #[test]
    fn the_file_is_small_and_always_the_same() {
        for variant in [Variant::Says, Variant::AlwaysCall, Variant::Loop] {
            let file = bytes(variant);
            assert_eq!(file, bytes(variant));
            assert!((500_000..1_000_000).contains(&file.len()), "{} bytes", file.len());
        }
        assert_ne!(bytes(Variant::Says), bytes(Variant::Loop));
    }
}
