//! Which calls of bpf(2) does aya not make for us?
//!
//! Links of any type: made by interface index, since a name may be another's by the time it is used; updated in place;
//! asked what they are attached to; pinned again. Maps in bulk are the business of [`super::batch`].

use crate::model::node::XdpMode;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_TYPE_CGROUP: u32 = 3;
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_LINK_TYPE_TCX: u32 = 11;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The `BPF_MAP_*_ELEM` member of `union bpf_attr`.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The `link_create` member of `union bpf_attr`; all zero behind the flags means "behind the others".
#[repr(C)]
struct LinkCreateAttr {
    program_fd: u32,
    /// A cgroup's descriptor or an interface index.
    target: u32,
    attach_type: u32,
    flags: u32,
    rest: [u64; 2],
}

/// The `BPF_OBJ_*` member of `union bpf_attr`.
#[repr(C)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The `link_update` member of `union bpf_attr`.
#[repr(C)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_program_fd: u32,
    flags: u32,
    old_program_fd: u32,
}

/// The `info` member of `union bpf_attr`.
#[repr(C)]
struct InfoAttr {
    fd: u32,
    info_len: u32,
    info: u64,
}

/// The start of `struct bpf_link_info`, as far as TCX, XDP and cgroup links use it.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    pad: u32,
    /// The cgroup's number, or the interface index in the low half, and the attach type of TCX in the high one.
    target: u64,
    rest: [u64; 8],
}

/// What a link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub program_id: u32,
    pub target: LinkTarget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTarget {
    /// An interface of the namespace where it was attached; 0 when the interface is gone.
    Interface(u32),
    /// A cgroup by its number, which is the inode of its folder; 0 when the cgroup is gone.
    Cgroup(u64),
    Other,
}

/// `enum bpf_attach_type`, as far as netd uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AttachType {
    Bind4 = 8,
    Bind6 = 9,
    Connect4 = 10,
    Connect6 = 11,
    Sendmsg4 = 14,
    Sendmsg6 = 15,
    Recvmsg4 = 19,
    Recvmsg6 = 20,
    Getpeername4 = 29,
    Getpeername6 = 30,
    Xdp = 37,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// What a program is to be attached to.
#[derive(Clone, Copy, Debug)]
pub enum AttachTo<'a> {
    /// An interface of this thread's network namespace.
    Interface(u32),
    /// The driver of such an interface, or, in generic mode, the kernel behind it. No other program may be there.
    Driver(u32, XdpMode),
    /// The folder of a cgroup.
    Cgroup(BorrowedFd<'a>),
}

/// Attaches a program behind those that are there already, XDP in an empty place. It stays while the link is open or pinned.
///
/// # Errors
/// Those of `BPF_LINK_CREATE`.
pub fn attach(program: BorrowedFd<'_>, to: AttachTo<'_>, attach_type: AttachType) -> io::Result<OwnedFd> {
    let (target, flags) = match to {
        AttachTo::Interface(ifindex) => (ifindex, 0),
        AttachTo::Driver(ifindex, XdpMode::Native) => (ifindex, XDP_FLAGS_DRV_MODE),
        AttachTo::Driver(ifindex, XdpMode::Generic) => (ifindex, XDP_FLAGS_SKB_MODE),
        AttachTo::Cgroup(folder) => (fd_of(folder), 0),
    };
    let mut attr =
        LinkCreateAttr { program_fd: fd_of(program), target, attach_type: attach_type as u32, flags, rest: [0; 2] };
    // SAFETY: the attribute holds open descriptors and no pointer; what is returned is a new descriptor, ours alone.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(BPF_LINK_CREATE, &mut attr)?)) }
}

/// Gives an object a name in bpffs.
///
/// # Errors
/// Those of `BPF_OBJ_PIN`.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { path: name.as_ptr() as u64, fd: fd_of(object), flags: 0 };
    // SAFETY: the path ends in zero and outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr).map(drop) }
}

/// Opens an object by its name in bpffs.
///
/// # Errors
/// Those of `BPF_OBJ_GET`.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { path: name.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: as in `pin`; what is returned is a new descriptor, ours alone.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(BPF_OBJ_GET, &mut attr)?)) }
}

/// The value of an array's first element.
///
/// # Errors
/// Those of `BPF_MAP_LOOKUP_ELEM`.
pub fn first_value(map: BorrowedFd<'_>, value_size: usize) -> io::Result<Vec<u8>> {
    let index = 0_u32;
    let mut value = vec![0; value_size];
    let mut attr = ElementAttr {
        map_fd: fd_of(map),
        pad: 0,
        key: std::ptr::from_ref(&index) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: an array's key is a u32, and the buffer is as large as a value.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) }?;
    Ok(value)
}

/// Exchanges the program of a link: no packet and no call meets a gap.
///
/// # Errors
/// Those of `BPF_LINK_UPDATE`; `ENOLINK` when what it was attached to is gone.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link_fd: fd_of(link), new_program_fd: fd_of(program), flags: 0, old_program_fd: 0 };
    // SAFETY: the attribute holds two open descriptors and no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr).map(drop) }
}

/// # Errors
/// Those of `BPF_OBJ_GET_INFO_BY_FD`.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = RawLinkInfo::default();
    let mut attr = InfoAttr {
        fd: fd_of(link),
        info_len: size_of::<RawLinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the buffer is `info_len` bytes of integers.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let target = match info.link_type {
        BPF_LINK_TYPE_TCX | BPF_LINK_TYPE_XDP => LinkTarget::Interface(info.target as u32),
        BPF_LINK_TYPE_CGROUP => LinkTarget::Cgroup(info.target),
        _ => LinkTarget::Other,
    };
    Ok(LinkInfo { program_id: info.program_id, target })
}

pub(super) fn fd_of(fd: BorrowedFd<'_>) -> u32 {
    // A descriptor is never negative.
    fd.as_raw_fd().unsigned_abs()
}

/// # Safety
///
/// `attr` must be the member of `union bpf_attr` that `command` reads, and its pointers valid as the command needs.
pub(super) unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
