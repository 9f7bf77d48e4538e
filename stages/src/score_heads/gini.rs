//! The Gini coefficient: how unevenly retrieval is spread over the heads (the paper's measure of sparsity).

/// The Gini coefficient of non-negative values: `sum((2i - n - 1) x_i) / (n sum(x))` over the values in
/// rising order, i from 1. 0 when all are equal, and by convention when all are 0; close to 1 when one value
/// holds everything.
pub fn gini(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let total: f64 = sorted.iter().sum();
    if total == 0.0 {
        return 0.0;
    }
    let weighted: f64 =
        sorted.iter().enumerate().map(|(index, value)| (2.0 * (index + 1) as f64 - count - 1.0) * value).sum();
    weighted / (count * total)
}

#[cfg(test)]
mod tests {
    use super::gini;

    #[test]
    fn known_distributions() {
        assert_eq!(gini(&[]), 0.0);
        assert_eq!(gini(&[0.0, 0.0]), 0.0);
        assert_eq!(gini(&[3.0, 3.0, 3.0]), 0.0);
        // One of n holds everything: (n - 1) / n.
        assert_eq!(gini(&[0.0, 5.0, 0.0, 0.0]), 0.75);
        // Mean absolute difference over twice the mean: pairs of 1, 2, 3 differ by 8/9 on average, mean 2.
        assert!((gini(&[2.0, 1.0, 3.0]) - 8.0 / 9.0 / 4.0).abs() < 1e-15);
    }
}
