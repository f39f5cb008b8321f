//! What are the programs attached to, and how does that outlive the agent?
//!
//! One link per attachment, held open and pinned: the pin outlives the agent, the open link a bpffs that is wiped. The
//! pin's name is the program's, and behind it the interface index where there is one.

use super::bpf::{self, AttachTo, AttachType, LinkTarget};
use super::guard;
use super::pins::{self, Pins};
use crate::model::node::XdpMode;
use crate::reconcile::op::SOCK_ADDR_PROGRAMS;
use crate::reconcile::target::Attachment;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Gives the index of an interface of the host's namespace.
type IndexOf<'a> = &'a dyn Fn(&str) -> io::Result<u32>;

/// Gives a loaded program by its name.
type ProgramOf<'a> = &'a dyn Fn(&str) -> io::Result<OwnedFd>;

/// A program that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub attachment: Attachment,
    /// Its name.
    pub program: String,
    /// Its number, which says which load of it.
    pub program_id: u32,
}

/// The links of one instance.
#[derive(Debug)]
pub struct Attachments {
    pins: Pins,
    /// The cgroup2 folder that the `sock_addr` programs are attached to.
    cgroup: PathBuf,
    /// By the name of the pin.
    links: BTreeMap<String, OwnedFd>,
    /// Containers' interfaces where a filter runs the program, with or without a link beside it: the program's number by the
    /// interface's.
    filtered: BTreeMap<u32, u32>,
}

impl Attachments {
    /// Opens the links that a former agent pinned.
    ///
    /// # Errors
    /// When the pins cannot be listed. One that does not open is made again.
    pub fn take_over(pins: &Pins, cgroup: &Path) -> io::Result<Self> {
        let mut links = BTreeMap::new();
        for name in pins.link_names()? {
            match bpf::open_pin(&pins.link(&name)) {
                Ok(link) => {
                    links.insert(name, link);
                }
                Err(error) => tracing::warn!("the pinned link {name} does not open, and is made again: {error}"),
            }
        }
        Ok(Self { pins: pins.clone(), cgroup: cgroup.to_owned(), links, filtered: BTreeMap::new() })
    }

    /// Puts back what was removed from bpffs under us.
    ///
    /// # Errors
    /// When bpffs does not take a pin.
    pub fn pin_again(&self) -> io::Result<()> {
        for (name, link) in &self.links {
            let path = self.pins.link(name);
            if !path.exists() {
                bpf::pin(link.as_fd(), &path)?;
                tracing::warn!("the pin of the link {name} was gone, and is made again");
            }
        }
        Ok(())
    }

    /// What is attached.
    ///
    /// # Errors
    /// When a link does not answer, or one that attaches nothing any more cannot be unpinned.
    pub fn observe(&mut self, link_of: &dyn Fn(u32) -> String) -> io::Result<Vec<Attached>> {
        let cgroup = std::fs::metadata(&self.cgroup)?.ino();
        let mut found = Vec::new();
        let mut gone = Vec::new();
        for (name, link) in &self.links {
            let info = bpf::link_info(link.as_fd())?;
            match attachment_of(name, info.target, cgroup, link_of) {
                Some(attachment) => {
                    let program = program_in(name).to_owned();
                    found.push(Attached { attachment, program, program_id: info.program_id });
                }
                None => gone.push(name.clone()),
            }
        }
        // A link whose interface or cgroup is gone attaches nothing, and its name may be needed again.
        for name in gone {
            self.forget(&name)?;
        }
        self.filtered.retain(|ifindex, _| !link_of(*ifindex).is_empty());
        for (&ifindex, &program_id) in self.filtered.iter().filter(|(ifindex, _)| !self.has_link(**ifindex)) {
            let attachment = Attachment::ContainerEgress(link_of(ifindex));
            found.push(Attached { attachment, program: CONTAINER_EGRESS.to_owned(), program_id });
        }
        Ok(found)
    }

    /// Attaches the program that an attachment runs; where one of netd's is attached already, it takes its place.
    ///
    /// # Errors
    /// When the interface or the cgroup is not there, or the kernel refuses.
    pub fn attach(
        &mut self,
        attachment: &Attachment,
        program_of: ProgramOf<'_>,
        index_of: IndexOf<'_>,
    ) -> io::Result<()> {
        if self.has(attachment, index_of)? {
            return self.renew(attachment, program_of, index_of);
        }
        let program = program_named(attachment);
        let name = link_name(attachment, program, index_of)?;
        let folder;
        let to = if let Some(ifindex) = index_in(&name) {
            AttachTo::Interface(ifindex)
        } else {
            folder = File::open(&self.cgroup)?;
            AttachTo::Cgroup(folder.as_fd())
        };
        let link = bpf::attach(program_of(program)?.as_fd(), to, attach_type_of(attachment)?)?;
        self.keep(name, link)
    }

    /// As [`Self::attach`], for the guard of an uplink, whose program is the one for the mode that the uplink takes.
    ///
    /// # Errors
    /// As [`guard::attach`].
    pub fn attach_guard(
        &mut self,
        link: &str,
        is_veth: bool,
        program_of: ProgramOf<'_>,
        index_of: IndexOf<'_>,
    ) -> io::Result<()> {
        let attachment = Attachment::XdpGuard(link.to_owned());
        if self.has(&attachment, index_of)? {
            return self.renew(&attachment, program_of, index_of);
        }
        let (mode, attached) = guard::attach(index_of(link)?, is_veth, program_of)?;
        let name = link_name(&attachment, guard::program(mode), index_of)?;
        tracing::info!(uplink = link, mode = mode.name(), "the block list is held up here");
        self.keep(name, attached)
    }

    /// Whether the program of the container's interface of this index runs by a link.
    pub fn has_link(&self, ifindex: u32) -> bool {
        self.links.contains_key(&pin_name(CONTAINER_EGRESS, ifindex))
    }

    /// Takes note that a filter runs the program on these interfaces, with the program's number.
    pub fn note_filters(&mut self, programs: impl IntoIterator<Item = (u32, u32)>) {
        self.filtered.extend(programs);
    }

    /// The interfaces where a filter runs the program.
    pub const fn filtered(&self) -> &BTreeMap<u32, u32> {
        &self.filtered
    }

    /// No filter runs a program there any more.
    pub fn forget_filter(&mut self, ifindex: u32) {
        self.filtered.remove(&ifindex);
    }

    /// Makes the link of a container's interface where a filter runs the program, if there is none; the filter is to be
    /// removed then. The link takes effect some milliseconds before the call returns, so it is made with a program that lets
    /// every packet on to the filter, and gets the other in one step. Until the filter is gone both run for what is passed on
    /// to the host, which counts it twice; nothing is ever run by neither.
    ///
    /// # Errors
    /// When the interface is gone, or the kernel refuses.
    pub fn link_container(&mut self, ifindex: u32, program_of: ProgramOf<'_>) -> io::Result<()> {
        if self.has_link(ifindex) {
            return Ok(());
        }
        let stand_in = program_of(STAND_IN)?;
        let link = bpf::attach(stand_in.as_fd(), AttachTo::Interface(ifindex), AttachType::TcxIngress)?;
        bpf::update_link(link.as_fd(), program_of(CONTAINER_EGRESS)?.as_fd())?;
        self.keep(pin_name(CONTAINER_EGRESS, ifindex), link)
    }

    fn keep(&mut self, name: String, link: OwnedFd) -> io::Result<()> {
        let path = self.pins.link(&name);
        pins::remove_file(&path)?;
        bpf::pin(link.as_fd(), &path)?;
        self.links.insert(name, link);
        Ok(())
    }

    fn has(&self, attachment: &Attachment, index_of: IndexOf<'_>) -> io::Result<bool> {
        Ok(link_names(attachment, index_of)?.iter().any(|name| self.links.contains_key(name)))
    }

    /// Puts a program in the place of a former load of it: no packet meets a gap.
    ///
    /// # Errors
    /// When there is no such attachment, or the kernel refuses.
    pub fn renew(&self, attachment: &Attachment, program_of: ProgramOf<'_>, index_of: IndexOf<'_>) -> io::Result<()> {
        let names = link_names(attachment, index_of)?;
        let there = names.iter().find_map(|name| Some((name, self.links.get(name)?)));
        match there {
            Some((name, link)) => bpf::update_link(link.as_fd(), program_of(program_in(name))?.as_fd()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no link {}", names.join(" or ")))),
        }
    }

    /// # Errors
    /// When the pin cannot be removed.
    pub fn detach(&mut self, attachment: &Attachment, index_of: IndexOf<'_>) -> io::Result<()> {
        match link_names(attachment, index_of) {
            Ok(names) => names.iter().try_for_each(|name| self.forget(name)),
            // The interface is gone, and its link with it.
            Err(_) => Ok(()),
        }
    }

    /// Closes and unpins what was attached to an interface that is gone: its index may be another's soon.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn forget_interface(&mut self, ifindex: u32) -> io::Result<()> {
        self.forget_filter(ifindex);
        let names: Vec<String> = self.links.keys().filter(|name| index_in(name) == Some(ifindex)).cloned().collect();
        names.iter().try_for_each(|name| self.forget(name))
    }

    fn forget(&mut self, name: &str) -> io::Result<()> {
        self.links.remove(name);
        self.pins.remove_link(name)
    }
}

/// The program of containers' interfaces.
pub const CONTAINER_EGRESS: &str = "container_egress";
/// The program that a link of theirs is made with.
const STAND_IN: &str = "stand_in";

/// The name of the program that an attachment runs; of the guard, that of its native mode.
const fn program_named(attachment: &Attachment) -> &'static str {
    match attachment {
        Attachment::ContainerEgress(_) => CONTAINER_EGRESS,
        Attachment::UplinkIngress(_) => "uplink_ingress",
        Attachment::UplinkEgress(_) => "uplink_egress",
        Attachment::XdpGuard(_) => guard::program(XdpMode::Native),
        Attachment::SockAddr(program) => program,
    }
}

/// The names that an attachment's link may have.
fn link_names(attachment: &Attachment, index_of: IndexOf<'_>) -> io::Result<Vec<String>> {
    match attachment {
        Attachment::XdpGuard(_) => {
            guard::MODES.into_iter().map(|mode| link_name(attachment, guard::program(mode), index_of)).collect()
        }
        Attachment::ContainerEgress(_)
        | Attachment::UplinkIngress(_)
        | Attachment::UplinkEgress(_)
        | Attachment::SockAddr(_) => Ok(vec![link_name(attachment, program_named(attachment), index_of)?]),
    }
}

/// The name of a link's pin.
fn link_name(attachment: &Attachment, program: &str, index_of: IndexOf<'_>) -> io::Result<String> {
    Ok(match attachment {
        Attachment::ContainerEgress(link)
        | Attachment::UplinkIngress(link)
        | Attachment::UplinkEgress(link)
        | Attachment::XdpGuard(link) => pin_name(program, index_of(link)?),
        Attachment::SockAddr(_) => program.to_owned(),
    })
}

/// The name of the pin of a link at an interface.
fn pin_name(program: &str, ifindex: u32) -> String {
    format!("{program}-{ifindex}")
}

/// The program in the name of a pin.
fn program_in(name: &str) -> &str {
    name.split_once('-').map_or(name, |(program, _)| program)
}

/// The interface index in the name of a pin.
fn index_in(name: &str) -> Option<u32> {
    name.split_once('-')?.1.parse().ok()
}

fn attach_type_of(attachment: &Attachment) -> io::Result<AttachType> {
    Ok(match attachment {
        Attachment::ContainerEgress(_) | Attachment::UplinkIngress(_) => AttachType::TcxIngress,
        Attachment::UplinkEgress(_) => AttachType::TcxEgress,
        Attachment::XdpGuard(_) => AttachType::Xdp,
        Attachment::SockAddr(program) => match *program {
            "connect4" => AttachType::Connect4,
            "connect6" => AttachType::Connect6,
            "sendmsg4" => AttachType::Sendmsg4,
            "sendmsg6" => AttachType::Sendmsg6,
            "recvmsg4" => AttachType::Recvmsg4,
            "recvmsg6" => AttachType::Recvmsg6,
            "getpeername4" => AttachType::Getpeername4,
            "getpeername6" => AttachType::Getpeername6,
            "bind4" => AttachType::Bind4,
            "bind6" => AttachType::Bind6,
            other => return Err(io::Error::other(format!("the object has no program {other}"))),
        },
    })
}

/// What a link with this pin and target attaches; none when what it was attached to is gone, or is not of this instance.
fn attachment_of(name: &str, target: LinkTarget, cgroup: u64, link_of: &dyn Fn(u32) -> String) -> Option<Attachment> {
    match target {
        LinkTarget::Interface(0) | LinkTarget::Other => None,
        LinkTarget::Interface(ifindex) => match name.split_once('-')?.0 {
            CONTAINER_EGRESS => Some(Attachment::ContainerEgress(link_of(ifindex))),
            "uplink_ingress" => Some(Attachment::UplinkIngress(link_of(ifindex))),
            "uplink_egress" => Some(Attachment::UplinkEgress(link_of(ifindex))),
            program if guard::MODES.into_iter().any(|mode| guard::program(mode) == program) => {
                Some(Attachment::XdpGuard(link_of(ifindex)))
            }
            _ => None,
        },
        LinkTarget::Cgroup(id) if id == cgroup => {
            SOCK_ADDR_PROGRAMS.into_iter().find(|program| *program == name).map(Attachment::SockAddr)
        }
        LinkTarget::Cgroup(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(names: io::Result<Vec<String>>) -> String {
        let [name] = names.expect("an interface").try_into().expect("one name");
        name
    }

    #[test]
    fn the_name_of_a_pin_tells_what_is_attached() {
        let index_of = |link: &str| if link == "up0" { Ok(7) } else { Err(io::ErrorKind::NotFound.into()) };
        let link_of = |index: u32| format!("link{index}");
        let uplink = Attachment::UplinkEgress("up0".to_owned());
        let name = only(link_names(&uplink, &index_of));
        assert_eq!((name.as_str(), index_in(&name)), ("uplink_egress-7", Some(7)));
        let seen = attachment_of(&name, LinkTarget::Interface(7), 1, &link_of);
        assert_eq!(seen, Some(Attachment::UplinkEgress("link7".to_owned())));
        link_names(&Attachment::ContainerEgress("nd1".to_owned()), &index_of).expect_err("there is no nd1");
        let guard = Attachment::XdpGuard("up0".to_owned());
        let names = link_names(&guard, &index_of).expect("names");
        assert_eq!(names, ["xdp_guard-7", "xdp_guard_generic-7"]);
        for name in names {
            let seen = attachment_of(&name, LinkTarget::Interface(7), 1, &link_of);
            assert_eq!(seen, Some(Attachment::XdpGuard("link7".to_owned())), "{name}");
        }
        for program in SOCK_ADDR_PROGRAMS {
            let attachment = Attachment::SockAddr(program);
            let name = only(link_names(&attachment, &index_of));
            assert_eq!(index_in(&name), None);
            attach_type_of(&attachment).expect("each has a type");
            assert_eq!(attachment_of(&name, LinkTarget::Cgroup(1), 1, &link_of), Some(attachment));
        }
    }

    #[test]
    fn what_is_gone_or_another_s_is_no_attachment() {
        let link_of = |index: u32| format!("link{index}");
        for (name, target) in [
            ("uplink_egress-7", LinkTarget::Interface(0)),
            ("flow_gc-7", LinkTarget::Interface(7)),
            ("uplink_egress", LinkTarget::Interface(7)),
            ("connect4", LinkTarget::Cgroup(2)),
            ("connect5", LinkTarget::Cgroup(1)),
            ("connect4", LinkTarget::Other),
        ] {
            assert_eq!(attachment_of(name, target, 1, &link_of), None, "{name} {target:?}");
        }
    }
}
