//! Which rows are there?

mod allowed;
mod flows;
mod host;
mod malformed;
mod outside;
mod published;
mod switching;
mod through;

pub use malformed::{bad_headers, truncations};

use super::case::Case;
use super::world::{API, DB, Source, UPLINK, WEB};
use crate::verdict::Verdict;

const FROM_WEB: Source = Source::Container(WEB.ifindex);
const FROM_DB: Source = Source::Container(DB.ifindex);
const FROM_API: Source = Source::Container(API.ifindex);
const TO_WEB: Verdict = Verdict::Deliver { ifindex: WEB.ifindex };
const TO_DB: Verdict = Verdict::Deliver { ifindex: DB.ifindex };
const TO_API: Verdict = Verdict::Deliver { ifindex: API.ifindex };
const OUT: Verdict = Verdict::Forward { ifindex: UPLINK };

const FIN_ACK: u8 = 0x11;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;

/// Every row.
#[must_use]
pub fn all() -> Vec<Case> {
    let files =
        [switching::cases(), outside::cases(), published::cases(), through::cases(), host::cases(), flows::cases()];
    files.into_iter().flatten().chain(allowed::cases()).chain(malformed::cases()).collect()
}
