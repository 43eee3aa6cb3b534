//! Learns how many tokens a model makes of a prompt, and how long its answers are, from what backends count.

use std::collections::{BTreeMap, VecDeque};

use proto::ModelName;

/// Bytes per token of English text and of much code, for common tokenizers.
const USUAL: f64 = 4.0;
/// Assumed where too few tokens would do harm, until [`ENOUGH`] prompts were counted.
const CAREFUL: f64 = 3.0;
/// Tokens of an image, until it is known better: most vision models make 250 to 1600 of one.
const USUAL_MEDIA: f64 = 1000.0;
const ENOUGH: u32 = 3;
/// A count outside of these is taken as one of them: no tokenizer makes more than a token and a bit of a byte, and whole
/// prompts of less than a twentieth are cut ones or a mistake.
const TOKENS_PER_BYTE: (f64, f64) = (0.05, 1.25);
const TOKENS_PER_MEDIA: (f64, f64) = (16.0, 16_384.0);
/// Shorter prompts say more about the model's template than about the text.
const LEAST_BYTES: u64 = 64;
/// Bytes at which a count has half its weight.
const HALF_WEIGHT: f64 = 500.0;
/// Tokens that templates put around a prompt, beyond what its length tells.
const TEMPLATE: u64 = 16;
/// Answers that are remembered.
const ANSWERS: usize = 32;
/// Room for an answer whose length nobody knows.
const USUAL_ANSWER: u64 = 1024;
/// Tokens of an answer, likely, of which nobody knows more.
const SHORT_ANSWER: u64 = 256;
/// Bounds of the room for an answer to which the client sets no bound.
const ANSWER_ROOM: (u64, u64) = (256, 4096);
/// Models that are remembered; of more, the one counted longest ago is forgotten.
const MODELS: usize = 512;

/// Tokens that a prompt probably has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The likely number.
    pub tokens: u64,
    /// A number that is seldom exceeded.
    pub at_most: u64,
    /// Whether it rests on prompts of this model that were counted.
    pub is_learnt: bool,
}

/// Tokens that a request needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) prompt: Estimate,
    /// Room for the answer.
    pub(crate) answer_room: u64,
    /// Tokens that the answer will probably have, to charge them to an app.
    pub(crate) likely_answer: u64,
    /// Tokens that half of the answers do not have.
    pub(crate) usual_answer: u64,
}

/// What was learnt of all models.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    models: BTreeMap<ModelName, Counts>,
    /// Counts so far: tells which model was counted longest ago.
    serial: u64,
}

#[derive(Debug)]
struct Counts {
    /// Tokens of a byte of text, as a mean in which the last few count most.
    mean: f64,
    /// The same for prompts that make many tokens: goes up fast and comes down slowly.
    high: f64,
    media: f64,
    counted: u32,
    answers: VecDeque<u64>,
    /// Nine of ten of `answers` are no longer; `None` while there are fewer than [`ENOUGH`].
    long_answer: Option<u64>,
    /// Half of them are no longer; `None` as above.
    usual_answer: Option<u64>,
    last: u64,
}

/// Nothing is known.
static UNKNOWN: Counts = Counts::new();

impl Tokens {
    /// Tokens of a prompt of so many bytes of text and so many images.
    pub(crate) fn estimate(&self, model: &ModelName, text_bytes: u64, media: u32) -> Estimate {
        self.models.get(model).unwrap_or(&UNKNOWN).estimate(text_bytes, media)
    }

    /// What a request to `model` needs, of so many bytes of text and so many images and with that bound on its answer.
    pub(crate) fn needs(&self, model: &ModelName, text_bytes: u64, media: u32, max_tokens: Option<u64>) -> Needs {
        let counts = self.models.get(model).unwrap_or(&UNKNOWN);
        let usual = counts.answer_room(None);
        Needs {
            prompt: counts.estimate(text_bytes, media),
            answer_room: max_tokens.map_or(usual, |bound| counts.answer_room(Some(bound))),
            likely_answer: usual.min(max_tokens.unwrap_or(u64::MAX)),
            usual_answer: counts.usual_answer.unwrap_or(SHORT_ANSWER).min(max_tokens.unwrap_or(u64::MAX)),
        }
    }

    /// A backend counted.
    pub(crate) fn counted(&mut self, model: &ModelName, text_bytes: u64, media: u32, prompt: u64, answer: Option<u64>) {
        self.serial += 1;
        if !self.models.contains_key(model) {
            if self.models.len() >= MODELS
                && let Some(oldest) =
                    self.models.iter().min_by_key(|(_, counts)| counts.last).map(|(name, _)| name.clone())
            {
                self.models.remove(&oldest);
            }
            self.models.insert(model.clone(), Counts::new());
        }
        if let Some(counts) = self.models.get_mut(model) {
            counts.last = self.serial;
            counts.prompt(text_bytes, media, prompt);
            if let Some(answer) = answer {
                counts.answer(answer);
            }
        }
    }
}

impl Counts {
    const fn new() -> Counts {
        Counts {
            mean: 1.0 / USUAL,
            high: 1.0 / CAREFUL,
            media: USUAL_MEDIA,
            counted: 0,
            answers: VecDeque::new(),
            long_answer: None,
            usual_answer: None,
            last: 0,
        }
    }

    /// Tokens of room for the answer to a request that bounds it to `max_tokens`.
    ///
    /// Without a bound: what nine of ten answers need. A bound is not a plan (agents bound everything to 32 000), so it
    /// counts in full only up to twice what long answers have, or 4096.
    fn answer_room(&self, max_tokens: Option<u64>) -> u64 {
        match max_tokens {
            Some(bound) => bound.min(self.long_answer.unwrap_or_default().saturating_mul(2).max(ANSWER_ROOM.1)),
            None => self.long_answer.unwrap_or(USUAL_ANSWER).clamp(ANSWER_ROOM.0, ANSWER_ROOM.1),
        }
    }

    fn estimate(&self, text_bytes: u64, media: u32) -> Estimate {
        let (bytes, media) = (text_bytes as f64, f64::from(media) * self.media);
        let is_learnt = self.counted >= ENOUGH;
        let high = if is_learnt { self.high.max(self.mean) } else { self.high.max(1.0 / CAREFUL) };
        let tokens = (bytes * self.mean + media).ceil() as u64;
        let at_most = (bytes * high + media * 1.25).ceil() as u64;
        Estimate { tokens, at_most: at_most.max(tokens).saturating_add(TEMPLATE), is_learnt }
    }

    fn prompt(&mut self, text_bytes: u64, media: u32, prompt: u64) {
        if prompt == 0 {
            return;
        }
        let (bytes, prompt) = (text_bytes as f64, prompt as f64);
        if media > 0 {
            let each = ((prompt - bytes * self.mean) / f64::from(media)).clamp(TOKENS_PER_MEDIA.0, TOKENS_PER_MEDIA.1);
            self.media += (each - self.media) * 0.4;
            return;
        }
        if text_bytes < LEAST_BYTES {
            return;
        }
        let seen = (prompt / bytes).clamp(TOKENS_PER_BYTE.0, TOKENS_PER_BYTE.1);
        let weight = bytes / (bytes + HALF_WEIGHT);
        // The first counts weigh most: of another script every guess is wrong by a factor.
        let share = (1.0 / f64::from(self.counted + 1)).max(0.3);
        self.mean += (seen - self.mean) * share * weight;
        let share = if seen > self.high { 0.7 } else { share.min(0.1) };
        // The careful guess is not something that was seen: it gives way faster.
        let share = if self.counted < ENOUGH && seen < self.high { 0.3 } else { share };
        self.high += (seen * 1.05 - self.high) * share * weight;
        self.counted = self.counted.saturating_add(1);
    }

    fn answer(&mut self, tokens: u64) {
        if self.answers.len() >= ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(tokens);
        let mut sorted: Vec<u64> = self.answers.iter().copied().collect();
        sorted.sort_unstable();
        let at = (sorted.len() * 9).div_ceil(10).saturating_sub(1);
        let is_enough = sorted.len() >= ENOUGH as usize;
        self.long_answer = sorted.get(at).copied().filter(|_| is_enough);
        self.usual_answer = sorted.get(sorted.len() / 2).copied().filter(|_| is_enough);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ModelName {
        ModelName::new("m")
    }

    #[test]
    fn unknown_models_are_judged_carefully() {
        let tokens = Tokens::default();
        for (bytes, media, likely, at_most) in
            [(0, 0, 0, 16), (4000, 0, 1000, 1350), (12_000, 0, 3000, 4016), (400, 2, 2100, 2650)]
        {
            let estimate = tokens.estimate(&name(), bytes, media);
            assert_eq!((estimate.tokens, estimate.at_most), (likely, at_most), "{bytes} {media}");
            assert!(!estimate.is_learnt);
        }
    }

    #[test]
    fn other_scripts_are_learnt_within_a_few_prompts() {
        for (bytes_per_token, counts) in [(1.0, 4), (1.6, 4), (2.2, 4), (3.0, 3), (4.4, 6), (6.0, 8)] {
            let mut tokens = Tokens::default();
            for _ in 0..counts {
                tokens.counted(&name(), 20_000, 0, (20_000.0 / bytes_per_token) as u64, None);
            }
            let estimate = tokens.estimate(&name(), 100_000, 0);
            let truth = 100_000.0 / bytes_per_token;
            let error = estimate.tokens as f64 / truth;
            assert!((0.8..1.25).contains(&error), "{bytes_per_token}: {error}");
            assert!(estimate.at_most as f64 >= truth * 0.95, "{bytes_per_token}: {estimate:?}");
            assert!(estimate.is_learnt);
        }
    }

    #[test]
    fn prompts_that_make_many_tokens_are_not_soon_forgotten() {
        let mut tokens = Tokens::default();
        for _ in 0..3 {
            tokens.counted(&name(), 20_000, 0, 10_000, None);
        }
        for _ in 0..5 {
            tokens.counted(&name(), 20_000, 0, 5_000, None);
        }
        let estimate = tokens.estimate(&name(), 20_000, 0);
        assert!(estimate.tokens < 6_500 && estimate.at_most > 7_000, "{estimate:?}");
    }

    #[test]
    fn nonsense_does_little_harm() {
        let mut tokens = Tokens::default();
        for (bytes, media, prompt) in
            [(0, 0, 5), (10, 0, 500), (u64::MAX, 0, 1), (1000, 0, u64::MAX), (1, 9, u64::MAX), (500, 0, 0)]
        {
            tokens.counted(&name(), bytes, media, prompt, Some(u64::MAX));
        }
        let estimate = tokens.estimate(&name(), 1000, 0);
        assert!((50..2000).contains(&estimate.tokens), "{estimate:?}");
        let huge = tokens.estimate(&name(), u64::MAX, u32::MAX);
        assert!(huge.at_most >= huge.tokens);
        for model in 0..2 * MODELS {
            tokens.counted(&ModelName::new(&format!("m{model}")), 100, 0, 25, None);
        }
        assert_eq!(tokens.models.len(), MODELS);
    }

    #[test]
    fn room_for_the_answer() {
        let with = |answers: &[u64]| {
            let mut tokens = Tokens::default();
            answers.iter().for_each(|&answer| tokens.counted(&name(), 0, 0, 0, Some(answer)));
            tokens
        };
        for (answers, bound, room) in [
            (&[][..], None, 1024),
            (&[], Some(100), 100),
            (&[], Some(32_000), 4096),
            (&[9, 9], None, 1024),
            (&[9, 9, 9], None, 256),
            (&[600; 10], None, 600),
            (&[9000; 10], None, 4096),
            (&[9000; 10], Some(32_000), 18_000),
            (&[1, 1, 1, 1, 1, 1, 1, 1, 1, 700], None, 256),
            (&[700, 1, 1, 1, 1, 1, 1, 1, 700, 700], None, 700),
        ] {
            assert_eq!(with(answers).needs(&name(), 0, 0, bound).answer_room, room, "{answers:?} {bound:?}");
        }
    }
}
