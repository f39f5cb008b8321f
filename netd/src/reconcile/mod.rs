//! How does the kernel come to hold what the user asked for?
//!
//! `State --lower--> Target --plan(Target, Observed)--> [Op] --apply--> kernel`. Crash, drift, restart and upgrade are
//! one function with two arguments. Everything but the loop is pure.

pub mod changed;
pub mod lower;
pub mod observed;
pub mod op;
pub mod parent;
pub mod pass;
pub mod plan;
pub mod pool;
pub mod run;
pub mod status;
pub mod target;
pub mod unmet;
