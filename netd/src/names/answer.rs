//! What is answered to a question, or is somebody else asked?
//!
//! Pure: bytes of a query and a [`View`] in, bytes of an answer out. Own names live for no time (TTL 0) and the absence of
//! one has no SOA record beside it, by which it could be remembered (RFC 2308 section 5): what changes is seen at once.

use super::zone::{Found, Holder, View};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// Bytes of a message's header (RFC 1035 section 4.1.1).
pub const HEADER_SIZE: usize = 12;
/// Bytes of an answer over UDP to one who says nothing else (RFC 1035 section 4.2.1).
const UDP_SIZE_DEFAULT: u16 = 512;
/// Bytes of an answer over UDP at most, whatever the client says it takes.
pub const UDP_SIZE_MAX: u16 = 4096;
/// Bytes of a question that netd says it takes (DNS flag day 2020).
const QUERY_SIZE_MAX: u16 = 1232;
/// Bytes of one answer: a pointer to the name, type, class, TTL, length, and the address.
const A_SIZE: usize = 12 + 4;
const AAAA_SIZE: usize = 12 + 16;
/// The only version of EDNS (RFC 6891).
const EDNS_VERSION: u8 = 0;

/// How the question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What to do with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Own names.
    Answer(Vec<u8>),
    /// It is no question that is answered here or elsewhere.
    Refuse(Vec<u8>),
    /// Somebody else may know.
    Forward(Forward),
    /// It is no question at all.
    Ignore,
}

/// A question for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Bytes of the question section, behind the header.
    pub question_size: usize,
    /// Bytes that the client takes.
    pub limit: usize,
}

/// `turn` is how often somebody has asked: of several addresses another is the first each time.
#[must_use]
pub fn answer(bytes: &[u8], view: Option<&View>, transport: Transport, turn: usize) -> Outcome {
    // The third byte's first bit: an answer (RFC 1035 section 4.1.1). To answer one would be a loop.
    if bytes.len() < HEADER_SIZE || bytes.get(2).is_none_or(|flags| flags & 0x80 != 0) {
        return Outcome::Ignore;
    }
    let Ok(query) = Message::from_vec(bytes) else { return malformed(bytes) };
    let limit = match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => {
            let taken = query.edns.as_ref().map_or(UDP_SIZE_DEFAULT, Edns::max_payload);
            taken.clamp(UDP_SIZE_DEFAULT, UDP_SIZE_MAX)
        }
    };
    let limit = usize::from(limit);
    let refuse = |code| reply(&query, code, Vec::new(), limit).map_or(Outcome::Ignore, Outcome::Refuse);
    if query.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let [question] = query.queries.as_slice() else { return refuse(ResponseCode::FormErr) };
    if query.edns.as_ref().is_some_and(|edns| edns.version() != EDNS_VERSION) {
        return refuse(ResponseCode::BADVERS);
    }
    let is_transfer = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR);
    let (DNSClass::IN, false, Some(view)) = (question.query_class(), is_transfer, view) else {
        return refuse(ResponseCode::Refused);
    };
    let (code, records) = match look_up(question, view, turn) {
        Known::Records(records) => (ResponseCode::NoError, records),
        Known::Nothing => (ResponseCode::NXDomain, Vec::new()),
        Known::Elsewhere => {
            let Some(question_size) = question_size(bytes) else { return refuse(ResponseCode::FormErr) };
            return Outcome::Forward(Forward { question_size, limit });
        }
    };
    reply(&query, code, records, limit).map_or_else(|| refuse(ResponseCode::ServFail), Outcome::Answer)
}

/// The answer that says only how it went, to a question that was understood before; none when it was not.
#[must_use]
pub fn failure(bytes: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let query = Message::from_vec(bytes).ok()?;
    reply(&query, code, Vec::new(), usize::from(UDP_SIZE_DEFAULT))
}

/// What netd knows of a question.
enum Known {
    Records(Vec<Record>),
    Nothing,
    Elsewhere,
}

fn look_up(question: &Query, view: &View, turn: usize) -> Known {
    let name = question.name();
    if let Some(address) = reversed(name) {
        return match view.holder(address) {
            Holder::Named(holder) => {
                match (question.query_type(), Name::from_labels(holder.split('.').map(str::as_bytes))) {
                    (RecordType::PTR | RecordType::ANY, Ok(holder)) => {
                        Known::Records(vec![record(name, RData::PTR(PTR(holder)))])
                    }
                    _ => Known::Records(Vec::new()),
                }
            }
            Holder::Nobody => Known::Nothing,
            Holder::Elsewhere => Known::Elsewhere,
        };
    }
    // The root, and what a validating resolver asks about the top level, is nobody's name here.
    if name.is_root() || matches!(question.query_type(), RecordType::DS | RecordType::DNSKEY) {
        return Known::Elsewhere;
    }
    let Some(text) = plain(name) else {
        return if name.num_labels() == 1 { Known::Nothing } else { Known::Elsewhere };
    };
    let (mut ipv4, mut ipv6) = match view.find(&text) {
        Found::Addresses { ipv4, ipv6 } => (ipv4, ipv6),
        Found::Nothing => return Known::Nothing,
        Found::Elsewhere => return Known::Elsewhere,
    };
    rotate(&mut ipv4, turn);
    rotate(&mut ipv6, turn);
    let ipv4 = ipv4.into_iter().map(|address| record(name, RData::A(A(address))));
    let ipv6 = ipv6.into_iter().map(|address| record(name, RData::AAAA(AAAA(address))));
    Known::Records(match question.query_type() {
        RecordType::A => ipv4.collect(),
        RecordType::AAAA => ipv6.collect(),
        RecordType::ANY => ipv4.chain(ipv6).collect(),
        _ => Vec::new(),
    })
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), 0, data)
}

fn rotate<T>(list: &mut [T], turn: usize) {
    if let Some(by) = turn.checked_rem(list.len()) {
        list.rotate_left(by);
    }
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` is about.
fn reversed(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

/// In lower case, with dots between the labels; none when a label has what no name of netd has.
fn plain(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name {
        if !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    Some(text)
}

/// As many records as fit, and word that some do not.
fn reply(query: &Message, code: ResponseCode, records: Vec<Record>, limit: usize) -> Option<Vec<u8>> {
    let mut reply = Message::response(query.id, query.op_code);
    reply.metadata.recursion_desired = query.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    reply.metadata.response_code = code;
    reply.queries.clone_from(&query.queries);
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(QUERY_SIZE_MAX).set_version(EDNS_VERSION);
        reply.edns = Some(edns);
    }
    let largest =
        if records.iter().any(|record| record.record_type() == RecordType::AAAA) { AAAA_SIZE } else { A_SIZE };
    // Cheaper than to write what does not fit: only answers of addresses are ever many.
    let room = limit.saturating_sub(HEADER_SIZE + question_room(query));
    let fitting = room / largest;
    if records.len() > fitting {
        reply.metadata.truncation = true;
    }
    reply.answers = records;
    reply.answers.truncate(fitting);
    reply.to_vec().ok().filter(|bytes| bytes.len() <= limit)
}

/// Bytes of what stands beside the answers: the question, and what is said of EDNS.
fn question_room(query: &Message) -> usize {
    const TYPE_AND_CLASS: usize = 4;
    const OPT: usize = 11;
    query.queries.iter().map(|question| question.name().len() + 1 + TYPE_AND_CLASS).sum::<usize>() + OPT
}

/// Bytes of the one question behind the header.
fn question_size(bytes: &[u8]) -> Option<usize> {
    let mut at = HEADER_SIZE;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        match length {
            0 => break,
            // A pointer has nothing to point at, in a first name.
            1..64 => at += length,
            _ => return None,
        }
    }
    let end = at + 4;
    (end <= bytes.len()).then_some(end - HEADER_SIZE)
}

/// What cannot be read is told so, with nothing of it but its number.
fn malformed(bytes: &[u8]) -> Outcome {
    let (Some(&high), Some(&low), Some(&flags)) = (bytes.first(), bytes.get(1), bytes.get(2)) else {
        return Outcome::Ignore;
    };
    let code = OpCode::from_u8((flags >> 3) & 0x0f);
    let message = Message::error_msg(u16::from_be_bytes([high, low]), code, ResponseCode::FormErr);
    debug_assert_eq!(message.message_type, MessageType::Response);
    message.to_vec().map_or(Outcome::Ignore, Outcome::Refuse)
}

#[cfg(test)]
mod tests;
