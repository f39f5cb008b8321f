//! Which rows are there?

mod across;
mod allowed;
mod answers;
mod errors;
mod flows;
mod fragments;
mod host;
mod ipv6;
mod malformed;
mod ndp;
mod outside;
mod published;
mod sources;
mod switching;
mod through;

pub use malformed::truncations;

use super::case::Case;
use super::world::{API, DB, Source, UPLINK, WEB, Who};
use crate::verdict::Verdict;

const FROM_WEB: Source = Source::Container(WEB.ifindex);
const FROM_DB: Source = Source::Container(DB.ifindex);
const FROM_API: Source = Source::Container(API.ifindex);
const TO_WEB: Verdict = Verdict::Deliver { ifindex: WEB.ifindex };
const TO_DB: Verdict = Verdict::Deliver { ifindex: DB.ifindex };
const TO_API: Verdict = Verdict::Deliver { ifindex: API.ifindex };
const OUT: Verdict = Verdict::Forward { ifindex: UPLINK };

const FIN: u8 = 0x01;
const FIN_ACK: u8 = 0x11;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;

/// Rows that mean the same in both families.
fn both(cases: fn(&Who) -> Vec<Case>) -> impl Iterator<Item = Case> {
    cases(&Who::V4).into_iter().chain(cases(&Who::V6).into_iter().map(Case::in_ipv6))
}

/// Every row.
#[must_use]
pub fn all() -> Vec<Case> {
    let files =
        [switching::cases(), outside::cases(), published::cases(), through::cases(), host::cases(), flows::cases()];
    let more = [
        allowed::cases(),
        malformed::cases(),
        ndp::cases(),
        ipv6::cases(),
        across::cases(),
        errors::cases(),
        answers::cases(),
        fragments::cases(),
        sources::cases(),
    ];
    files.into_iter().flatten().chain(more.into_iter().flatten()).collect()
}
