//! How does the guard get onto an uplink, and in which mode does it run there?
//!
//! In the driver where the driver can, else behind it. A veth could, but is better off without: native XDP on one side
//! takes segmentation offload from the other, and what comes in is a tenth of what it was; the generic mode costs a quarter.

use super::bpf::{self, AttachTo, AttachType};
use super::netlink::Netlink;
use super::pins;
use crate::model::node::XdpMode;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Both modes, in the order of preference.
pub const MODES: [XdpMode; 2] = [XdpMode::Native, XdpMode::Generic];

/// The name of the program for a mode.
#[must_use]
pub const fn program(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "xdp_guard",
        XdpMode::Generic => "xdp_guard_generic",
    }
}

/// Attaches the guard. `program_fd` gives a loaded program by its name.
///
/// # Errors
/// When the interface has an XDP program of somebody else, or takes none at all.
pub fn attach(
    ifindex: u32,
    is_veth: bool,
    program_fd: &dyn Fn(&str) -> io::Result<OwnedFd>,
) -> io::Result<(XdpMode, OwnedFd)> {
    let mut refusals = Vec::new();
    for mode in MODES.into_iter().filter(|mode| !(is_veth && *mode == XdpMode::Native)) {
        let program = program_fd(program(mode))?;
        match bpf::attach(program.as_fd(), AttachTo::Driver(ifindex, mode), AttachType::Xdp) {
            Ok(link) => return Ok((mode, link)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EBUSY | libc::EEXIST) => return Err(taken()),
                // Nobody would do better in another mode.
                Some(libc::ENODEV | libc::EPERM | libc::ENOMEM) => return Err(error),
                Some(_) | None => refusals.push(format!("{}: {error}", mode.name())),
            },
        }
    }
    Err(io::Error::other(format!("the interface takes no XDP program ({})", refusals.join("; "))))
}

fn taken() -> io::Error {
    let what = "another XDP program is there, and an interface takes one; take that off, or unblock all to go without";
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

/// In which mode the guard of this instance runs, by the name of the uplink. `pins` is
/// [`super::datapath::Options::pins`]. Blocks: not for a runtime's workers.
///
/// # Errors
/// When a pin cannot be read, or netlink does not answer.
pub fn modes(pins: &Path) -> io::Result<BTreeMap<String, XdpMode>> {
    let folder = pins.join("links");
    let mut ours = Vec::new();
    for mode in MODES {
        for name in pins::links_of(&folder, program(mode))? {
            match bpf::open_pin(&folder.join(&name)).and_then(|link| bpf::link_info(link.as_fd())) {
                Ok(info) => ours.push((info.target, info.program_id)),
                // Detached since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    if ours.is_empty() {
        return Ok(BTreeMap::new());
    }
    let there = Netlink::open()?.xdp()?.into_iter();
    let is_ours = |ifindex, program| ours.contains(&(bpf::LinkTarget::Interface(ifindex), program));
    Ok(there
        .filter(|(index, _, _, program)| is_ours(*index, *program))
        .map(|(_, name, mode, _)| (name, mode))
        .collect())
}
