//! How is a packet cut into fragments, well or badly?

use crate::testing::checksum::seal;
use crate::testing::choices::Choices;
use crate::testing::packet::FRAGMENT_HEADER;

/// Fragments of an IP packet, in order: up to four that follow each other, and half the time one that may overlap. None of
/// what cannot be cut.
pub fn cut(choices: &mut Choices, frame: &[u8]) -> Vec<Vec<u8>> {
    let header = match frame.get(12..15) {
        Some([0x08, 0x00, 0x45]) if frame.len() >= 34 + 16 => 34,
        Some([0x86, 0xdd, _]) if frame.len() >= 54 + 16 => 54,
        _ => return Vec::new(),
    };
    let id = choices.pick(&[1, 2, 3]);
    let size = frame.len() - header;
    let count = 2 + choices.below(3);
    // All but the last are multiples of eight bytes long.
    let step = (size.div_ceil(count)).next_multiple_of(8);
    let piece = |start: usize| part(frame, header, (start, size.min(start + step)), start + step < size, id);
    let mut pieces: Vec<_> = (0..size).step_by(step).map(piece).collect();
    if choices.once_in(2) {
        // Near a bound, where mistakes are, or anywhere.
        let anywhere = choices.below(size / 8) * 8;
        let start = choices.pick(&[step - 8, step + 8, 2 * step - 8, anywhere]).min(size / 8 * 8 - 8);
        pieces.push(piece(start));
    }
    pieces
}

/// Bytes `start..end` of a packet's payload as a fragment.
fn part(frame: &[u8], header: usize, (start, end): (usize, usize), has_more: bool, id: u8) -> Vec<u8> {
    let offset = (start / 8) as u16;
    let payload = &frame[header + start..header + end];
    let mut part = frame[..header].to_vec();
    if header == 34 {
        part[16..18].copy_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
        part[18..20].copy_from_slice(&[0, id]);
        part[20..22].copy_from_slice(&(offset | u16::from(has_more) << 13).to_be_bytes());
    } else {
        part[18..20].copy_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
        part.extend([part[20], 0]);
        part.extend((offset << 3 | u16::from(has_more)).to_be_bytes());
        part.extend([0, 0, 0, id]);
        part[20] = FRAGMENT_HEADER;
    }
    part.extend(payload);
    seal(&mut part);
    part
}
