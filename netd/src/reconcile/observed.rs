//! What does the kernel contain now?

use super::target::Target;

/// What was read of the kernel: the same shape as [`Target`], but another type, so that the two arguments of `plan`
/// cannot be swapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed(pub Target);
