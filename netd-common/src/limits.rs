//! How much of anything is there at most, and what happens then?

/// Endpoints, ports by interface and forwarding entries: past it a container is not ready, and its status says so.
pub const ENDPOINTS_MAX: usize = 65_536;
/// Published ports: every port of one address of each family in TCP and UDP. Past it a publish is not ready, and its
/// status says so.
pub const PUBLISHED_MAX: usize = 262_144;
/// Entries of tracked flows, two a flow; the agent may set another size when it loads. Full: the least recently used
/// entry makes room.
pub const FLOWS_MAX: usize = 262_144;
/// Addresses of the host itself.
pub const LOCAL_ADDRS_MAX: usize = 16_384;
/// Endpoints with a drop reason, which cost a slot for each processor. Full: the least recently used makes room;
/// `COUNTERS` still counts all.
pub const DROPS_MAX: usize = 4_096;
/// Uplinks.
pub const UPLINKS_MAX: usize = 256;
/// Sockets whose dialled address is remembered. Full: the least recently used makes room, and its `getpeername` then
/// tells the container's address.
pub const SOCK_ORIGINS_MAX: usize = 65_536;
/// Namespaces whose programs are turned to their name server. Past it a container is not ready, and its status says so.
pub const NAMES_MAX: usize = 65_536;
/// Bytes of the event ring. Full: events are lost, never packets.
pub const EVENTS_SIZE_MAX: usize = 256 * 1024;
/// Source ports tried before a flow is refused as `SnatExhausted`. With 60,000 flows to one remote address and port, 93 of
/// 100 ports are taken, and one search in ten million fails.
pub const SNAT_TRIES_MAX: u32 = 256;
/// How many of these tries go to one address of a SNAT pool before the next.
pub const SNAT_TRIES_PER_ADDRESS: u32 = 32;
/// The lowest source port a masqueraded flow is given when it cannot keep its own (RFC 6335 section 6: below are the
/// system ports).
pub const SNAT_PORT_MIN: u16 = 1024;
/// Nominees in one run of `flow_gc`.
pub const NOMINEES_MAX: usize = 64;
/// Buckets of `SNAT_TRIES`: how many flows to the outside found their port at try 1, 2, 3 to 4, 5 to 8, and so on, up to
/// [`SNAT_TRIES_MAX`]; the last one counts those that found none.
pub const SNAT_TRIES_BUCKETS: usize = 10;
/// Addresses in all the SNAT pools together.
pub const SNAT_POOLS_MAX: usize = 65_536;
/// Datagrams whose fragments are being followed. Full: the least recently used makes room, and its later fragments are
/// dropped as `FragmentFirstMissing`.
pub const FRAGMENTS_MAX: usize = 8_192;
/// Fragments that are kept because their first has not come. Full: the least recently used makes room, and is lost.
pub const HELD_MAX: usize = 256;
/// Of one datagram: as many as the largest has at an MTU of 1,500 bytes. One more is lost.
pub const HELD_PER_DATAGRAM_MAX: u32 = 44;
/// Bytes of a frame that is kept; a larger one is lost.
pub const HELD_SIZE_MAX: usize = 1536;
/// IPv6 extension headers that are followed to the transport header; Linux itself stops at as many
/// (`net.ipv6.max_dst_opts_number`). Past it the packet is dropped as `ExtensionHeaders`.
pub const EXTENSION_HEADERS_MAX: u32 = 8;
/// Prefixes on the block list. Past it `netctl block` is refused.
pub const BLOCKED_MAX: usize = 1_048_576;
/// Prefixes on all the allow lists of published ports together. Past it a publish is not ready, and its status says so.
pub const ALLOWED_MAX: usize = 262_144;
/// Networks with timeouts of their own.
pub const TIMEOUTS_MAX: usize = 65_536;
/// Members of a network that get a copy of a broadcast or multicast frame. Past it the others get none, and the frame is
/// counted as `MulticastLimit`.
pub const MULTICAST_MEMBERS_MAX: u64 = 1024;
/// Broadcast and multicast frames a second that are copied, on each processor. Past it they are dropped as
/// `MulticastLimit`: a copy for each member is what a storm is made of.
pub const MULTICAST_FRAMES_MAX: u64 = 1000;
