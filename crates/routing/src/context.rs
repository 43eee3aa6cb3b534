//! Decides with how much context a request is served: a plain function over what is loaded and what could be.
//!
//! Ollama loads a model again when a request names another context than the loaded one, a smaller one too (measured
//! with 0.33). So whatever the client names, a request that fits gets exactly what is loaded; one that does not fit
//! makes the model grow, once, to the next power of two.

use crate::Verdict;

/// A load that nobody asked more of gets this, Ollama's own default, unless the model was trained for less.
const LEAST: u64 = 4096;
/// Where nobody told what the model was trained for, it is not loaded with more.
const UNTOLD: u64 = 131_072;
/// While the memory is not known, a client's wish counts up to this: some always name all that the model was trained
/// for (LlamaIndex does), which could be all memory there is.
const BOLD: u64 = 32_768;
/// A client that names less means something else; Ollama would load the model with four tokens.
const LEAST_WISH: u64 = 4;
/// An answer may begin with so little room when there is no more to be had.
const LEAST_ANSWER: u64 = 256;
/// The largest power of two that is ever loaded.
const MOST: u64 = 1 << 40;

/// What a request needs, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// Of the prompt, seldom exceeded.
    pub(crate) prompt: u64,
    /// Of the prompt, likely.
    pub(crate) likely: u64,
    /// Room for the answer.
    pub(crate) answer: u64,
    /// The context that the client names.
    pub(crate) wanted: Option<u64>,
    /// Whether the client expects a prompt that is too long to be cut.
    pub(crate) cuts: bool,
}

impl Need {
    /// What requests of nearly this size need: rounded, so that they wait in one line.
    pub(crate) fn rounded(self) -> Need {
        let prompt = rounded_up(self.prompt);
        Need {
            prompt,
            // Only matters where a prompt may be too long for everything.
            likely: if prompt <= LEAST / 2 { prompt } else { rounded_up(self.likely) },
            answer: rounded_up(self.answer),
            wanted: self.wanted.filter(|&wanted| wanted >= LEAST_WISH),
            ..self
        }
    }

    /// Prompt and answer.
    pub(crate) fn whole(&self) -> u64 {
        self.prompt.saturating_add(self.answer)
    }

    /// The least that is worth a try: the likely prompt, and the beginning of an answer.
    pub(crate) fn least(&self) -> u64 {
        self.likely.saturating_add(self.answer.min(LEAST_ANSWER))
    }
}

/// Steps of 128 tokens, later of a sixteenth.
fn rounded_up(tokens: u64) -> u64 {
    let step = tokens.checked_ilog2().map_or(1, |log| 1 << log.saturating_sub(4)).max(128);
    tokens.checked_next_multiple_of(step).unwrap_or(tokens)
}

/// What a model at a backend has, and could have, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// `None`: it is not in memory. Inner `None`: it is, and nobody told with how much.
    pub(crate) loaded: Option<Option<u64>>,
    /// The most that training, memory and what failed before allow, where known.
    pub(crate) most: Option<u64>,
    /// The context it has been grown to of late.
    pub(crate) remembered: Option<u64>,
    /// Whether memory has a part in `most`.
    pub(crate) knows_memory: bool,
}

/// How a request and a model fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// As it is loaded.
    Serve { context: Option<u64>, verdict: Verdict },
    /// After a load with this context.
    Load { context: u64, verdict: Verdict },
    /// Not as a whole: the backend cuts it to this context, which is loaded first where it is not.
    Cut { context: u64 },
    /// Not at all.
    TooLong { needed: u64, most: u64 },
}

/// How a request that needs `need` is served by what is on `offer`.
pub(crate) fn fit(offer: &Offer, need: &Need) -> Fit {
    let needed = need.whole();
    match offer.loaded {
        Some(None) => return Fit::Serve { context: None, verdict: Verdict::Passed },
        Some(Some(loaded)) if needed <= loaded => {
            return Fit::Serve { context: Some(loaded), verdict: Verdict::Kept };
        }
        _ => {}
    }
    let loaded = offer.loaded.flatten();
    let most = offer.most.unwrap_or(UNTOLD);
    let bold = if offer.knows_memory { most } else { most.min(BOLD) };
    let wanted = need.wanted.filter(|&wanted| wanted >= LEAST_WISH).map_or(0, |wanted| wanted.min(bold));
    let target = match loaded {
        None if wanted >= needed && wanted > 0 => wanted.max(offer.remembered.unwrap_or_default()),
        None => power(needed.max(wanted)).max(offer.remembered.unwrap_or_default()),
        Some(_) => power(needed.max(wanted)),
    };
    let best = target.min(most).max(loaded.unwrap_or_default());
    if need.least() <= best {
        match loaded {
            Some(loaded) if loaded == best => Fit::Serve { context: Some(loaded), verdict: Verdict::Kept },
            Some(_) => Fit::Load { context: best, verdict: Verdict::Grown },
            None => Fit::Load { context: best, verdict: Verdict::Kept },
        }
    } else if need.cuts {
        Fit::Cut { context: best }
    } else {
        Fit::TooLong { needed: need.least(), most: best }
    }
}

fn power(tokens: u64) -> u64 {
    tokens.clamp(LEAST, MOST).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAINED: u64 = 32_768;

    fn text(fit: Fit) -> String {
        match fit {
            Fit::Serve { context: Some(context), verdict } => format!("{} {context}", verdict.as_str()),
            Fit::Serve { context: None, verdict } => verdict.as_str().to_owned(),
            Fit::Load { context, verdict } => format!("load {context} {}", verdict.as_str()),
            Fit::Cut { context } => format!("cut {context}"),
            Fit::TooLong { needed, most } => format!("too long: {needed} of {most}"),
        }
    }

    fn need(prompt: u64, answer: u64, wanted: impl Into<Option<u64>>) -> Need {
        Need { prompt, likely: prompt, answer, wanted: wanted.into(), cuts: false }
    }

    /// The rows of `num_ctx` that make an Ollama load again, none of which may do so here.
    #[test]
    fn what_fits_is_served_as_loaded_whatever_the_client_names() {
        for loaded in [2048, 4096, 8192, 131_072] {
            let offer = Offer { loaded: Some(Some(loaded)), most: Some(TRAINED), ..Offer::default() };
            for wanted in
                [None, Some(0), Some(1), Some(3), Some(512), Some(2048), Some(4096), Some(8192), Some(1 << 30)]
            {
                assert_eq!(text(fit(&offer, &need(1000, 1000, wanted))), format!("kept {loaded}"), "{wanted:?}");
            }
        }
        let unknown = Offer { loaded: Some(None), ..Offer::default() };
        assert_eq!(text(fit(&unknown, &need(1_000_000, 1000, 8192))), "passed");
    }

    #[test]
    fn what_does_not_fit_grows_once() {
        for (name, loaded, prompt, answer, wanted, expected) in [
            ("to the next power of two", 4096, 4000, 1000, None, "load 8192 grown"),
            ("far enough at once", 4096, 9000, 1000, None, "load 16384 grown"),
            ("as far as the client names", 4096, 4000, 1000, Some(16_000), "load 16384 grown"),
            ("not less because the client names less", 4096, 4000, 1000, Some(2048), "load 8192 grown"),
            ("as far as it was trained for", 4096, 31_000, 1500, Some(1 << 20), "load 32768 grown"),
            ("even if the whole answer does not fit", 4096, 32_000, 4000, None, "load 32768 grown"),
            ("no further", 32_768, 32_000, 4000, None, "kept 32768"),
            ("unless nothing is left for the answer", 32_768, 32_600, 4000, None, "too long: 32856 of 32768"),
            ("a short answer needs little", 32_768, 32_600, 100, None, "kept 32768"),
            ("not down", 65_536, 65_000, 2000, None, "kept 65536"),
            ("too long", 4096, 40_000, 1000, None, "too long: 40256 of 32768"),
        ] {
            let offer = Offer { loaded: Some(Some(loaded)), most: Some(TRAINED), ..Offer::default() };
            assert_eq!(text(fit(&offer, &need(prompt, answer, wanted))), expected, "{name}");
        }
    }

    #[test]
    fn a_cold_model_is_loaded_with_what_is_named_or_needed() {
        for (name, most, remembered, prompt, wanted, expected) in [
            ("nothing named", Some(TRAINED), None, 100, None, "load 4096 kept"),
            ("zero is nothing", Some(TRAINED), None, 100, Some(0), "load 4096 kept"),
            ("three is nothing", Some(TRAINED), None, 100, Some(3), "load 4096 kept"),
            ("named", Some(TRAINED), None, 100, Some(6000), "load 6000 kept"),
            ("named smaller than the default", Some(TRAINED), None, 100, Some(2048), "load 2048 kept"),
            ("named too small for the prompt", Some(TRAINED), None, 3000, Some(2048), "load 4096 kept"),
            ("named more than trained for", Some(TRAINED), None, 100, Some(1 << 20), "load 32768 kept"),
            ("trained for less than the default", Some(2048), None, 100, None, "load 2048 kept"),
            ("a long prompt", Some(TRAINED), None, 9000, None, "load 16384 kept"),
            ("it was grown before", Some(TRAINED), Some(16_384), 100, None, "load 16384 kept"),
            ("it was grown before and less is named", Some(TRAINED), Some(16_384), 100, Some(2048), "load 16384 kept"),
            ("it was grown further than memory allows now", Some(8192), Some(16_384), 100, None, "load 8192 kept"),
            ("nothing told", None, None, 500_000, None, "too long: 500256 of 131072"),
            ("named a great deal, memory not known", Some(131_072), None, 100, Some(131_072), "load 32768 kept"),
        ] {
            let offer = Offer { loaded: None, most, remembered, knows_memory: false };
            assert_eq!(text(fit(&offer, &need(prompt, 500, wanted))), expected, "{name}");
        }
        let offer = Offer { most: Some(131_072), knows_memory: true, ..Offer::default() };
        assert_eq!(text(fit(&offer, &need(100, 500, 131_072))), "load 131072 kept");
    }

    #[test]
    fn clients_that_expect_it_are_cut() {
        for (loaded, prompt, likely, expected) in [
            (None, 40_000, 40_000, "cut 32768"),
            (Some(4096), 40_000, 40_000, "cut 32768"),
            (Some(32_768), 40_000, 40_000, "cut 32768"),
            // Only a guess says that it is too long: let the backend count.
            (Some(32_768), 40_000, 30_000, "kept 32768"),
            (Some(4096), 40_000, 30_000, "load 32768 grown"),
        ] {
            let offer = Offer { loaded: loaded.map(Some), most: Some(TRAINED), ..Offer::default() };
            let need = Need { prompt, likely, answer: 1000, wanted: Some(2048), cuts: true };
            assert_eq!(text(fit(&offer, &need)), expected, "{loaded:?} {prompt} {likely}");
        }
    }

    #[test]
    fn whatever_is_loaded_as_decided_then_serves() {
        let sizes = [0, 1, 255, 256, 4096, 5000, 32_768, 1 << 20, u64::MAX];
        for loaded in [None, Some(4), Some(4096), Some(16_384), Some(1 << 22)] {
            for most in [None, Some(512), Some(TRAINED), Some(1 << 21)] {
                for prompt in sizes {
                    for (answer, wanted, cuts) in
                        [(0, None, true), (1024, Some(9000), false), (u64::MAX, Some(1), true)]
                    {
                        let offer = Offer { loaded: loaded.map(Some), most, ..Offer::default() };
                        let need = Need { prompt, likely: prompt / 2, answer, wanted, cuts }.rounded();
                        let context = match fit(&offer, &need) {
                            Fit::Serve { .. } | Fit::TooLong { .. } => continue,
                            Fit::Load { context, .. } | Fit::Cut { context } => context,
                        };
                        let then = fit(&Offer { loaded: Some(Some(context)), ..offer }, &need);
                        let fits = then == Fit::Cut { context }
                            || then == Fit::Serve { context: Some(context), verdict: Verdict::Kept };
                        assert!(fits, "{offer:?} {need:?}: {then:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_are_rounded_by_a_sixteenth_at_most() {
        for (tokens, rounded) in
            [(0, 0), (1, 128), (128, 128), (129, 256), (4000, 4096), (5000, 5120), (100_000, 102_400)]
        {
            assert_eq!(rounded_up(tokens), rounded);
        }
        for tokens in (2048..200_000).step_by(77) {
            let rounded = rounded_up(tokens);
            assert!(rounded >= tokens && rounded - tokens <= tokens / 16, "{tokens} {rounded}");
        }
        assert_eq!(rounded_up(u64::MAX), u64::MAX);
    }
}
