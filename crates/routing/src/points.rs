//! The seven documented signals of ollama-herd 0.3.0, as plain functions: points for one backend of one machine.
//!
//! They explain each decision, and make it where the owner wants that. The formulas are taken over as they are, with
//! their oddities.

use std::time::Duration;

use proto::Candidate;

const GB: f64 = (1u64 << 30) as f64;
/// A model that left memory less than so long ago may still be in the file cache.
const WARM: Duration = Duration::from_secs(1800);

/// Where a model is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Heat {
    /// In memory.
    Loaded,
    /// It left memory so long ago.
    Unloaded(Duration),
    /// On disk.
    OnDisk,
}

/// What the signals are computed from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) heat: Heat,
    /// The model's name and its bytes, where known.
    pub(crate) model: &'a str,
    pub(crate) bytes: Option<u64>,
    /// Bytes of the machine's memory and what of them is free, where known.
    pub(crate) memory: Option<(u64, u64)>,
    /// Requests for this model there, waiting or not.
    pub(crate) depth: u32,
    /// Three of four answers take no longer, where any was seen.
    pub(crate) usual: Option<Duration>,
    /// Tokens of context that it is loaded with, where known.
    pub(crate) context: Option<u64>,
    /// Tokens of the prompt.
    pub(crate) tokens: u64,
}

impl Facts<'_> {
    /// Puts the points into `candidate`.
    pub(crate) fn put(&self, candidate: &mut Candidate) {
        let size = self.bytes.map_or_else(|| guessed_gb(self.model), |bytes| bytes as f64 / GB);
        candidate.thermal = thermal(self.heat);
        candidate.memory_fit = memory_fit(self.heat, size, self.memory.map(|(_, free)| free as f64 / GB));
        candidate.queue_depth = queue_depth(self.depth);
        candidate.wait_time = wait_time(self.depth, self.usual, size);
        candidate.role_affinity = role_affinity(size, self.memory.map(|(total, _)| total as f64 / GB));
        // Only machines that learn when they are free have this; none of ours are told of here.
        candidate.availability_trend = 0.0;
        candidate.context_fit = context_fit(self.heat, self.context, self.tokens);
    }
}

/// 50 in memory, 30 until half an hour after it left, 10 on disk.
fn thermal(heat: Heat) -> f64 {
    match heat {
        Heat::Loaded => 50.0,
        Heat::Unloaded(ago) if ago < WARM => 30.0,
        Heat::Unloaded(_) | Heat::OnDisk => 10.0,
    }
}

/// 20 in memory; else by how often the model fits the free memory. Unknown memory earns nothing.
fn memory_fit(heat: Heat, size_gb: f64, free_gb: Option<f64>) -> f64 {
    if heat == Heat::Loaded {
        return 20.0;
    }
    match free_gb.map_or(0.0, |free| free / size_gb.max(0.01)) {
        ratio if ratio > 2.0 => 20.0,
        ratio if ratio > 1.5 => 15.0,
        ratio if ratio > 1.2 => 8.0,
        ratio if ratio >= 1.0 => 3.0,
        _ => 0.0,
    }
}

/// Six less for each request, at most 30 less.
fn queue_depth(depth: u32) -> f64 {
    -(6.0 * f64::from(depth)).min(30.0)
}

/// One less for each ten seconds of work ahead, at most 25 less; of a model never seen, 100 tokens at a guessed speed.
fn wait_time(depth: u32, usual: Option<Duration>, size_gb: f64) -> f64 {
    let each = usual.map_or_else(|| 100.0 / (100.0 / size_gb.max(1.0)).max(1.0), |usual| usual.as_secs_f64());
    -(f64::from(depth) * each / 10.0).min(25.0)
}

/// Large models belong on large machines, small ones on small machines. Unknown memory counts as little.
fn role_affinity(size_gb: f64, memory_gb: Option<f64>) -> f64 {
    let memory = memory_gb.unwrap_or(0.0);
    if size_gb > 20.0 {
        match memory {
            _ if memory >= 128.0 => 15.0,
            _ if memory >= 32.0 => 5.0,
            _ => 0.0,
        }
    } else if size_gb < 8.0 {
        match memory {
            _ if memory <= 32.0 => 15.0,
            _ if memory <= 128.0 => 8.0,
            _ => 3.0,
        }
    } else {
        5.0
    }
}

/// How often the prompt fits the context that is loaded: -15 if it does not, up to 15.
fn context_fit(heat: Heat, context: Option<u64>, tokens: u64) -> f64 {
    let (Heat::Loaded, Some(context), 1..) = (heat, context, tokens) else { return 0.0 };
    match context as f64 / tokens as f64 {
        ratio if ratio < 1.0 => -15.0,
        ratio if ratio < 1.5 => 3.0,
        ratio if ratio < 3.0 => 7.5,
        ratio if ratio < 8.0 => 12.0,
        _ => 15.0,
    }
}

/// The size of a model of which only the name is known, in GB; the first part that the name has decides.
pub(crate) fn guessed_gb(name: &str) -> f64 {
    const SIZES: [(&str, f64); 14] = [
        ("671b", 370.0),
        ("405b", 230.0),
        ("70b", 40.0),
        ("32b", 20.0),
        ("8x7b", 20.0),
        ("22b", 14.0),
        ("14b", 9.0),
        ("7b", 5.0),
        ("8b", 5.0),
        ("3b", 2.5),
        ("4b", 2.5),
        ("1b", 1.0),
        ("0.5b", 1.0),
        ("embed", 0.3),
    ];
    SIZES.iter().find(|(part, _)| name.contains(part)).map_or(10.0, |(_, size)| *size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_the_documented_points() {
        let secs = Duration::from_secs;
        for (heat, points) in [
            (Heat::Loaded, 50.0),
            (Heat::Unloaded(secs(1799)), 30.0),
            (Heat::Unloaded(secs(1800)), 10.0),
            (Heat::OnDisk, 10.0),
        ] {
            assert_eq!(thermal(heat), points, "{heat:?}");
        }
        for (size, free, points) in [
            (4.0, Some(8.1), 20.0),
            (4.0, Some(8.0), 15.0),
            (4.0, Some(6.0), 8.0),
            (4.0, Some(4.8), 3.0),
            (4.0, Some(4.0), 3.0),
            (4.0, Some(3.9), 0.0),
            (4.0, None, 0.0),
        ] {
            assert_eq!(memory_fit(Heat::OnDisk, size, free), points, "{size} {free:?}");
            assert_eq!(memory_fit(Heat::Loaded, size, free), 20.0);
        }
        for (depth, points) in [(0, 0.0), (1, -6.0), (5, -30.0), (50, -30.0)] {
            assert_eq!(queue_depth(depth), points, "{depth}");
        }
        for (depth, usual, size, points) in [
            (0, Some(secs(90)), 1.0, 0.0),
            (1, Some(secs(10)), 1.0, -1.0),
            (3, Some(secs(20)), 1.0, -6.0),
            (9, Some(secs(90)), 1.0, -25.0),
            (1, None, 40.0, -4.0),
            (1, None, 0.3, -0.1),
            (1, None, 1000.0, -10.0),
        ] {
            assert!((wait_time(depth, usual, size) - points).abs() < 1e-9, "{depth} {usual:?} {size}");
        }
        for (size, memory, points) in [
            (40.0, Some(128.0), 15.0),
            (40.0, Some(64.0), 5.0),
            (40.0, Some(16.0), 0.0),
            (40.0, None, 0.0),
            (5.0, Some(32.0), 15.0),
            (5.0, Some(64.0), 8.0),
            (5.0, Some(192.0), 3.0),
            (14.0, Some(16.0), 5.0),
        ] {
            assert_eq!(role_affinity(size, memory), points, "{size} {memory:?}");
        }
        for (context, tokens, points) in [
            (Some(1000), 1001, -15.0),
            (Some(1000), 1000, 3.0),
            (Some(1500), 1000, 7.5),
            (Some(3000), 1000, 12.0),
            (Some(8000), 1000, 15.0),
            (Some(8000), 0, 0.0),
            (None, 10, 0.0),
        ] {
            assert_eq!(context_fit(Heat::Loaded, context, tokens), points, "{context:?} {tokens}");
            assert_eq!(context_fit(Heat::OnDisk, context, tokens), 0.0);
        }
    }

    #[test]
    fn sizes_are_guessed_by_the_first_part_that_fits() {
        for (name, size) in
            [("llama3:70b", 40.0), ("gemma:27b", 5.0), ("qwen:0.5b", 1.0), ("nomic-embed-text", 0.3), ("mystery", 10.0)]
        {
            assert_eq!(guessed_gb(name), size, "{name}");
        }
    }
}
