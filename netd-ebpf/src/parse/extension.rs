//! What stands between an IPv6 header and the transport's?
//!
//! A chain of extension headers (RFC 8200 section 4), each of which names the next. Only the fragment header changes what
//! becomes of the packet; of the others the length is enough.

use super::Packet;
use crate::frame::{Attempt, Frame, Stack, Wire};
use netd_common::drop::DropReason;
use netd_common::limits::EXTENSION_HEADERS_MAX;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// The start of each of them. The fragment header (RFC 8200 section 4.5) has its offset and flags at 2 and its
/// identification at 4.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extension {
    next_header: u8,
    len: u8,
    offset: [u8; 2],
    id: [u8; 4],
}

// SAFETY: made of byte arrays.
unsafe impl Wire for Extension {}

/// Whether a next header is an extension header that is followed. ESP (50) is the end: what is behind it is secret.
#[inline(always)]
pub const fn is_one(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// Follows the chain, and moves `packet` on to the transport header; returns its protocol.
///
/// # Errors
/// [`DropReason::Malformed`] when the chain leaves the packet, [`DropReason::ExtensionHeaders`] when it is too long.
#[inline(always)]
pub fn follow<F: Frame + Stack>(frame: &F, next_header: u8, packet: &mut Packet) -> Result<u8, DropReason> {
    match walk(frame, next_header, packet) {
        MALFORMED => Err(DropReason::Malformed),
        TOO_MANY => Err(DropReason::ExtensionHeaders),
        protocol => Ok(protocol as u8),
    }
}

/// What [`walk`] returns besides a protocol.
const MALFORMED: u32 = 0x100;
const TOO_MANY: u32 = 0x101;

/// It has a stack frame of its own, since few packets come here.
#[inline(never)]
fn walk<F: Frame + Stack>(frame: &F, next_header: u8, packet: &mut Packet) -> u32 {
    let mut chain = Chain { frame, packet, next: u32::from(next_header) };
    F::repeat(EXTENSION_HEADERS_MAX, &mut chain);
    if chain.next == MALFORMED {
        MALFORMED
    } else if is_one(chain.next as u8) && !chain.packet.is_later_fragment() {
        TOO_MANY
    } else {
        chain.next & 0xff
    }
}

struct Chain<'a, F> {
    frame: &'a F,
    packet: &'a mut Packet,
    /// The header that comes next, or [`MALFORMED`].
    next: u32,
}

impl<F: Frame> Attempt for Chain<'_, F> {
    #[inline(always)]
    fn attempt(&mut self) -> bool {
        let header = self.next as u8;
        let packet = &mut *self.packet;
        // Behind a later fragment's header is payload, whatever the header says that it began with.
        if !is_one(header) || packet.is_later_fragment() {
            return true;
        }
        let Some(extension) = self.frame.load::<Extension>(packet.transport) else {
            self.next = MALFORMED;
            return true;
        };
        let len = match header {
            FRAGMENT => {
                let bits = u16::from_be_bytes(extension.offset);
                packet.fragment_offset = bits & 0xfff8;
                // A lone fragment with nothing behind it is whole (RFC 6946).
                packet.is_fragment = u8::from(bits & 0xfff9 != 0);
                packet.fragment_id = u32::from_be_bytes(extension.id);
                8
            }
            AUTHENTICATION => (u32::from(extension.len) + 2) * 4,
            _ => (u32::from(extension.len) + 1) * 8,
        };
        if len > packet.size {
            self.next = MALFORMED;
            return true;
        }
        packet.transport = packet.transport.wrapping_add(len);
        packet.size = packet.size.wrapping_sub(len);
        self.next = u32::from(extension.next_header);
        false
    }
}
