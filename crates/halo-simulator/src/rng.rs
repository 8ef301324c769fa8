//! Reproducible random numbers.

/// A seeded random number generator (splitmix64: three multiplications per draw, which matters at 100 rows a page).
#[derive(Clone, Debug)]
pub(crate) struct SeededRng(u64);

impl SeededRng {
    /// Creates the generator of `seed`.
    pub(crate) fn from_seed(seed: u64) -> SeededRng {
        SeededRng(seed)
    }

    /// Creates the generator of one ticket, which draws the same numbers at every request.
    pub(crate) fn for_ticket(seed: u64, id: i64) -> SeededRng {
        SeededRng(seed ^ id.unsigned_abs().wrapping_mul(0x9E6C_63D0_876A_46CB))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Draws an index into a slice of `length` elements.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        let bound = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// Returns true with a probability of `times` in 1,000.
    pub(crate) fn per_mille(&mut self, times: u64) -> bool {
        self.below(1_000) < times
    }
}
