//! What may come after a frame that went somewhere: an answer, an error about it, more of it, or the same again?

use super::changes::PORTS;
use super::damage::damage;
use super::frames::{TCP_FLAGS, address};
use crate::testing::case::Ran;
use crate::testing::checksum::{seal, upper};
use crate::testing::choices::Choices;
use crate::testing::packet::{aged, answer_to, error_about};
use crate::testing::world::{ROUTER, ROUTER_6, ROUTER_MAC, Source, UPLINK_MAC};
use crate::verdict::Verdict;
use netd_common::drop::Hook;
use netd_common::publish::{ICMP, ICMPV6, TCP, UDP};

/// A frame that was sent, and what became of it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub source: Source,
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    /// Who got it, and may answer.
    pub receiver: Source,
}

impl Heard {
    /// Whether it left as it came.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.input == self.output
    }

    /// None of a frame that nobody got.
    #[must_use]
    pub fn new(source: Source, input: &[u8], ran: &Ran) -> Option<Self> {
        let receiver = match (ran.verdict, ran.hook) {
            (Verdict::Deliver { ifindex }, _) => Source::Container(ifindex),
            (Verdict::Forward { .. }, _) | (Verdict::Pass, Hook::UplinkEgress) => Source::Wire,
            (Verdict::Pass | Verdict::Keep, Hook::UplinkIngress) => Source::Host,
            _ => return None,
        };
        let output = ran.frame.bytes.clone();
        is_plain(&output).then(|| Self { source, input: input.to_vec(), output, receiver })
    }
}

/// Whether it is a whole packet without options or extension headers, of a transport that says more than its number.
fn is_plain(frame: &[u8]) -> bool {
    let is_v4 = frame.len() >= 54 && frame[12..15] == [0x08, 0x00, 0x45];
    let is_v6 = frame.len() >= 74 && frame[12..14] == [0x86, 0xdd];
    (is_v4 || is_v6) && matches!(protocol(frame), TCP | UDP | ICMP | ICMPV6)
}

fn is_v4(frame: &[u8]) -> bool {
    frame[12] == 0x08
}

fn protocol(frame: &[u8]) -> u8 {
    if is_v4(frame) { frame[23] } else { frame[20] }
}

/// What the receiver says to it.
pub fn answer(choices: &mut Choices, heard: &Heard) -> (Source, Vec<u8>) {
    let frame = &heard.output;
    let mut answer = match choices.weigh(&[20, 4, 1]) {
        0 => {
            let len = choices.pick(&[0, 0, 6, 33, 100]);
            let mut answer = answer_to(frame, &choices.bytes(len));
            if protocol(frame) == TCP && choices.once_in(2) {
                set_flags(choices, &mut answer);
            }
            answer
        }
        1 => error(choices, frame),
        _ => {
            let mut error = error(choices, frame);
            damage(choices, &mut error);
            error
        }
    };
    let macs = match heard.receiver {
        Source::Wire => [UPLINK_MAC, ROUTER_MAC],
        Source::Host | Source::Forwarded => [ROUTER_MAC, UPLINK_MAC],
        Source::Container(_) => [six(frame, 6), six(frame, 0)],
    };
    if let Some(addresses) = answer.get_mut(..12) {
        addresses.copy_from_slice(&macs.concat());
    }
    if is_plain(&answer) && choices.once_in(20) {
        answer = aged(answer, choices.pick(&[1, 2, 0]));
    }
    if choices.once_in(40) {
        damage(choices, &mut answer);
    }
    (heard.receiver, answer)
}

/// The same sender once more: the same bytes, or others of the same flow. Or the host sends what a container seems to be
/// sending.
pub fn again(choices: &mut Choices, heard: &Heard) -> (Source, Vec<u8>) {
    if heard.receiver == Source::Wire && choices.once_in(4) {
        let mut frame = heard.output.clone();
        frame[..12].copy_from_slice(&[ROUTER_MAC, UPLINK_MAC].concat());
        return (Source::Host, frame);
    }
    let mut frame = heard.input.clone();
    if is_plain(&frame) {
        match (protocol(&frame), choices.below(4)) {
            (TCP, 1 | 2) => set_flags(choices, &mut frame),
            (TCP | UDP, 3) => set_port(choices, &mut frame),
            _ => {}
        }
    }
    (heard.source, frame)
}

fn set_flags(choices: &mut Choices, frame: &mut [u8]) {
    let Some(upper) = upper(frame) else { return };
    if let Some(flags) = frame.get_mut(upper.at + 13) {
        *flags = choices.pick(&TCP_FLAGS);
        seal(frame);
    }
}

/// Another port at one end.
fn set_port(choices: &mut Choices, frame: &mut [u8]) {
    let Some(upper) = upper(frame) else { return };
    let at = upper.at + choices.below(2) * 2;
    if let Some(port) = frame.get_mut(at..at + 2) {
        port.copy_from_slice(&choices.pick(&PORTS).to_be_bytes());
        seal(frame);
    }
}

/// An error about it, that quotes more or less of it.
fn error(choices: &mut Choices, frame: &[u8]) -> Vec<u8> {
    let is_v4 = is_v4(frame);
    let (message, router, header) = if is_v4 {
        (choices.pick(&[(3, 3), (3, 4), (11, 0), (12, 0)]), ROUTER, 20)
    } else {
        (choices.pick(&[(1, 4), (2, 0), (3, 0), (4, 1)]), ROUTER_6, 40)
    };
    let sender = match choices.weigh(&[6, 6, 1]) {
        0 if is_v4 => netd_common::Addr::v4(std::array::from_fn(|index| frame[30 + index])),
        0 => netd_common::Addr::v6(std::array::from_fn(|index| frame[38 + index])),
        1 => router,
        _ => address(choices, is_v4),
    };
    // The eight bytes of the transport that must be there, and what is behind them; or not even those.
    let len = header + choices.pick(&[8, 8, 200, 12, 28, 7, 0]);
    error_about(frame, sender, message, [0, 0, 5, 0], len)
}

fn six(frame: &[u8], at: usize) -> [u8; 6] {
    std::array::from_fn(|index| frame[at + index])
}
