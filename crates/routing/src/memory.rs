//! Estimates how much memory a model takes with how much context.
//!
//! What a backend said of the loaded model counts; from two contexts follows what a token costs. Before that: the file
//! and a tenth, and for each token 48 KiB times the square root of the model's billions of parameters, which is within
//! a third of the 16-bit caches of the Llama 3 and Qwen 2.5 models from 1 to 70 billion.

use proto::Model;

/// Contexts of one model of which the size is remembered.
const REMEMBERED: usize = 4;
/// A parameter of a model whose number is not told, in bits: the usual four-bit quantization.
const BITS: u64 = 5;
const KIB_PER_TOKEN: f64 = 48.0;

/// What is known of one model's size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sizes {
    /// Context and bytes, by context.
    seen: Vec<(u64, u64)>,
    disk: Option<u64>,
    /// Bytes of each token of context, guessed.
    guess: u64,
}

impl Sizes {
    /// Takes in what is told of the model, which works on `slots` requests at once.
    pub(crate) fn describe(&mut self, model: &Model, slots: u32) {
        self.disk = model.size;
        let told = model.parameter_size.as_deref().and_then(parameters);
        let parameters = told.or(model.size.map(|size| size as f64 * 8.0 / BITS as f64)).unwrap_or(8e9);
        let bytes = (parameters / 1e9).clamp(0.01, 10_000.0).sqrt() * KIB_PER_TOKEN * 1024.0;
        self.guess = bytes as u64 * u64::from(slots.max(1));
    }

    /// The backend says that the model takes `bytes` with that context.
    pub(crate) fn see(&mut self, context: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        match self.seen.binary_search_by_key(&context, |seen| seen.0) {
            Ok(at) => self.seen[at].1 = bytes,
            Err(at) => {
                if self.seen.len() >= REMEMBERED {
                    self.seen.remove(usize::from(at <= REMEMBERED / 2));
                }
                let at = self.seen.partition_point(|seen| seen.0 < context);
                self.seen.insert(at, (context, bytes));
            }
        }
    }

    /// Bytes in memory with `context`; `None`: nobody told anything.
    pub(crate) fn with(&self, context: u64) -> Option<u64> {
        let each = self.each();
        let nearest = self.seen.iter().min_by_key(|seen| seen.0.abs_diff(context));
        let (at, bytes) = match nearest {
            Some(&seen) => seen,
            None => (0, self.disk.map(|disk| disk.saturating_add(disk / 10))?),
        };
        Some(if context >= at {
            bytes.saturating_add((context - at).saturating_mul(each))
        } else {
            bytes.saturating_sub((at - context).saturating_mul(each))
        })
    }

    /// The largest context, in whole thousands, with which it takes no more than `bytes`; `None`: nobody told anything.
    pub(crate) fn context_in(&self, bytes: u64) -> Option<u64> {
        let none = self.with(0)?;
        Some((bytes.saturating_sub(none) / self.each().max(1)) / 1024 * 1024)
    }

    fn each(&self) -> u64 {
        match (self.seen.first(), self.seen.last()) {
            (Some(first), Some(last)) if last.0 > first.0 && last.1 > first.1 => {
                (last.1 - first.1) / (last.0 - first.0)
            }
            _ => self.guess,
        }
    }
}

/// Of `8.0B`, `135M` or `8x7B`.
fn parameters(text: &str) -> Option<f64> {
    let unit = text.chars().last()?.to_ascii_uppercase();
    let scale = [('K', 1e3), ('M', 1e6), ('B', 1e9), ('T', 1e12)].into_iter().find(|scale| scale.0 == unit)?.1;
    let number = &text[..text.len() - 1];
    let product = match number.split_once(['x', 'X']) {
        Some((times, each)) => times.trim().parse::<f64>().ok()? * each.trim().parse::<f64>().ok()?,
        None => number.trim().parse::<f64>().ok()?,
    };
    (product.is_finite() && product > 0.0).then_some(product * scale)
}

#[cfg(test)]
mod tests {
    use proto::ModelName;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn sizes(disk: Option<u64>, parameter_size: Option<&str>) -> Sizes {
        let model = Model {
            name: ModelName::new("m"),
            id: "m".to_owned(),
            digest: None,
            weights: None,
            size: disk,
            quantization: None,
            family: None,
            parameter_size: parameter_size.map(Into::into),
            capabilities: vec![],
            context_trained: None,
            modified_at: None,
            loaded: None,
            listing: None,
        };
        let mut sizes = Sizes::default();
        sizes.describe(&model, 1);
        sizes
    }

    #[test]
    fn parameters_are_read() {
        for (text, billions) in
            [("8.0B", Some(8.0)), ("135M", Some(0.135)), ("8x7B", Some(56.0)), ("", None), ("B", None), ("ß", None)]
        {
            assert_eq!(parameters(text).map(|count| count / 1e9), billions, "{text}");
        }
    }

    #[test]
    fn guesses_are_near_what_such_models_take() {
        // Bytes of a 16-bit cache for one token: layers x heads of the cache x their width x 4.
        for (size, bytes) in [("1.2B", 32_768), ("3.2B", 114_688), ("8B", 131_072), ("32B", 262_144), ("70B", 327_680)]
        {
            let guess = sizes(None, Some(size)).guess;
            assert!(guess * 3 > bytes * 2 && guess < bytes * 2, "{size}: {guess} for {bytes}");
        }
    }

    /// SmolLM2 on Ollama 0.33: 209 MB at 4096, 331 MB at 8192.
    #[test]
    fn two_contexts_tell_the_rest() {
        let mut sizes = sizes(Some(145 * MIB), Some("135M"));
        assert_eq!(sizes.with(0), Some(145 * MIB + 145 * MIB / 10));
        sizes.see(4096, 209 * MIB);
        assert_eq!(sizes.with(4096), Some(209 * MIB));
        sizes.see(8192, 331 * MIB);
        assert_eq!(sizes.with(16_384).map(|bytes| bytes / MIB), Some(575));
        assert_eq!(sizes.context_in(575 * MIB), Some(16_384));
        assert_eq!(sizes.context_in(MIB), Some(0));
        for context in 1..100 {
            sizes.see(context * 100, context * MIB);
            assert!(sizes.seen.len() <= REMEMBERED && sizes.seen.is_sorted());
        }
        assert_eq!(Sizes::default().with(4096), None);
    }
}
