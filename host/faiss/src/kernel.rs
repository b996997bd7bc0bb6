//! Inner product and squared distance of two vectors, in vector instructions.
//!
//! The loops are written so that the compiler keeps 32 sums in four registers of eight: no chain of additions is longer than a
//! 32nd of the vector, which is faster and more exact than adding one by one.

use crate::Metric;

const LANES: usize = 32;

/// The score of two vectors of equal length.
pub(crate) fn score(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    match metric {
        Metric::InnerProduct => inner_product(a, b),
        Metric::L2 => squared_distance(a, b),
    }
}

// Not inlined: the compiler's good loop does not survive in every caller.
#[inline(never)]
fn inner_product(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |sum, x, y| fused(x, y, sum))
}

#[inline(never)]
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |sum, x, y| fused(x - y, x - y, sum))
}

/// `x * y + sum`, in one instruction where there is one: elsewhere `mul_add` would be a slow call.
#[inline(always)]
fn fused(x: f32, y: f32, sum: f32) -> f32 {
    if cfg!(target_feature = "fma") { x.mul_add(y, sum) } else { x * y + sum }
}

#[inline(always)]
fn sum(a: &[f32], b: &[f32], add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = add(sums[lane], x[lane], y[lane]);
        }
    }
    for lane in 0..a_rest.len().min(b_rest.len()) {
        sums[lane] = add(sums[lane], a_rest[lane], b_rest[lane]);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::score;
    use crate::{Metric, testing::Random};

    #[test]
    fn scores_agree_with_double_precision_at_every_length() {
        let mut random = Random::seeded(1);
        for length in (1..100).chain([384, 768, 1_024, 1_025]) {
            let a: Vec<f32> = (0..length).map(|_| random.unit()).collect();
            let b: Vec<f32> = (0..length).map(|_| random.unit()).collect();
            let pairs = || a.iter().zip(&b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
            let product: f64 = pairs().map(|(x, y)| x * y).sum();
            let distance: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
            let tolerance = 1e-6 * f64::from(length);
            assert!((f64::from(score(Metric::InnerProduct, &a, &b)) - product).abs() < tolerance, "length {length}");
            assert!((f64::from(score(Metric::L2, &a, &b)) - distance).abs() < tolerance, "length {length}");
        }
    }

    #[test]
    fn a_vector_is_at_no_distance_of_itself() {
        let vector = [0.1, 0.2, 0.3];
        assert_eq!(score(Metric::L2, &vector, &vector), 0.0);
    }
}
