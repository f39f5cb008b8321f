//! Does the stack of this thread's namespace forward packets, and how is that set?
//!
//! It is read by netlink and not from `/proc/sys/net`: the kernel finds a file there by a walk over that file of every
//! namespace in which somebody has opened it. To look at two files of each new namespace takes a millisecond and a half
//! with a thousand of them.

use super::settings::Settings;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;

const RTM_NEWNETCONF: u16 = 80;
const RTM_GETNETCONF: u16 = 82;
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_FORWARDING: u16 = 2;
/// The settings of the whole stack and not of an interface (`NETCONFA_IFINDEX_ALL`).
const ALL: i32 = -1;
/// Bytes of a `struct nlmsghdr`, of the padded `struct netconfmsg` behind it, and of the head of an attribute.
const HEADER: usize = 16;
const FAMILY: usize = 4;
const ATTRIBUTE: usize = 4;

/// The first file sets the others of IPv4, and the second those of IPv6.
const FILES: [(i32, &str); 2] = [(libc::AF_INET, "ipv4/ip_forward"), (libc::AF_INET6, "ipv6/conf/all/forwarding")];

/// Lets the stack of this thread's namespace forward packets of both families, or lets it not.
///
/// # Errors
/// When it is otherwise, and the kernel does not let it be changed.
pub fn set(forwards: bool) -> io::Result<()> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    for (family, name) in FILES {
        if is_on(&socket, family)? == Some(forwards) {
            continue;
        }
        match Settings::open()?.write(name, if forwards { "1" } else { "0" }) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

/// None: the kernel does not say, such as of a family that it lacks.
fn is_on(socket: &Socket, family: i32) -> io::Result<Option<bool>> {
    socket.send(&question(family), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    Ok(forwarding(&answer))
}

/// `RTM_GETNETCONF` of the whole stack.
fn question(family: i32) -> Vec<u8> {
    let length = HEADER + FAMILY + ATTRIBUTE + size_of_val(&ALL);
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(RTM_GETNETCONF.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // The sequence number, and who asks: one question at a time, and the kernel knows.
    message.extend([0; 8]);
    message.extend([family.cast_unsigned() as u8, 0, 0, 0]);
    message.extend(((ATTRIBUTE + size_of_val(&ALL)) as u16).to_ne_bytes());
    message.extend(NETCONFA_IFINDEX.to_ne_bytes());
    message.extend(ALL.to_ne_bytes());
    message
}

/// What `RTM_NEWNETCONF` says; none when the answer is another, or does not say.
fn forwarding(answer: &[u8]) -> Option<bool> {
    let number = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    if number(answer, 4)? != RTM_NEWNETCONF {
        return None;
    }
    let mut rest = answer.get(HEADER + FAMILY..)?;
    loop {
        let length = usize::from(number(rest, 0)?);
        if number(rest, 2)? == NETCONFA_FORWARDING {
            let value = rest.get(ATTRIBUTE..ATTRIBUTE + 4)?;
            return Some(value.iter().any(|byte| *byte != 0));
        }
        // Attributes are aligned to 4 bytes (NLA_ALIGN), and none is shorter than its head.
        rest = rest.get(length.max(ATTRIBUTE).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn netlink_and_the_files_say_the_same() {
        let socket = Socket::new(NETLINK_ROUTE).expect("a socket");
        for (family, name) in FILES {
            let file = std::fs::read_to_string(Path::new("/proc/sys/net").join(name)).ok();
            assert_eq!(is_on(&socket, family).expect("an answer"), file.map(|text| text.trim() == "1"), "{name}");
        }
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        assert_eq!(forwarding(&[]), None);
        assert_eq!(forwarding(&question(libc::AF_INET)), None);
        let mut cut = question(libc::AF_INET);
        cut[4..6].copy_from_slice(&RTM_NEWNETCONF.to_ne_bytes());
        assert_eq!(forwarding(&cut), None, "of no interface, and no word of forwarding");
        cut[20..22].copy_from_slice(&0_u16.to_ne_bytes());
        assert_eq!(forwarding(&cut), None, "an attribute without a length");
    }
}
