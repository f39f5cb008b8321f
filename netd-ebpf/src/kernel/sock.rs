//! How is a cgroup's `bpf_sock_addr` a [`Call`]?

use crate::hook::sock_addr::Call;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use netd_common::Addr;

const EADDRINUSE: i32 = 98;

/// A call of an IPv4 socket.
pub struct Call4 {
    context: *mut bpf_sock_addr,
}

/// A call of an IPv6 socket; its address may be v4-mapped.
pub struct Call6 {
    context: *mut bpf_sock_addr,
}

/// The parts that do not depend on the family.
macro_rules! common {
    () => {
        #[inline(always)]
        fn netns_cookie(&self) -> u64 {
            // SAFETY: the context is valid for the run of the program.
            unsafe { bpf_get_netns_cookie(self.context.cast()) }
        }

        #[inline(always)]
        fn cookie(&self) -> u64 {
            // SAFETY: as above.
            unsafe { bpf_get_socket_cookie(self.context.cast()) }
        }

        #[inline(always)]
        fn protocol(&self) -> u8 {
            // SAFETY: as above; the verifier checks each field.
            unsafe { (*self.context).protocol as u8 }
        }

        #[inline(always)]
        fn port(&self) -> u16 {
            // A 32-bit field that holds a 16-bit port in network order.
            // SAFETY: as above.
            u16::from_be(unsafe { (*self.context).user_port } as u16)
        }
    };
}

impl Call4 {
    #[inline(always)]
    #[must_use]
    pub const fn new(context: *mut bpf_sock_addr) -> Self {
        Self { context }
    }
}

impl Call6 {
    #[inline(always)]
    #[must_use]
    pub const fn new(context: *mut bpf_sock_addr) -> Self {
        Self { context }
    }
}

impl Call for Call4 {
    common!();

    #[inline(always)]
    fn address(&self) -> Addr {
        // SAFETY: as in `common`.
        Addr::v4(unsafe { (*self.context).user_ip4 }.to_ne_bytes())
    }

    #[inline(always)]
    fn redirect(&mut self, address: Addr, port: u16) {
        // SAFETY: as in `common`; the verifier lets these fields be written.
        unsafe {
            (*self.context).user_ip4 = u32::from_ne_bytes(address.octets_v4());
            (*self.context).user_port = u32::from(port.to_be());
        }
    }
}

impl Call for Call6 {
    common!();

    #[inline(always)]
    fn address(&self) -> Addr {
        // SAFETY: as in `common`. Word by word and volatile: the verifier takes no wider or merged access.
        let words = unsafe {
            let ip = &raw const (*self.context).user_ip6;
            let word = ip.cast::<u32>();
            [
                word.read_volatile(),
                word.add(1).read_volatile(),
                word.add(2).read_volatile(),
                word.add(3).read_volatile(),
            ]
        };
        let [a, b, c, d] = words.map(u32::to_ne_bytes);
        Addr::v6([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]])
    }

    #[inline(always)]
    fn redirect(&mut self, address: Addr, port: u16) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.bytes;
        // SAFETY: as in `address`; the verifier lets these fields be written.
        unsafe {
            let word = (&raw mut (*self.context).user_ip6).cast::<u32>();
            word.write_volatile(u32::from_ne_bytes([a, b, c, d]));
            word.add(1).write_volatile(u32::from_ne_bytes([e, f, g, h]));
            word.add(2).write_volatile(u32::from_ne_bytes([i, j, k, l]));
            word.add(3).write_volatile(u32::from_ne_bytes([m, n, o, p]));
            (*self.context).user_port = u32::from(port.to_be());
        }
    }
}

/// What a bind program returns: 1 lets the call go on, 0 refuses it, here with "address already in use".
#[inline(always)]
#[must_use]
pub fn bind_verdict(is_free: bool) -> i32 {
    if is_free {
        return 1;
    }
    // SAFETY: a plain call (Linux 5.18). Without it the caller would be told EPERM.
    let _failed = unsafe { bpf_set_retval(-EADDRINUSE) };
    0
}
