//! Owns how sure a part of a whole is: the one-sided bounds of Wilson's score interval at 95 %.
//! Must not know: what is counted.

/// The quantile of the normal distribution at 95 %.
const Z: f64 = 1.644_853_6;

/// Not less than this part, with 95 % of certainty.
pub(super) fn lower(count: u64, of: u64) -> f64 {
    bound(count, of, -1.0)
}

/// Not more.
pub(super) fn upper(count: u64, of: u64) -> f64 {
    bound(count, of, 1.0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nodes and requests are far below 2^52"
)]
fn bound(count: u64, of: u64, side: f64) -> f64 {
    if of == 0 {
        return if side < 0.0 { 0.0 } else { 1.0 };
    }
    let (count, of) = (count.min(of) as f64, of as f64);
    let part = count / of;
    let center = part + Z * Z / (2.0 * of);
    let spread = Z * (part * (1.0 - part) / of + Z * Z / (4.0 * of * of)).sqrt();
    let bound = (center + side * spread) / (1.0 + Z * Z / of);
    // Rounding must not make something of nothing.
    match count {
        0.0 if side < 0.0 => 0.0,
        _ => bound.clamp(0.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (count, of, low, high) in [
            (0, 10, 0.000_0, 0.212_9),
            (1, 20, 0.011_2, 0.196_0),
            (5, 10, 0.269_3, 0.730_7),
            (10, 10, 0.787_1, 1.000_0),
            (0, 0, 0.0, 1.0),
            (3, 300, 0.004_0, 0.024_8),
        ] {
            assert!(
                (lower(count, of) - low).abs() < 1e-3,
                "{count}/{of}: {}",
                lower(count, of)
            );
            assert!(
                (upper(count, of) - high).abs() < 1e-3,
                "{count}/{of}: {}",
                upper(count, of)
            );
        }
    }
}
