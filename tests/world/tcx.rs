//! Which TCX programs are on an interface, and how does a test put another's, or one of XDP, beside netd's?
//!
//! By bpf(2) itself, since bpftool shows TCX from version 7.3 on only.

use super::Place;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// bpf(2), and the numbers of `linux/bpf.h` that are used here.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_F_BEFORE: u32 = 1 << 3;
const TCX_NEXT: i32 = -1;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_PASS: i32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Before all that are there.
    First,
    /// After all that are there.
    Last,
}

/// A program that lets every packet on; attached until it is dropped.
#[derive(Debug)]
pub struct ForeignProgram {
    _link: OwnedFd,
}

/// How many programs are attached to the interface `name` of a place.
#[must_use]
pub fn programs(place: &Place, name: &str, direction: Direction) -> u32 {
    // The kernel writes the number into the attributes, here the seventh word.
    let mut attributes = Attributes::default();
    place.run(|| {
        let index = nix::net::if_::if_nametoindex(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        attributes.words[..2].copy_from_slice(&[index, direction.attach_type()]);
        attributes.call(BPF_PROG_QUERY).expect("a query of TCX programs");
    });
    attributes.words[6]
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    const fn attach_type(self) -> u32 {
        match self {
            Self::Ingress => BPF_TCX_INGRESS,
            Self::Egress => BPF_TCX_EGRESS,
        }
    }
}

impl ForeignProgram {
    /// Attaches it to the interface `name` of a place.
    #[must_use]
    pub fn attach(place: &Place, name: &str, direction: Direction, position: Position) -> Self {
        let program = load(BPF_PROG_TYPE_SCHED_CLS, TCX_NEXT).expect("a program of two instructions");
        let index = place.run(|| nix::net::if_::if_nametoindex(name)).expect("an interface");
        let flags = match position {
            Position::First => BPF_F_BEFORE,
            Position::Last => 0,
        };
        let mut attributes = Attributes::default();
        attributes.words[..4].copy_from_slice(&[fd_word(program.as_raw_fd()), index, direction.attach_type(), flags]);
        let link = place.run(|| attributes.open(BPF_LINK_CREATE)).expect("a TCX link");
        Self { _link: link }
    }

    /// Attaches one that lets every frame pass as the XDP program of the interface `name`.
    #[must_use]
    pub fn attach_xdp(place: &Place, name: &str) -> Self {
        let program = load(BPF_PROG_TYPE_XDP, XDP_PASS).expect("a program of two instructions");
        let index = place.run(|| nix::net::if_::if_nametoindex(name)).expect("an interface");
        let mut attributes = Attributes::default();
        attributes.words[..4].copy_from_slice(&[fd_word(program.as_raw_fd()), index, BPF_XDP, XDP_FLAGS_SKB_MODE]);
        let link = place.run(|| attributes.open(BPF_LINK_CREATE)).expect("an XDP link");
        Self { _link: link }
    }
}

/// A program that only returns this.
fn load(kind: u32, returned: i32) -> io::Result<OwnedFd> {
    // r0 = returned; exit.
    let instructions: [u64; 2] = [u64::from(returned.cast_unsigned()) << 32 | 0xb7, 0x95];
    let license = c"GPL";
    let mut attributes = Attributes::default();
    attributes.words[..2].copy_from_slice(&[kind, 2]);
    attributes.set_pointer(2, instructions.as_ptr() as u64);
    attributes.set_pointer(4, license.as_ptr() as u64);
    attributes.open(BPF_PROG_LOAD)
}

/// `union bpf_attr`, as 32-bit words; what is not set is zero.
#[repr(C, align(8))]
#[derive(Default)]
struct Attributes {
    words: [u32; 32],
}

impl Attributes {
    fn set_pointer(&mut self, word: usize, pointer: u64) {
        let bytes = pointer.to_ne_bytes();
        let half = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        self.words[word..word + 2].copy_from_slice(&[half(0), half(4)]);
    }

    fn call(&mut self, command: libc::c_int) -> io::Result<libc::c_long> {
        // SAFETY: the attributes are as large as said, and the pointers in them live until the call returns, which the
        // callers see to.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(self), size_of::<Self>()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    /// A command that returns a new descriptor.
    fn open(&mut self, command: libc::c_int) -> io::Result<OwnedFd> {
        let fd = RawFd::try_from(self.call(command)?).map_err(io::Error::other)?;
        // SAFETY: the kernel has just opened it for us, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn fd_word(fd: RawFd) -> u32 {
    u32::try_from(fd).expect("an open descriptor")
}
