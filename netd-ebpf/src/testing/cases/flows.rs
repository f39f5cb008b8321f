//! How does a flow live, and how does it end?

use super::outside::masqueraded;
use super::published::publish_web;
use super::{ACK, FIN, FIN_ACK, FROM_API, FROM_WEB, OUT, RST, SYN, SYN_ACK, TO_WEB, both};
use crate::testing::case::{Case, Step, key};
use crate::testing::packet::Ip;
use crate::testing::world::{API, Source, WEB, Who, from_wire};
use netd_common::flow::{INSIDE, OUTSIDE, Timeouts};
use netd_common::publish::{TCP, UDP};

const SECOND_NS: u64 = 1_000_000_000;

/// The container's flow to the outside, with its segments told by their flags.
struct Talk {
    case: Case,
    who: Who,
}

impl Talk {
    fn new(who: &Who, name: &str) -> Self {
        Self { case: Case::new(name), who: *who }
    }

    fn then(self, add: impl FnOnce(Case, &Who) -> Case) -> Self {
        Self { case: add(self.case, &self.who), who: self.who }
    }

    fn opener(self, flags: u8) -> Self {
        self.then(|case, who| {
            let (frame, out) = (WEB.to(who.remote), masqueraded(who.remote));
            case.send(FROM_WEB, frame.tcp(4000, 80, flags, b""), OUT, out.tcp(4000, 80, flags, b""))
        })
    }

    fn answerer(self, flags: u8) -> Self {
        self.then(|case, who| {
            let (frame, out) = (from_wire(who.remote, who.host), WEB.gets(who.remote));
            case.send(Source::Wire, frame.tcp(80, 4000, flags, b""), TO_WEB, out.tcp(80, 4000, flags, b""))
        })
    }

    fn waits(self, seconds: u64) -> Self {
        self.then(|case, _| case.waits(seconds * SECOND_NS))
    }

    /// The agent looks for what is over, and so many pairs go.
    fn collects(self, pairs: u32) -> Self {
        self.then(|case, _| collects(case, pairs))
    }

    fn established(who: &Who, name: &str) -> Self {
        Self::new(who, name).opener(SYN).answerer(SYN_ACK).opener(ACK)
    }

    /// The state, and the packets each way.
    fn pair(self, (inside, outside): (&str, &str)) -> Self {
        self.then(|case, _| case.flows(&[inside, outside]))
    }

    fn ends(self) -> Case {
        self.case
    }
}

fn collects(case: Case, pairs: u32) -> Case {
    case.step(Step::Nominate).step(Step::Collect(pairs))
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

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for of_both in [connections, endings, datagrams, timeouts, evictions] {
        cases.extend(both(of_both));
    }
    cases
}

#[rustfmt::skip]
fn connections(who: &Who) -> Vec<Case> {
    vec![
        Talk::new(who, "a connection opens, is answered and is known so on both sides")
            .opener(SYN).pair(pair!("opening", 1, 0))
            .opener(SYN).pair(pair!("opening", 2, 0))
            .answerer(SYN_ACK).pair(pair!("established", 2, 1))
            .ends(),
        Talk::established(who, "the opener closes, then the answerer")
            .opener(FIN_ACK).pair(pair!("half-closed", 3, 1))
            .answerer(ACK).pair(pair!("half-closed", 3, 2))
            .answerer(FIN_ACK).pair(pair!("closing", 3, 3))
            .opener(ACK).pair(pair!("closing", 4, 3))
            .ends(),
        Talk::established(who, "the answerer closes, then the opener")
            .answerer(FIN_ACK).pair(pair!("half-closed", 2, 2))
            .opener(FIN_ACK).pair(pair!("closing", 3, 2))
            .ends(),
        Talk::established(who, "a reset ends it, and life after it shows that it was a stray one")
            .answerer(RST).pair(pair!("closing", 2, 2))
            .opener(ACK).pair(pair!("established", 3, 2))
            .opener(RST).pair(pair!("closing", 4, 2))
            .answerer(ACK).pair(pair!("established", 4, 3))
            .ends(),
        Talk::new(who, "a refused connection is over")
            .opener(SYN).answerer(RST | ACK).pair(pair!("closing", 1, 1))
            .waits(31).collects(1)
            .ends(),
        Talk::established(who, "a new connection takes a finished one's place")
            .opener(FIN_ACK).answerer(FIN_ACK).pair(pair!("closing", 3, 2))
            .opener(SYN).pair(pair!("opening", 4, 2))
            .answerer(SYN_ACK).pair(pair!("established", 4, 3))
            .ends(),
        Talk::established(who, "a SYN does not take a living connection's place")
            .opener(SYN).pair(pair!("established", 3, 1))
            .ends(),
        Talk::new(who, "a connection that nobody answers is over after a minute")
            .opener(SYN).waits(59).collects(0).waits(2).collects(1)
            .ends()
            .flows(&[]),
        Talk::established(who, "an established connection sleeps for hours")
            .waits(5 * 3600).collects(0).waits(3600 + 1).collects(1)
            .ends()
            .flows(&[]),
        Talk::established(who, "a half-closed one for two minutes")
            .opener(FIN_ACK).waits(119).collects(0).waits(2).collects(1)
            .ends(),
        Talk::established(who, "a closed one for half a minute")
            .opener(FIN_ACK).answerer(FIN_ACK).waits(29).collects(0).waits(2).collects(1)
            .ends(),
        Talk::established(who, "one side that talks keeps both entries")
            .waits(3 * 3600).opener(ACK).waits(3 * 3600 + 1).collects(0).answerer(ACK)
            .pair(pair!("established", 3, 2))
            .ends(),
    ]
}

#[rustfmt::skip]
fn endings(who: &Who) -> Vec<Case> {
    let simultaneous = |name| Talk::established(who, name).opener(FIN_ACK).answerer(FIN_ACK).pair(pair!("closing", 3, 2));
    vec![
        simultaneous("both close at once")
            .opener(ACK).answerer(ACK).pair(pair!("closing", 4, 3))
            .waits(29).collects(0).waits(2).collects(1)
            .ends()
            .flows(&[]),
        Talk::established(who, "a FIN that is sent again says nothing new")
            .answerer(FIN_ACK).answerer(FIN_ACK).pair(pair!("half-closed", 2, 3))
            .opener(FIN_ACK).opener(FIN_ACK).pair(pair!("closing", 4, 3))
            .ends(),
        Talk::established(who, "the side that has not closed goes on sending")
            .answerer(FIN_ACK).opener(ACK).opener(ACK).opener(ACK).pair(pair!("half-closed", 5, 2))
            .waits(119).opener(ACK).waits(119).collects(0)
            .opener(FIN_ACK).pair(pair!("closing", 7, 2))
            .ends(),
        Talk::established(who, "a FIN without an ACK is one")
            .opener(FIN).pair(pair!("half-closed", 3, 1))
            .answerer(FIN).pair(pair!("closing", 3, 2))
            .ends(),
        Talk::established(who, "a reset that answers a FIN ends it")
            .opener(FIN_ACK).answerer(RST).pair(pair!("closing", 3, 2))
            .waits(29).collects(0).waits(2).collects(1)
            .ends(),
        Talk::established(who, "a stray reset between data, from either side, kills nothing")
            .answerer(RST | ACK).opener(ACK).answerer(ACK).pair(pair!("established", 3, 3))
            .opener(RST).answerer(ACK).pair(pair!("established", 4, 4))
            .waits(3600).collects(0)
            .ends(),
        Talk::established(who, "data after a reset does not undo a FIN")
            .opener(FIN_ACK).answerer(RST).opener(ACK).pair(pair!("half-closed", 4, 2))
            .ends(),
        simultaneous("a tuple that is used again within half a minute is a new connection, and lives as one")
            .waits(20).opener(SYN).pair(pair!("opening", 4, 2))
            .waits(20).opener(SYN).answerer(SYN_ACK).pair(pair!("established", 5, 3))
            .waits(3600).collects(0)
            .opener(FIN_ACK).pair(pair!("half-closed", 6, 3))
            .ends(),
        simultaneous("an answerer's SYN does not open a closed connection anew")
            .answerer(SYN).pair(pair!("closing", 3, 3))
            .ends(),
        simultaneous("a SYN with an ACK does not open a closed connection anew")
            .opener(SYN_ACK).pair(pair!("closing", 4, 2))
            .ends(),
        Talk::new(who, "both open at once")
            .opener(SYN).answerer(SYN).pair(pair!("established", 1, 1))
            .opener(SYN_ACK).answerer(SYN_ACK).pair(pair!("established", 2, 2))
            .ends(),
    ]
}

#[rustfmt::skip]
fn datagrams(who: &Who) -> Vec<Case> {
    let ask = |case: Case| case
        .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b"?"), OUT, masqueraded(who.remote).udp(4000, 53, b"?"));
    let told = |case: Case| case
        .send(Source::Wire, from_wire(who.remote, who.host).udp(53, 4000, b"!"), TO_WEB, WEB.gets(who.remote).udp(53, 4000, b"!"));
    let ping = |case: Case| case
        .send(FROM_WEB, WEB.to(who.remote).echo(true, 7, b"?"), OUT, masqueraded(who.remote).echo(true, 7, b"?"));
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

/// Of the container's network.
const SHORT: Timeouts = Timeouts {
    tcp_opening: 1,
    tcp_established: 5,
    tcp_half_closed: 2,
    tcp_closing: 3,
    udp_opening: 4,
    udp_established: 6,
    icmp: 7,
};

#[rustfmt::skip]
fn timeouts(who: &Who) -> Vec<Case> {
    let of_network = |talk: Talk| talk.then(|case, _| case.given(|world| { world.model.timeouts.insert(WEB.network, SHORT); }));
    let of_another = |talk: Talk| talk.then(|case, _| case.given(|world| { world.model.timeouts.insert(API.network, SHORT); }));
    let talk = |name| of_network(Talk::new(who, name));
    let case = |name| talk(name).ends();
    let ask = |case: Case| case
        .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b"?"), OUT, masqueraded(who.remote).udp(4000, 53, b"?"));
    let told = |case: Case| case
        .send(Source::Wire, from_wire(who.remote, who.host).udp(53, 4000, b"!"), TO_WEB, WEB.gets(who.remote).udp(53, 4000, b"!"));
    let ping = |case: Case| case
        .send(FROM_WEB, WEB.to(who.remote).echo(true, 7, b"?"), OUT, masqueraded(who.remote).echo(true, 7, b"?"));
    // Neither before its time nor after.
    let after = |case: Case, seconds: u64| collects(collects(case.waits(seconds * SECOND_NS - SECOND_NS / 2), 0).waits(SECOND_NS), 1);
    vec![
        after(talk("a network's own timeout of a connection that opens").opener(SYN).ends(), 1),
        after(talk("a network's own timeout of an established connection").opener(SYN).answerer(SYN_ACK).ends(), 5),
        after(talk("a network's own timeout of a half-closed connection").opener(SYN).answerer(SYN_ACK).opener(FIN_ACK).ends(), 2),
        after(talk("a network's own timeout of a closed connection").opener(SYN).answerer(RST | ACK).ends(), 3),
        after(ask(case("a network's own timeout of a question without an answer")), 4),
        after(told(ask(case("a network's own timeout of an answered question"))), 6),
        after(ping(case("a network's own timeout of an echo")), 7),
        of_another(Talk::new(who, "another network's timeouts are not this one's"))
            .opener(SYN).waits(59).collects(0).waits(2).collects(1)
            .ends(),
        // The container that answers is of a network of its own.
        after(Case::new("the timeouts of a published port's flow are those of the network that answers")
            .given(|world| { world.model.timeouts.insert(WEB.network, SHORT); world.publish(UDP, who.any, 5353, &WEB, 53); })
            .send(FROM_API, API.to(who.host).udp(4000, 5353, b"?"), TO_WEB,
                Ip { ttl: 63, ..WEB.gets(who.of(&API)) }.udp(4000, 53, b"?")), 4),
    ]
}

#[rustfmt::skip]
fn evictions(who: &Who) -> Vec<Case> {
    let inside = key(INSIDE, TCP, (who.of(&WEB), 4000), (who.remote, 80));
    let outside = key(OUTSIDE, TCP, (who.remote, 80), (who.host, 4000));
    let lost = |talk: Talk, key| talk.then(|case, _| case.step(Step::Evict(key)));
    vec![
        lost(Talk::established(who, "an answerer's entry that was lost is written again by the opener's packets"), outside)
            .waits(2).opener(ACK).pair(pair!("established", 3, 0))
            .answerer(ACK).pair(pair!("established", 3, 1))
            .ends(),
        lost(Talk::established(who, "an opener's entry that was lost is written again by the answerer's packets"), inside)
            .waits(2).answerer(ACK).pair(pair!("established", 0, 2))
            .opener(ACK).pair(pair!("established", 1, 2))
            .ends(),
        lost(Talk::established(who, "an opener's entry that was lost and is needed at once"), inside)
            .ends()
            .step(Step::Evict(outside))
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, ACK, b"x"), OUT, masqueraded(who.remote).tcp(4000, 80, ACK, b"x")),
        lost(Talk::established(who, "an opener's entry that was lost, and the opener goes on first"), inside)
            .opener(ACK).pair(pair!("established", 1, 1))
            .answerer(ACK).pair(pair!("established", 1, 2))
            .ends(),
        lost(Talk::established(who, "an opener's entry that was lost, and the opener asks anew in the same place"), inside)
            .opener(SYN).pair(pair!("opening", 1, 1))
            .answerer(SYN_ACK).pair(pair!("established", 1, 2))
            .ends(),
        lost_in_front(who),
        Case::new("half a pair is collected too")
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b""), OUT, masqueraded(who.remote).udp(4000, 53, b""))
            .step(Step::Evict(key(INSIDE, UDP, (who.of(&WEB), 4000), (who.remote, 53))))
            .waits(31 * SECOND_NS)
            .step(Step::Nominate)
            .step(Step::Collect(1))
            .flows(&[]),
    ]
}

/// The client's entry of a connection to a published port, which has lost its place in the table.
fn lost_in_front(who: &Who) -> Case {
    let (wire, got) = (from_wire(who.remote, who.host), WEB.gets(who.remote));
    let answered = Ip { from: who.host, ttl: 63, ..WEB.to(who.remote) };
    Case::new("a client's entry that was lost, and the client goes on first")
        .given(publish_web(who))
        .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, got.tcp(4000, 80, SYN, b""))
        .send(FROM_WEB, WEB.to(who.remote).tcp(80, 4000, SYN_ACK, b""), OUT, answered.tcp(8080, 4000, SYN_ACK, b""))
        .step(Step::Evict(key(OUTSIDE, TCP, (who.remote, 4000), (who.host, 8080))))
        .send(Source::Wire, wire.tcp(4000, 8080, ACK, b"x"), TO_WEB, got.tcp(4000, 80, ACK, b"x"))
        .send(FROM_WEB, WEB.to(who.remote).tcp(80, 4000, ACK, b""), OUT, answered.tcp(8080, 4000, ACK, b""))
}
