//! How is a tape of numbers read as choices?
//!
//! Whatever is made at random here is made by choices from a tape, and not from a generator: a test that finds something
//! can then lower and leave out numbers, and what was made becomes plainer (`proptest` does). So the plainest alternative
//! always comes first: a tape of zeros, or one that has ended, makes the plainest of all.

use super::random::Random;

/// The reader of a tape.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a> {
    left: &'a [u16],
}

impl<'a> Choices<'a> {
    #[must_use]
    pub const fn new(tape: &'a [u16]) -> Self {
        Self { left: tape }
    }

    /// The next number, 0 behind the end.
    pub const fn next(&mut self) -> u16 {
        if let [first, left @ ..] = self.left {
            self.left = left;
            *first
        } else {
            0
        }
    }

    /// Below `end`, which is not 0. The lower the number, the lower the choice.
    pub fn below(&mut self, end: usize) -> usize {
        (usize::from(self.next()) * end) >> 16
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    /// One of a list that is not empty.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// The index of one of these weights, which comes up as often as it is heavy.
    pub fn weigh(&mut self, weights: &[usize]) -> usize {
        let mut at = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        0
    }

    /// So many bytes, which cost one number; zeros if that is 0.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let seed = u64::from(self.next());
        let mut random = Random::new(seed);
        (0..len).map(|_| if seed == 0 { 0 } else { random.next() as u8 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_that_has_ended_makes_the_plainest() {
        let mut choices = Choices::new(&[]);
        assert_eq!((choices.below(9), choices.pick(&["plain", "odd"]), choices.weigh(&[1, 9])), (0, "plain", 0));
        assert!(!choices.once_in(2));
        assert_eq!(choices.bytes(2), [0, 0]);
    }

    #[test]
    fn every_alternative_comes_up_by_its_weight() {
        let mut counts = [0; 3];
        for number in 0..=u16::MAX {
            counts[Choices::new(&[number]).weigh(&[2, 1, 1])] += 1;
        }
        assert_eq!(counts, [1 << 15, 1 << 14, 1 << 14]);
        let times = (0..=u16::MAX).filter(|number| Choices::new(&[*number]).once_in(4)).count();
        assert_eq!(times, 1 << 14);
    }
}
