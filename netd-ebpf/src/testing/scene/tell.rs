//! How is a scene told, so that a reader sees what happened and can have it again?

use super::{Scene, Tally, Tape};
use crate::testing::checksum::{Upper, are_right, upper};
use crate::testing::world::{Source, World};
use netd_common::Addr;
use netd_common::drop::{DropReason, Outcome};
use netd_common::publish::{ICMP, ICMPV6, TCP, UDP};
use std::fmt::{self, Display, Formatter, Write as _};

/// A scene as one word: the tapes as hexadecimal numbers, without the zeros at their ends.
#[must_use]
pub fn text(scene: &Scene) -> String {
    let tape = |tape: &Tape| {
        let end = tape.iter().rposition(|number| *number != 0).map_or(0, |last| last + 1);
        tape[..end].iter().map(|number| format!("{number:x}")).collect::<Vec<_>>().join(".")
    };
    std::iter::once(&scene.world).chain(&scene.steps).map(tape).collect::<Vec<_>>().join("/")
}

/// The way back; none of what is no scene.
#[must_use]
pub fn parse(text: &str) -> Option<Scene> {
    let number = |number: &str| u16::from_str_radix(number, 16).ok();
    let tape = |tape: &str| tape.split('.').filter(|part| !part.is_empty()).map(number).collect::<Option<Tape>>();
    let mut tapes = text.split('/').map(tape).collect::<Option<Vec<_>>>()?;
    let world = tapes.remove(0);
    Some(Scene { world, steps: tapes })
}

/// What is not as in every world, a line each.
pub fn world(world: &World) -> Vec<String> {
    let model = &world.model;
    let mut lines = Vec::new();
    for port in model.ports.values().filter(|port| (port.flags, port.pool4, port.pool6) != (0, 0, 0)) {
        lines.push(format!("endpoint {}: flags {:#x}, pools {} {}", port.endpoint, port.flags, port.pool4, port.pool6));
    }
    for (key, publish) in &model.publishes {
        let to = End(publish.address, publish.port);
        let from = End(key.address, key.port);
        lines.push(format!("publish {} {from} to {to} of {}, list {}", key.protocol, publish.endpoint, publish.allow));
    }
    let allowed = model.allowed.iter().map(|(list, prefix, len)| format!("list {list}: {} /{len}", End(*prefix, 0)));
    lines.extend(allowed);
    lines.extend(world.stack.sockets.iter().map(|socket| format!("{socket:?}")));
    lines.extend(model.timeouts.iter().map(|(network, timeouts)| format!("network {network}: {timeouts:?}")));
    lines.push(format!("forwarding: {:?}", world.stack.forwarding));
    lines
}

struct End(Addr, u16);

impl Display for End {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        write!(formatter, "{} {}", std::net::Ipv6Addr::from(self.0.bytes).to_canonical(), self.1)
    }
}

/// A frame in short: where it comes from, what it says it is, and its bytes.
pub fn frame(source: Source, bytes: &[u8]) -> String {
    format!("{source:?}: {}\n   {}", short(bytes), hex(bytes))
}

/// What became of its bytes, if anything.
pub fn output(before: &[u8], after: &[u8]) -> String {
    if before == after { String::new() } else { format!(": {}\n   {}", short(after), hex(after)) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn short(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes", bytes.len());
    let Some(Upper { protocol, at, is_fragment, .. }) = upper(bytes) else { return text };
    let is_v6 = bytes[12] == 0x86;
    let (Some(from), Some(to)) = (address(bytes, is_v6, 0), address(bytes, is_v6, 1)) else { return text };
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |word| u16::from_be_bytes([word[0], word[1]]));
    let _infallible = match protocol {
        TCP => write!(
            text,
            ", tcp {} > {} flags {:#04x}",
            End(from, word(at)),
            End(to, word(at + 2)),
            word(at + 12) & 0xff
        ),
        UDP => write!(text, ", udp {} > {}", End(from, word(at)), End(to, word(at + 2))),
        ICMP | ICMPV6 => write!(text, ", icmp {:#06x} {} > {}", word(at), End(from, word(at + 4)), End(to, 0)),
        other => write!(text, ", protocol {other} {} > {}", End(from, 0), End(to, 0)),
    };
    let ttl = bytes[if is_v6 { 21 } else { 22 }];
    let _infallible = write!(text, ", ttl {ttl}");
    if is_fragment {
        text.push_str(", a fragment");
    }
    if are_right(bytes) == Some(false) {
        text.push_str(", with a wrong checksum");
    }
    text
}

fn address(bytes: &[u8], is_v6: bool, which: usize) -> Option<Addr> {
    if is_v6 {
        let at = 22 + which * 16;
        return bytes.get(at..at + 16)?.try_into().ok().map(Addr::v6);
    }
    let at = 26 + which * 4;
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(Addr::v4(octets))
}

/// Tenths of a percent.
struct Percent(usize);

impl Display for Percent {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        formatter.pad(&format!("{}.{}", self.0 / 10, self.0 % 10))
    }
}

/// Shares by hook and outcome, in percent of all frames.
impl Display for Tally {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        let Self { scenes, frames, rewritten, reached, copies, others, .. } = self;
        let share = |count: usize| Percent(count * 1000 / (*frames).max(1));
        writeln!(
            formatter,
            "{frames} frames and {others} other steps in {scenes} scenes: {} % redirected, answered or rewritten, \
             {} % rewritten; {copies} copies",
            share(*reached),
            share(*rewritten),
        )?;
        for ((hook, outcome), count) in &self.outcomes {
            let name = match outcome {
                Outcome::Passed => "passed",
                Outcome::Redirected => "redirected",
                Outcome::Answered => "answered",
                Outcome::Kept => "kept",
                Outcome::Dropped(reason) => DropReason::name(*reason),
            };
            writeln!(formatter, "  {:17} {name:22} {count:8} {:>6} %", hook.name(), share(*count))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_read_as_it_was_written() {
        let scene = Scene { world: vec![1, 0, 0xffff], steps: vec![vec![], vec![0, 2]] };
        assert_eq!(text(&scene), "1.0.ffff//0.2");
        assert_eq!(parse(&text(&scene)), Some(scene));
        assert_eq!(parse("1.x"), None);
    }
}
