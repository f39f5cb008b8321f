//! How does a program run on an interface at once, as long as its TCX link is not made?
//!
//! TCX waits for an RCU grace period with the lock of all network configuration in hand (`tcx_entry_sync`): some 12 ms for
//! every container, one after the other. A filter of `cls_bpf` at an ingress qdisc waits for nothing, but costs each packet
//! more, and anybody's `tc qdisc del` takes it away. So a container begins with a filter, and gets its link when nobody
//! waits.

use super::connection::{Connection, Existing};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Half of a clsact qdisc, and so half of what the kernel keeps a list of.
const INGRESS: &str = "ingress";
const PRIORITY: u32 = 1;
const ETH_P_ALL: u16 = 0x0003;
const HANDLE: u32 = 1;

/// Runs the program on what the interface receives, in the place of one that was put there so before. `name` tells the
/// filter from others'.
pub(super) async fn put(host: &Connection, ifindex: u32, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match host.create(RouteNetlinkMessage::NewQueueDiscipline(qdisc(ifindex)), Existing::Refuse).await {
        // A clsact qdisc does as well.
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let options = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd().unsigned_abs()),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    let mut message = filter(ifindex);
    message.attributes.push(TcAttribute::Options(options.map(TcOption::Bpf).into()));
    host.create(RouteNetlinkMessage::NewTrafficFilter(message), Existing::Replace).await
}

/// Takes the filter away, and the qdisc when nobody else has a filter there. No error when there is none.
pub(super) async fn remove(host: &Connection, ifindex: u32) -> io::Result<()> {
    match host.change(RouteNetlinkMessage::DelTrafficFilter(filter(ifindex))).await {
        // No filter; no qdisc; no interface.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => return Ok(()),
        done => done?,
    }
    if !host.filters(at(ifindex)).await?.is_empty() {
        return Ok(());
    }
    match host.change(RouteNetlinkMessage::DelQueueDiscipline(qdisc(ifindex))).await {
        // A clsact qdisc, which is another's.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        done => done,
    }
}

/// The number of the program that the filter of this name runs, of each interface that has it.
pub(super) async fn observe(host: &Connection, name: &str) -> io::Result<BTreeMap<u32, u32>> {
    let mut programs = BTreeMap::new();
    let qdiscs = match host.qdiscs().await {
        // A kernel without traffic control.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(programs),
        found => found?,
    };
    for qdisc in qdiscs {
        if qdisc.header.parent != TcHandle::INGRESS {
            continue;
        }
        let ifindex = qdisc.header.index.unsigned_abs();
        let found = host.filters(at(ifindex)).await?;
        programs.extend(found.iter().find_map(|found| program(found, name)).map(|id| (ifindex, id)));
    }
    Ok(programs)
}

/// The number of the program, when this is the filter of that name.
fn program(found: &TcMessage, name: &str) -> Option<u32> {
    let options = found.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let is_it = found.header.info == info()
        && found.header.handle == HANDLE.into()
        && options.contains(&TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())));
    options.iter().filter(|_| is_it).find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    })
}

/// Of which priority netd's filter is, and of which protocol: of all.
const fn info() -> u32 {
    PRIORITY << 16 | ETH_P_ALL.to_be() as u32
}

fn qdisc(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.cast_signed());
    message.header.handle = TcHandle { major: TcHandle::INGRESS.major, minor: 0 };
    message.header.parent = TcHandle::INGRESS;
    message.attributes.push(TcAttribute::Kind(INGRESS.to_owned()));
    message
}

fn filter(ifindex: u32) -> TcMessage {
    let mut message = at(ifindex);
    message.header.handle = HANDLE.into();
    message.header.info = info();
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    message
}

/// Where the filters of what the interface receives are.
fn at(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.cast_signed());
    message.header.parent = TcHandle { major: TcHandle::INGRESS.major, minor: TcHandle::MIN_INGRESS };
    message
}
