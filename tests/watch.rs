//! Are the checksums right of everything that comes by?
//!
//! A receiver on a veth pair takes a checksum that was left to the device for right. What its sender has left there, the
//! sum over the pseudo-header, has to be right all the same, or a real device would finish it wrongly; here that is looked
//! at too, by the header that packet(7) puts in front of a frame (`PACKET_VNET_HDR`).

use crate::frame::{Wire, sum};
use crate::world::Place;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Bytes of `struct virtio_net_hdr`: flags, type of segmentation, length of the headers, size of a segment, where the
/// checksum begins and where from there it stands.
const VNET: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;

const ETHERNET: usize = 14;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// How many frames there were of each kind, and what was wrong with which.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By family, protocol and how the checksum came: `v4 tcp left`, `v6 udp written`, `v4 icmp error written`.
    pub right: BTreeMap<String, u64>,
    pub wrong: Vec<String>,
    /// The largest frame, and the largest segment that one was to be cut into.
    pub largest: usize,
    pub largest_segment: usize,
}

/// An interface that is looked at until [`Watch::end`].
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Tally>>,
}

impl Watch {
    /// Looks at what comes in and goes out by the interface `name` of a place.
    #[must_use]
    pub fn begin(place: &Place, name: &str) -> Self {
        let wire = Wire::open(place, name);
        wire.show_offload().expect("PACKET_VNET_HDR");
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut tally = Tally::default();
            let mut buffer = vec![0; 1 << 18];
            loop {
                match wire.read(&mut buffer) {
                    Some(length) => tally.add(&buffer[..length]),
                    None if is_over.load(Ordering::Relaxed) => return tally,
                    None => {}
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// What was seen, once nothing more comes.
    #[must_use]
    pub fn end(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(|thread| thread.join().expect("the watch")).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Tally {
    fn add(&mut self, seen: &[u8]) {
        let Some((vnet, frame)) = seen.split_at_checked(VNET) else { return };
        let word = |at: usize| usize::from(u16::from_ne_bytes([vnet[at], vnet[at + 1]]));
        self.largest = self.largest.max(frame.len());
        self.largest_segment = self.largest_segment.max(word(4));
        let left_at = (vnet[0] & NEEDS_CHECKSUM != 0).then(|| word(6) + word(8));
        match look(frame, left_at) {
            Ok(None) => {}
            Ok(Some(kind)) => *self.right.entry(kind).or_default() += 1,
            Err(what) => self.wrong.push(format!("{what} in {:02x?}", &frame[..frame.len().min(150)])),
        }
    }
}

/// Looks at a frame, whose checksum is to be finished at `left_at` if that is given; what kind it is, none for what has no
/// checksum that is known here.
fn look(frame: &[u8], left_at: Option<usize>) -> Result<Option<String>, String> {
    let Some(packet) = frame.get(ETHERNET..) else { return Ok(None) };
    let Some(ip) = Ip::read(packet)? else { return Ok(None) };
    let Some(segment) = packet.get(ip.transport..ip.end.min(packet.len())) else { return Err("cut off".to_owned()) };
    let Some(at) = ip.checksum() else { return Ok(None) };
    if segment.len() < at + 2 {
        return Err("too short".to_owned());
    }
    let found = u16::from_be_bytes([segment[at], segment[at + 1]]);
    let how = match left_at {
        Some(left_at) => {
            if left_at != ETHERNET + ip.transport + at {
                return Err(format!("the checksum is to be written to {left_at}"));
            }
            if found != ip.pseudo(segment.len()) {
                return Err(format!("left as {found:04x}, not {:04x}", ip.pseudo(segment.len())));
            }
            "left"
        }
        None if ip.protocol == UDP && found == 0 => {
            if ip.is_v6 {
                return Err("UDP without a checksum".to_owned());
            }
            "none"
        }
        None => {
            if !ip.is_whole(segment) {
                return Err(format!("written as {found:04x}"));
            }
            "written"
        }
    };
    let quote = match (ip.protocol, segment[0]) {
        (ICMP, 3 | 11 | 12) | (ICMPV6, 1..=4) => {
            look_at_quote(&segment[8..])?;
            " error"
        }
        _ => "",
    };
    let family = if ip.is_v6 { "v6" } else { "v4" };
    let protocol = match ip.protocol {
        TCP => "tcp",
        UDP => "udp",
        _ => "icmp",
    };
    Ok(Some(format!("{family} {protocol}{quote} {how}")))
}

/// A packet in an ICMP error: all of it is looked at that is there.
fn look_at_quote(packet: &[u8]) -> Result<(), String> {
    let Some(ip) = Ip::read(packet).map_err(|what| format!("quote: {what}"))? else {
        return Err("a quote of nothing known".to_owned());
    };
    let (Some(at), Some(segment)) = (ip.checksum(), packet.get(ip.transport..ip.end)) else { return Ok(()) };
    let found = u16::from_be_bytes([segment[at], segment[at + 1]]);
    // It may be quoted as it was before a device has finished it.
    if found == ip.pseudo(segment.len()) || found == 0 && ip.protocol == UDP || ip.is_whole(segment) {
        return Ok(());
    }
    Err(format!("quote: {found:04x}"))
}

/// What stands in an IP header.
struct Ip {
    is_v6: bool,
    protocol: u8,
    /// Both addresses.
    addresses: Vec<u8>,
    /// Where the transport header begins, and where the packet ends.
    transport: usize,
    end: usize,
    is_fragment: bool,
}

impl Ip {
    /// # Errors
    /// When the header's own checksum is wrong.
    fn read(packet: &[u8]) -> Result<Option<Self>, String> {
        let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        match packet.first().map(|first| first >> 4) {
            Some(4) if packet.len() >= 20 => {
                let transport = usize::from(packet[0] & 15) * 4;
                if sum(&[&packet[..transport]]) != 0xffff {
                    return Err("IPv4 header".to_owned());
                }
                Ok(Some(Self {
                    is_v6: false,
                    protocol: packet[9],
                    addresses: packet[12..20].to_vec(),
                    transport,
                    end: if word(2) == 0 { packet.len() } else { word(2) },
                    is_fragment: word(6) & 0x3fff != 0,
                }))
            }
            Some(6) if packet.len() >= 40 => Ok(Some(Self {
                is_v6: true,
                protocol: packet[6],
                addresses: packet[8..40].to_vec(),
                transport: 40,
                end: if word(4) == 0 { packet.len() } else { 40 + word(4) },
                is_fragment: false,
            })),
            _ => Ok(None),
        }
    }

    /// Where the checksum stands in the transport header.
    const fn checksum(&self) -> Option<usize> {
        match self.protocol {
            _ if self.is_fragment => None,
            TCP => Some(16),
            UDP => Some(6),
            ICMP if !self.is_v6 => Some(2),
            ICMPV6 if self.is_v6 => Some(2),
            _ => None,
        }
    }

    /// The sum over the pseudo-header.
    fn pseudo(&self, length: usize) -> u16 {
        if self.protocol == ICMP {
            return 0;
        }
        let length = u32::try_from(length).expect("a packet's length").to_be_bytes();
        sum(&[&self.addresses, &length, &[0, self.protocol]])
    }

    fn is_whole(&self, segment: &[u8]) -> bool {
        sum(&[&self.pseudo(segment.len()).to_be_bytes(), segment]) == 0xffff
    }
}
