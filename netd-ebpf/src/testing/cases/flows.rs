//! How does a flow live, and how does it end?

use super::outside::masqueraded;
use super::{ACK, FIN_ACK, FROM_WEB, OUT, RST, SYN, SYN_ACK, TO_WEB};
use crate::testing::case::{Case, Step, key};
use crate::testing::world::{HOST, REMOTE, Source, WEB, from_wire};
use netd_common::flow::{INSIDE, OUTSIDE};
use netd_common::publish::{TCP, UDP};

const SECOND_NS: u64 = 1_000_000_000;

/// The container's flow to the outside, with its segments told by their flags.
struct Talk(Case);

impl Talk {
    fn new(name: &str) -> Self {
        Self(Case::new(name))
    }

    fn opener(self, flags: u8) -> Self {
        let (frame, out) = (WEB.to(REMOTE).tcp(4000, 80, flags, b""), masqueraded(REMOTE).tcp(4000, 80, flags, b""));
        Self(self.0.send(FROM_WEB, frame, OUT, out))
    }

    fn answerer(self, flags: u8) -> Self {
        let frame = from_wire(REMOTE, HOST).tcp(80, 4000, flags, b"");
        Self(self.0.send(Source::Wire, frame, TO_WEB, WEB.gets(REMOTE).tcp(80, 4000, flags, b"")))
    }

    fn waits(self, seconds: u64) -> Self {
        Self(self.0.waits(seconds * SECOND_NS))
    }

    /// The state, and the packets each way.
    fn is(self, inside: &'static str, outside: &'static str) -> Self {
        Self(self.0.flows(&[inside, outside]))
    }

    /// The agent looks for what is over, and so many pairs go.
    fn collects(self, pairs: u32) -> Self {
        Self(self.0.step(Step::Nominate).step(Step::Collect(pairs)))
    }

    fn established(name: &str) -> Self {
        Self::new(name).opener(SYN).answerer(SYN_ACK).opener(ACK)
    }

    fn ends(self) -> Case {
        self.0
    }
}

/// The two entries of that flow, in a state and with packets each way.
macro_rules! pair {
    ($state:literal, $inside:literal, $outside:literal) => {
        (
            concat!(
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80 uplink 102, ",
                $state,
                ", ",
                $inside
            ),
            concat!(
                "tcp outside 198.18.1.9:80>198.18.0.1:4000 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, ",
                $state,
                ", ",
                $outside
            ),
        )
    };
}

impl Talk {
    fn pair(self, (inside, outside): (&'static str, &'static str)) -> Self {
        self.is(inside, outside)
    }
}

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Talk::new("a connection opens, is answered and is known so on both sides")
            .opener(SYN).pair(pair!("opening", 1, 0))
            .opener(SYN).pair(pair!("opening", 2, 0))
            .answerer(SYN_ACK).pair(pair!("established", 2, 1))
            .ends(),
        Talk::established("the opener closes, then the answerer")
            .opener(FIN_ACK).pair(pair!("half-closed", 3, 1))
            .answerer(ACK).pair(pair!("half-closed", 3, 2))
            .answerer(FIN_ACK).pair(pair!("closing", 3, 3))
            .opener(ACK).pair(pair!("closing", 4, 3))
            .ends(),
        Talk::established("the answerer closes, then the opener")
            .answerer(FIN_ACK).pair(pair!("half-closed", 2, 2))
            .opener(FIN_ACK).pair(pair!("closing", 3, 2))
            .ends(),
        Talk::established("a reset ends it, and life after it shows that it was a stray one")
            .answerer(RST).pair(pair!("closing", 2, 2))
            .opener(ACK).pair(pair!("established", 3, 2))
            .opener(RST).pair(pair!("closing", 4, 2))
            .answerer(ACK).pair(pair!("established", 4, 3))
            .ends(),
        Talk::new("a refused connection is over")
            .opener(SYN).answerer(RST | ACK).pair(pair!("closing", 1, 1))
            .waits(31).collects(1)
            .ends(),
        Talk::established("a new connection takes a finished one's place")
            .opener(FIN_ACK).answerer(FIN_ACK).pair(pair!("closing", 3, 2))
            .opener(SYN).pair(pair!("opening", 4, 2))
            .answerer(SYN_ACK).pair(pair!("established", 4, 3))
            .ends(),
        Talk::established("a SYN does not take a living connection's place")
            .opener(SYN).pair(pair!("established", 3, 1))
            .ends(),
        Talk::new("a connection that nobody answers is over after a minute")
            .opener(SYN).waits(59).collects(0).waits(2).collects(1)
            .ends()
            .flows(&[]),
        Talk::established("an established connection sleeps for hours")
            .waits(5 * 3600).collects(0).waits(3600 + 1).collects(1)
            .ends()
            .flows(&[]),
        Talk::established("a half-closed one for two minutes")
            .opener(FIN_ACK).waits(119).collects(0).waits(2).collects(1)
            .ends(),
        Talk::established("a closed one for half a minute")
            .opener(FIN_ACK).answerer(FIN_ACK).waits(29).collects(0).waits(2).collects(1)
            .ends(),
        Talk::established("one side that talks keeps both entries")
            .waits(3 * 3600).opener(ACK).waits(3 * 3600 + 1).collects(0).answerer(ACK)
            .pair(pair!("established", 3, 2))
            .ends(),
    ];
    cases.extend(datagrams());
    cases.extend(evictions());
    cases
}

#[rustfmt::skip]
fn datagrams() -> Vec<Case> {
    let ask = |case: Case| case
        .send(FROM_WEB, WEB.to(REMOTE).udp(4000, 53, b"?"), OUT, masqueraded(REMOTE).udp(4000, 53, b"?"));
    let told = |case: Case| case
        .send(Source::Wire, from_wire(REMOTE, HOST).udp(53, 4000, b"!"), TO_WEB, WEB.gets(REMOTE).udp(53, 4000, b"!"));
    let ping = |case: Case| case
        .send(FROM_WEB, WEB.to(REMOTE).icmp(8, 7, b"?"), OUT, masqueraded(REMOTE).icmp(8, 7, b"?"));
    let collects = |case: Case, pairs| case.step(Step::Nominate).step(Step::Collect(pairs));
    let waits = |case: Case, seconds: u64| case.waits(seconds * SECOND_NS);
    vec![
        collects(waits(collects(waits(ask(Case::new("a question without an answer is over after half a minute")), 29), 0), 2), 1)
            .flows(&[]),
        collects(waits(collects(waits(told(ask(Case::new("an answered one after three"))), 179), 0), 2), 1)
            .flows(&[]),
        collects(waits(collects(waits(ping(Case::new("an echo is over after half a minute")), 29), 0), 2), 1)
            .flows(&[]),
        ask(waits(ask(Case::new("a packet that comes after the flow was nominated saves it")), 31).step(Step::Nominate))
            .step(Step::Collect(0)),
        told(waits(ask(Case::new("an answer that comes after the flow was nominated saves it")), 31).step(Step::Nominate))
            .step(Step::Collect(0)),
        Case::new("nothing is nominated").step(Step::Nominate).step(Step::Collect(0)),
    ]
}

#[rustfmt::skip]
fn evictions() -> Vec<Case> {
    let inside = key(INSIDE, TCP, (WEB.address, 4000), (REMOTE, 80));
    let outside = key(OUTSIDE, TCP, (REMOTE, 80), (HOST, 4000));
    let lost = |talk: Talk, key| Talk(talk.0.step(Step::Evict(key)));
    vec![
        lost(Talk::established("an answerer's entry that was lost is written again by the opener's packets"), outside)
            .waits(2).opener(ACK).pair(pair!("established", 3, 0))
            .answerer(ACK).pair(pair!("established", 3, 1))
            .ends(),
        lost(Talk::established("an opener's entry that was lost is written again by the answerer's packets"), inside)
            .waits(2).answerer(ACK).pair(pair!("established", 0, 2))
            .opener(ACK).pair(pair!("established", 1, 2))
            .ends(),
        lost(Talk::established("an opener's entry that was lost and is needed at once"), inside)
            .ends()
            .step(Step::Evict(outside))
            .send(FROM_WEB, WEB.to(REMOTE).tcp(4000, 80, ACK, b"x"), OUT, masqueraded(REMOTE).tcp(4000, 80, ACK, b"x")),
        Case::new("half a pair is collected too")
            .send(FROM_WEB, WEB.to(REMOTE).udp(4000, 53, b""), OUT, masqueraded(REMOTE).udp(4000, 53, b""))
            .step(Step::Evict(key(INSIDE, UDP, (WEB.address, 4000), (REMOTE, 53))))
            .waits(31 * SECOND_NS)
            .step(Step::Nominate)
            .step(Step::Collect(1))
            .flows(&[]),
    ]
}
