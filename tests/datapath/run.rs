//! How does the kernel run a program on one frame?

use netd_common::limits::HELD_SIZE_MAX;
use netd_common::publish::UDP;
use netd_ebpf::testing::checksum::checksum;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// What a TCX program returns.
pub const NEXT: u32 = u32::MAX;
pub const DROP: u32 = 2;
pub const REDIRECT: u32 = 7;

/// What is left of a frame, and what the program returned.
#[derive(Debug)]
pub struct RunResult {
    pub value: u32,
    #[allow(dead_code, reason = "for the benchmarks, which take this file too")]
    pub duration_ns: u32,
    pub bytes: Vec<u8>,
}

/// Runs a program on a frame that came in by `ingress`, 0 for none. `checks_sum` says whether the kernel's own sum over the
/// packet must be right afterwards.
///
/// # Errors
/// Those of `BPF_PROG_TEST_RUN`.
pub fn run(
    program: BorrowedFd<'_>,
    (ifindex, ingress): (u32, u32),
    frame: &[u8],
    checks_sum: bool,
) -> io::Result<RunResult> {
    // `struct __sk_buff` up to the last field that is set; the kernel takes the rest for zero.
    let mut context = [0_u32; 11];
    context[9] = ingress;
    context[10] = ifindex;
    // Room for headers, and for a kept fragment, which is what may be left of the frame.
    let mut out = vec![0; frame.len().max(HELD_SIZE_MAX) + 256];
    let mut attr = TestAttr {
        program_fd: program.as_raw_fd() as u32,
        size_in: frame.len() as u32,
        size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        context_size_in: size_of_val(&context) as u32,
        context_in: context.as_ptr() as u64,
        flags: if checks_sum { CHECKSUM_COMPLETE } else { 0 },
        ..TestAttr::default()
    };
    // SAFETY: `attr` is the `test` member of `union bpf_attr`, its size is given, and its pointers are valid for the
    // sizes beside them for the time of the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attr, size_of::<TestAttr>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    out.truncate(attr.size_out as usize);
    Ok(RunResult { value: attr.return_value, duration_ns: attr.duration, bytes: out })
}

const BPF_PROG_TEST_RUN: libc::c_long = 10;
/// The kernel keeps a sum over the packet, as for a network card that made one, and checks afterwards that the program
/// kept it right (Linux 6.16).
const CHECKSUM_COMPLETE: u32 = 1 << 2;

/// The `test` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct TestAttr {
    program_fd: u32,
    return_value: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// Whether the kernel makes a packet of it for such a run: it wants whole Ethernet and IP headers.
pub fn takes(frame: &[u8]) -> bool {
    let size_min = match frame.get(12..14) {
        None => return false,
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        Some(_) => 14,
    };
    frame.len() >= size_min
}

/// Bytes of a frame that every link takes, whatever becomes of it.
const FITTING: usize = 1480;

/// Bytes of a neighbour solicitation with an option, which its answer has, too.
const SOLICITATION: usize = 86;

/// Whether the kernel's sum must hold: of IP. UDP without a checksum cannot make up for a changed port, but nobody looks
/// at the sum of such a datagram, nor at that of an ARP answer. One that is cut or grows into an answer has no such sum
/// any more: packets at the end of their time, those too large, and neighbour solicitations without an option or with more.
pub fn may_check_sum(frame: &[u8]) -> bool {
    let is_none = |at: usize| frame.get(at..at + 2) == Some(&[0, 0]);
    let (ttl, is_v6) = (frame.get(if frame.get(12) == Some(&0x86) { 21 } else { 22 }), frame.get(12) == Some(&0x86));
    // In a header that is right all else sums up to nothing, which counts where the header becomes one of IPv6.
    let header_end = 14 + usize::from(frame.get(14).map_or(0, |byte| byte & 0x0f)) * 4;
    if frame.get(12) == Some(&0x08) && frame.get(14..header_end).map(checksum) != Some([0, 0]) {
        return false;
    }
    if matches!(ttl, Some(0 | 1)) || frame.len() > FITTING || is_v6 && frame.len() != SOLICITATION && ttl == Some(&255)
    {
        return false;
    }
    transport(frame).is_some_and(|(protocol, at)| protocol != UDP || !is_none(at + 6))
}

/// Whether it is a fragment that others follow, and the first.
pub fn is_first_fragment(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(20..22).is_some_and(|word| word[0] & 0x3f == 0x20 && word[1] == 0),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&44) && frame.get(56..58) == Some(&[0, 1]),
        _ => false,
    }
}

/// The protocol of an IP frame and the offset of its transport header.
fn transport(frame: &[u8]) -> Option<(u8, usize)> {
    let (mut protocol, mut at) = match frame.get(12..14)? {
        [0x08, 0x00] => (*frame.get(23)?, 14 + usize::from(frame.get(14)? & 0x0f) * 4),
        [0x86, 0xdd] => (*frame.get(20)?, 54),
        _ => return None,
    };
    // Extension headers of IPv6, whose lengths are counted in three ways.
    while matches!(protocol, 0 | 43 | 44 | 51 | 60) {
        let len = usize::from(*frame.get(at + 1)?);
        let size = match protocol {
            44 => 8,
            51 => (len + 2) * 4,
            _ => (len + 1) * 8,
        };
        protocol = *frame.get(at)?;
        at += size;
    }
    Some((protocol, at))
}
