//! (to be written)
use super::{observed::Observed, op::Op, target::Target};

pub fn plan(_target: &Target, _observed: &Observed) -> Vec<Op> {
    todo!()
}
