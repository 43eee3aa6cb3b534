//! Medians and quantiles of what was measured.

/// The `quantile` (0..=1) of `values` by nearest rank; `None` when there are none. Sorts `values`.
pub(crate) fn quantile(values: &mut [f64], quantile: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    let rank = (last as f64 * quantile.clamp(0.0, 1.0)).round() as usize;
    values.get(rank).copied()
}

/// The middle of `values`, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted.get(half).copied()
    } else {
        Some(f64::midpoint(*sorted.get(half.checked_sub(1)?)?, *sorted.get(half)?))
    }
}

/// Nanoseconds as microseconds.
#[allow(clippy::cast_precision_loss, reason = "durations of a measurement are far below 2^53 ns")]
pub(crate) fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut hundred: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut hundred, 0.5), Some(50.0));
        assert_eq!(quantile(&mut hundred, 0.99), Some(99.0));
        assert_eq!(quantile(&mut hundred, 1.0), Some(100.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
