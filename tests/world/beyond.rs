//! What lies behind the outside?
//!
//! ```text
//! [ host ]--up0 out0--[ outside, a router ]--near0 near1--[ router ]--far0 eth0--[ far ]
//!                                            narrow link
//! ```
//!
//! Only the link between the two routers is narrow: both ends of a connection learn of it from a router, and not from the
//! other end's segment size.

use super::{Place, World};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The far end.
pub const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 98, 2);
/// The far end by IPv6.
pub const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x98, 0, 0, 0, 0, 2);
/// The second router, as the far end's neighbours see it.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 99, 2);
/// The second router by IPv6.
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 2);

/// The places behind the outside.
#[derive(Debug)]
pub struct Beyond {
    pub router: Place,
    pub far: Place,
}

impl World {
    /// Makes the outside a router, and puts another behind it, over a link that takes `mtu` bytes.
    #[must_use]
    pub fn beyond(&self, mtu: u32) -> Beyond {
        let beyond = Beyond { router: Place::new("router", None), far: Place::new("far", None) };
        for place in [&beyond.router, &beyond.far] {
            place.sysctl("net/ipv6/conf/default/accept_dad", "0");
        }
        self.outside.sh(&format!(
            "ip link add near0 type veth peer name near1 netns {}
             ip addr add 198.18.99.1/24 dev near0; ip addr add 2001:db8:99::1/64 dev near0 nodad
             ip link set near0 mtu {mtu} up
             ip route add 198.18.98.0/24 via {ROUTER}; ip -6 route add 2001:db8:98::/64 via {ROUTER6}",
            beyond.router.path()
        ));
        beyond.router.sh(&format!(
            "ip addr add {ROUTER}/24 dev near1; ip addr add {ROUTER6}/64 dev near1 nodad
             ip link set near1 mtu {mtu} up
             ip link add far0 type veth peer name eth0 netns {}
             ip addr add 198.18.98.1/24 dev far0; ip addr add 2001:db8:98::1/64 dev far0 nodad
             ip link set far0 up
             ip route add default via 198.18.99.1; ip -6 route add default via 2001:db8:99::1",
            beyond.far.path()
        ));
        beyond.far.sh(&format!(
            "ip addr add {FAR}/24 dev eth0; ip addr add {FAR6}/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 198.18.98.1; ip -6 route add default via 2001:db8:98::1"
        ));
        for router in [&self.outside, &beyond.router] {
            router.route();
        }
        self.receives(&beyond.router);
        self.receives(&beyond.far);
        beyond
    }
}

impl Place {
    /// Makes it a router, which says each time why a packet cannot go on: the kernel's limits on the rate of ICMP errors
    /// (icmp(7)) would make tests depend on each other.
    pub fn route(&self) {
        self.sysctl("net/ipv4/ip_forward", "1");
        self.sysctl("net/ipv6/conf/all/forwarding", "1");
        self.sysctl("net/ipv4/icmp_ratelimit", "0");
        self.sysctl("net/ipv6/icmp/ratelimit", "0");
    }
}
