//! What are the programs attached to, and how does that outlive the agent?
//!
//! One link per attachment, held open and pinned: the pin outlives the agent, the open link a bpffs that is wiped. The
//! pin's name is the program's, and behind it the interface index where there is one.

use super::bpf::{self, AttachTo, AttachType, LinkTarget};
use super::pins::{self, Pins};
use crate::reconcile::op::SOCK_ADDR_PROGRAMS;
use crate::reconcile::target::Attachment;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Gives the index of an interface of the host's namespace.
type IndexOf<'a> = &'a dyn Fn(&str) -> io::Result<u32>;

/// The links of one instance.
#[derive(Debug)]
pub struct Attachments {
    pins: Pins,
    /// The cgroup2 folder that the `sock_addr` programs are attached to.
    cgroup: PathBuf,
    /// By the name of the pin.
    links: BTreeMap<String, OwnedFd>,
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
        Ok(Self { pins: pins.clone(), cgroup: cgroup.to_owned(), links })
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

    /// What is attached, and the number of the program that runs there.
    ///
    /// # Errors
    /// When a link does not answer, or one that attaches nothing any more cannot be unpinned.
    pub fn observe(&mut self, link_of: &dyn Fn(u32) -> String) -> io::Result<Vec<(Attachment, u32)>> {
        let cgroup = std::fs::metadata(&self.cgroup)?.ino();
        let mut found = Vec::new();
        let mut gone = Vec::new();
        for (name, link) in &self.links {
            let info = bpf::link_info(link.as_fd())?;
            match attachment_of(name, info.target, cgroup, link_of) {
                Some(attachment) => found.push((attachment, info.program_id)),
                None => gone.push(name.clone()),
            }
        }
        // A link whose interface or cgroup is gone attaches nothing, and its name may be needed again.
        for name in gone {
            self.forget(&name)?;
        }
        Ok(found)
    }

    /// Attaches a program; where one of netd's is attached already, it takes its place.
    ///
    /// # Errors
    /// When the interface or the cgroup is not there, or the kernel refuses.
    pub fn attach(
        &mut self,
        attachment: &Attachment,
        program: BorrowedFd<'_>,
        index_of: IndexOf<'_>,
    ) -> io::Result<()> {
        let name = link_name(attachment, index_of)?;
        if let Some(link) = self.links.get(&name) {
            return bpf::update_link(link.as_fd(), program);
        }
        let folder;
        let to = if let Some(ifindex) = index_in(&name) {
            AttachTo::Interface(ifindex)
        } else {
            folder = File::open(&self.cgroup)?;
            AttachTo::Cgroup(folder.as_fd())
        };
        let link = bpf::attach(program, to, attach_type_of(attachment)?)?;
        let path = self.pins.link(&name);
        pins::remove_file(&path)?;
        bpf::pin(link.as_fd(), &path)?;
        self.links.insert(name, link);
        Ok(())
    }

    /// Puts a program in the place of a former one: no packet meets a gap.
    ///
    /// # Errors
    /// When there is no such attachment, or the kernel refuses.
    pub fn renew(&self, attachment: &Attachment, program: BorrowedFd<'_>, index_of: IndexOf<'_>) -> io::Result<()> {
        let name = link_name(attachment, index_of)?;
        match self.links.get(&name) {
            Some(link) => bpf::update_link(link.as_fd(), program),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no link {name}"))),
        }
    }

    /// # Errors
    /// When the pin cannot be removed.
    pub fn detach(&mut self, attachment: &Attachment, index_of: IndexOf<'_>) -> io::Result<()> {
        match link_name(attachment, index_of) {
            Ok(name) => self.forget(&name),
            // The interface is gone, and its link with it.
            Err(_) => Ok(()),
        }
    }

    /// Closes and unpins what was attached to an interface that is gone: its index may be another's soon.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn forget_interface(&mut self, ifindex: u32) -> io::Result<()> {
        let names: Vec<String> = self.links.keys().filter(|name| index_in(name) == Some(ifindex)).cloned().collect();
        names.iter().try_for_each(|name| self.forget(name))
    }

    fn forget(&mut self, name: &str) -> io::Result<()> {
        self.links.remove(name);
        self.pins.remove_link(name)
    }
}

/// The name of the program that an attachment runs.
#[must_use]
pub const fn program_of(attachment: &Attachment) -> &'static str {
    match attachment {
        Attachment::ContainerEgress(_) => "container_egress",
        Attachment::UplinkIngress(_) => "uplink_ingress",
        Attachment::UplinkEgress(_) => "uplink_egress",
        Attachment::SockAddr(program) => program,
    }
}

/// The name of a link's pin.
fn link_name(attachment: &Attachment, index_of: IndexOf<'_>) -> io::Result<String> {
    let program = program_of(attachment);
    Ok(match attachment {
        Attachment::ContainerEgress(link) | Attachment::UplinkIngress(link) | Attachment::UplinkEgress(link) => {
            format!("{program}-{}", index_of(link)?)
        }
        Attachment::SockAddr(_) => program.to_owned(),
    })
}

/// The interface index in the name of a pin.
fn index_in(name: &str) -> Option<u32> {
    name.split_once('-')?.1.parse().ok()
}

fn attach_type_of(attachment: &Attachment) -> io::Result<AttachType> {
    Ok(match attachment {
        Attachment::ContainerEgress(_) | Attachment::UplinkIngress(_) => AttachType::TcxIngress,
        Attachment::UplinkEgress(_) => AttachType::TcxEgress,
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
            "container_egress" => Some(Attachment::ContainerEgress(link_of(ifindex))),
            "uplink_ingress" => Some(Attachment::UplinkIngress(link_of(ifindex))),
            "uplink_egress" => Some(Attachment::UplinkEgress(link_of(ifindex))),
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

    #[test]
    fn the_name_of_a_pin_tells_what_is_attached() {
        let index_of = |link: &str| if link == "up0" { Ok(7) } else { Err(io::ErrorKind::NotFound.into()) };
        let link_of = |index: u32| format!("link{index}");
        let uplink = Attachment::UplinkEgress("up0".to_owned());
        let name = link_name(&uplink, &index_of).expect("a name");
        assert_eq!((name.as_str(), index_in(&name)), ("uplink_egress-7", Some(7)));
        let seen = attachment_of(&name, LinkTarget::Interface(7), 1, &link_of);
        assert_eq!(seen, Some(Attachment::UplinkEgress("link7".to_owned())));
        link_name(&Attachment::ContainerEgress("nd1".to_owned()), &index_of).expect_err("there is no nd1");
        for program in SOCK_ADDR_PROGRAMS {
            let attachment = Attachment::SockAddr(program);
            let name = link_name(&attachment, &index_of).expect("a name");
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
