//! What can be wrong with a frame?

use crate::testing::checksum::upper;
use crate::testing::choices::Choices;

/// Does one thing wrong.
pub fn damage(choices: &mut Choices, frame: &mut Vec<u8>) {
    match choices.weigh(&[4, 4, 3, 2, 3, 2]) {
        0 => flip(choices, frame),
        1 => {
            let len = choices.below(frame.len());
            frame.truncate(len);
        }
        2 => length(choices, frame),
        3 => {
            let len = choices.below(20);
            frame.extend(choices.bytes(len));
        }
        4 => checksum(choices, frame),
        _ => {
            for _ in 0..3 {
                flip(choices, frame);
            }
        }
    }
}

/// A bit, of the headers more often than not.
fn flip(choices: &mut Choices, frame: &mut [u8]) {
    let end = if choices.once_in(3) { frame.len() } else { frame.len().min(74) };
    let at = choices.below(end);
    let bit = choices.below(8);
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

/// The length of the packet, or of the datagram or header in it.
fn length(choices: &mut Choices, frame: &mut [u8]) {
    let difference = choices.pick(&[1, 0_u8.wrapping_sub(1), 4, 8, 0_u8.wrapping_sub(8), 100]);
    let is_v6 = frame.get(12) == Some(&0x86);
    let at = match (choices.below(3), upper(frame)) {
        (0, Some(upper)) => upper.at + 5,
        (1, Some(upper)) => upper.at + 12,
        _ if is_v6 => 19,
        _ => 17,
    };
    if let Some(byte) = frame.get_mut(at) {
        *byte = byte.wrapping_add(difference);
    }
}

fn checksum(choices: &mut Choices, frame: &mut [u8]) {
    let Some(upper) = upper(frame) else { return };
    let at = choices.pick(&[upper.at + 16, upper.at + 6, upper.at + 2, 24]);
    let value = choices.pick(&[0_u16, 0xffff, 1]);
    if let Some(sum) = frame.get_mut(at..at + 2) {
        sum.copy_from_slice(&value.to_be_bytes());
    }
}
