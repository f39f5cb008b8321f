//! What do clients read of the answers?

use super::*;
use crate::model::attach::Attach;
use crate::model::command::{Command, ContainerSpec, NetworkSpec};
use crate::model::state::State;
use crate::model::testing::{container, context, network};
use crate::names::zone::Zone;
use hickory_proto::op::Metadata;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// What `one` sees, on a network of both families beside `count` others of the alias `db`.
fn view(count: usize) -> Arc<View> {
    let mut state = State::default();
    let subnets = ["10.1.0.0/16", "fd00:1::/64"].map(|subnet| subnet.parse().unwrap()).to_vec();
    let six = NetworkSpec { subnets: vec!["fd00:6::/64".parse().unwrap()], ..network("six") };
    let four = NetworkSpec { subnets: vec!["10.4.0.0/24".parse().unwrap()], ..network("four") };
    let on = |name: &str, networks: &[&str]| ContainerSpec {
        networks: networks.iter().copied().map(Attach::to).collect(),
        ..container(name)
    };
    let mut commands = vec![
        Command::InstallBuiltins,
        Command::CreateNetwork(NetworkSpec { subnets, ..network("blue") }),
        Command::CreateNetwork(six),
        Command::CreateNetwork(four),
        Command::CreateContainer(on("one", &["blue", "six", "four"])),
        Command::CreateContainer(on("v6", &["six"])),
        Command::CreateContainer(on("v4", &["four"])),
    ];
    commands.extend((0..count).map(|number| {
        let aliases = vec!["db".to_owned()];
        Command::CreateContainer(ContainerSpec { aliases, ..on(&format!("peer{number}"), &["blue"]) })
    }));
    for command in commands {
        state.apply(&command, &context()).unwrap();
    }
    Arc::clone(Zone::of(&state, Path::new("/run/netns")).view(Path::new("/run/netns/one")).unwrap())
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::new(0x1234, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    // As a client may send it: `from_ascii` takes host names only.
    let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    let mut name = Name::from_labels(labels).unwrap();
    name.set_fqdn(true);
    query.add_query(Query::query(name, kind));
    query
}

fn with_edns(mut query: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    query.edns = Some(edns);
    query
}

fn answered(query: &Message, view: &View, transport: Transport, turn: usize) -> (Message, usize) {
    match answer(&query.to_vec().unwrap(), Some(view), transport, turn) {
        Outcome::Answer(bytes) | Outcome::Refuse(bytes) => (Message::from_vec(&bytes).unwrap(), bytes.len()),
        other => panic!("{other:?}"),
    }
}

/// The code, and the data of the answers.
fn told(query: &Message, view: &View) -> String {
    let (reply, _) = answered(query, view, Transport::Udp, 0);
    let data: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    format!("{:?} {}", reply.response_code, data.join(" "))
}

#[test]
fn each_type_has_its_answer() {
    let view = view(1);
    for (name, kind, expected) in [
        ("v4.", RecordType::A, "NoError 10.4.0.3"),
        ("V4.FOUR.", RecordType::A, "NoError 10.4.0.3"),
        ("peer0.", RecordType::AAAA, "NoError fd00:1::3"),
        ("peer0.", RecordType::ANY, "NoError 10.1.0.3 fd00:1::3"),
        // A family that it has not, and a type that nobody has: no answer, but a name.
        ("v4.", RecordType::AAAA, "NoError "),
        ("v6.", RecordType::A, "NoError "),
        ("v4.", RecordType::MX, "NoError "),
        ("v4.", RecordType::HTTPS, "NoError "),
        ("nobody.", RecordType::A, "NXDomain "),
        ("nobody.", RecordType::AAAA, "NXDomain "),
        ("nobody.blue.", RecordType::MX, "NXDomain "),
        ("3.0.4.10.in-addr.arpa.", RecordType::PTR, "NoError v4.four."),
        ("3.0.4.10.in-addr.arpa.", RecordType::A, "NoError "),
        ("99.0.4.10.in-addr.arpa.", RecordType::PTR, "NXDomain "),
        ("1.0.0.127.in-addr.arpa.", RecordType::PTR, "NoError localhost."),
        (
            "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.0.0.0.0.0.d.f.ip6.arpa.",
            RecordType::PTR,
            "NoError v6.six.",
        ),
    ] {
        assert_eq!(told(&query(name, kind), &view), expected, "{name} {kind}");
    }
    let (reply, _) = answered(&query("V4.", RecordType::A), &view, Transport::Udp, 0);
    let Metadata { id, message_type, recursion_desired, recursion_available, authoritative, truncation, .. } =
        reply.metadata;
    assert_eq!((id, message_type), (0x1234, MessageType::Response));
    assert_eq!((recursion_desired, recursion_available, authoritative, truncation), (true, true, true, false));
    assert_eq!(reply.answers[0].ttl, 0, "what changes is seen at once");
    assert!(reply.answers[0].name.eq_case(&Name::from_ascii("V4.").unwrap()), "the name as it was asked");
    assert!(reply.edns.is_none());
}

#[test]
fn others_are_asked_for_what_may_be_theirs() {
    let view = view(0);
    for (name, kind) in [
        ("example.org.", RecordType::A),
        ("www.example.org.", RecordType::TXT),
        ("8.8.8.8.in-addr.arpa.", RecordType::PTR),
        ("0.4.10.in-addr.arpa.", RecordType::SOA),
        (".", RecordType::NS),
        ("org.", RecordType::DS),
    ] {
        let bytes = query(name, kind).to_vec().unwrap();
        let Outcome::Forward(forward) = answer(&bytes, Some(&view), Transport::Udp, 0) else { panic!("{name} {kind}") };
        assert_eq!(forward, Forward { question_size: bytes.len() - HEADER_SIZE, limit: 512 }, "{name} {kind}");
    }
    let large = with_edns(query("example.org.", RecordType::A), 65_000).to_vec().unwrap();
    let Outcome::Forward(forward) = answer(&large, Some(&view), Transport::Udp, 0) else { panic!("not forwarded") };
    assert_eq!(forward.limit, usize::from(UDP_SIZE_MAX));
}

#[test]
fn what_is_no_question_for_a_name_server_is_told_so() {
    let view = view(0);
    let code = |query: &Message| answered(query, &view, Transport::Udp, 0).0.response_code;
    let mut update = query("one.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut two = query("one.", RecordType::A);
    two.add_query(Query::query(Name::from_ascii("v4.").unwrap(), RecordType::A));
    assert_eq!(code(&two), ResponseCode::FormErr);
    assert_eq!(code(&query("blue.", RecordType::AXFR)), ResponseCode::Refused);
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    let mut newer = with_edns(query("one.", RecordType::A), 1232);
    newer.edns.as_mut().unwrap().set_version(1);
    // The number is that of BADSIG too.
    assert_eq!(u16::from(code(&newer)), u16::from(ResponseCode::BADVERS));

    let bytes = query("one.", RecordType::A).to_vec().unwrap();
    let Outcome::Refuse(reply) = answer(&bytes[..bytes.len() - 1], Some(&view), Transport::Udp, 0) else { panic!() };
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!((reply.id, reply.response_code), (0x1234, ResponseCode::FormErr));
    let mut response = bytes.clone();
    response[2] |= 0x80;
    for ignored in [&response[..], &bytes[..11], &[]] {
        assert_eq!(answer(ignored, Some(&view), Transport::Udp, 0), Outcome::Ignore);
    }
    // Its container has left a moment ago.
    assert!(matches!(answer(&bytes, None, Transport::Udp, 0), Outcome::Refuse(_)));
    let failed = Message::from_vec(&failure(&bytes, ResponseCode::ServFail).unwrap()).unwrap();
    assert_eq!((failed.id, failed.response_code), (0x1234, ResponseCode::ServFail));
}

#[test]
fn several_holders_take_turns_at_being_the_first() {
    let view = view(3);
    let first = |turn| {
        let (reply, _) = answered(&query("db.", RecordType::A), &view, Transport::Udp, turn);
        assert_eq!(reply.answers.len(), 3);
        reply.answers[0].data.to_string()
    };
    let firsts: Vec<String> = (0..4).map(first).collect();
    assert_eq!(firsts, ["10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.3"]);
}

#[test]
fn an_answer_has_as_many_as_the_client_takes() {
    let view = view(200);
    let asked = query("db.", RecordType::A);
    let (plain, size) = answered(&asked, &view, Transport::Udp, 0);
    assert!(plain.truncation && size <= 512 && plain.answers.len() == 30, "{size} {}", plain.answers.len());
    for payload in [0, 100, 512, 1232, 4096, 65_535] {
        let (reply, size) = answered(&with_edns(asked.clone(), payload), &view, Transport::Udp, 0);
        let limit = usize::from(payload.clamp(512, UDP_SIZE_MAX));
        assert!(size <= limit, "{size} for {payload}");
        assert_eq!(reply.truncation, reply.answers.len() < 200, "{payload}");
        assert!(limit - size < A_SIZE || !reply.truncation, "{payload}: there was room for one more");
        let edns = reply.edns.expect("who speaks EDNS is answered in it");
        assert_eq!((edns.max_payload(), edns.version()), (QUERY_SIZE_MAX, 0));
    }
    for kind in [RecordType::AAAA, RecordType::ANY] {
        let (reply, size) = answered(&query("db.", kind), &view, Transport::Udp, 0);
        assert!(reply.truncation && size <= 512 && !reply.answers.is_empty(), "{kind} {size}");
    }
    let (whole, _) = answered(&query("db.", RecordType::ANY), &view, Transport::Tcp, 0);
    assert_eq!((whole.truncation, whole.answers.len()), (false, 400));
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9-]{1,20}\\.",
        "[a-zA-Z0-9_-]{1,20}(\\.[a-z0-9]{1,63}){0,3}\\.",
        prop_oneof![Just("db."), Just("one.blue."), Just("v6."), Just("."), Just("3.0.4.10.in-addr.arpa.")]
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let view = view(2);
        for transport in [Transport::Udp, Transport::Tcp] {
            if let Outcome::Answer(reply) | Outcome::Refuse(reply) = answer(&bytes, Some(&view), transport, 1) {
                prop_assert!(Message::from_vec(&reply).is_ok());
                prop_assert_eq!(&reply[..2], &bytes[..2]);
            }
        }
    }

    #[test]
    fn a_damaged_question_is_borne(
        name in any_name(), kind in any::<u16>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let view = view(2);
        let mut bytes = with_edns(query(&name, RecordType::from(kind)), 1232).to_vec().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Outcome::Answer(reply) | Outcome::Refuse(reply) = answer(&bytes, Some(&view), Transport::Udp, 1) {
            prop_assert!(Message::from_vec(&reply).is_ok());
            prop_assert!(reply.len() <= usize::from(UDP_SIZE_MAX));
        }
    }

    #[test]
    fn an_answer_is_to_the_question(name in any_name(), kind in any::<u16>()) {
        let view = view(2);
        let query = query(&name, RecordType::from(kind));
        let bytes = query.to_vec().unwrap();
        match answer(&bytes, Some(&view), Transport::Udp, 1) {
            Outcome::Answer(reply) | Outcome::Refuse(reply) => {
                let reply = Message::from_vec(&reply).unwrap();
                prop_assert_eq!(&reply.queries, &query.queries);
                prop_assert!(reply.answers.iter().all(|record| record.name == *query.queries[0].name()));
            }
            Outcome::Forward(forward) => {
                prop_assert_eq!(forward.question_size, bytes.len() - HEADER_SIZE);
                // What can only be a peer's never leaves.
                let is_single = name.trim_end_matches('.').split('.').count() == 1 && name != ".";
                let is_exempt = matches!(query.queries[0].query_type(), RecordType::DS | RecordType::DNSKEY);
                prop_assert!(!is_single || is_exempt, "{}", name);
            }
            Outcome::Ignore => prop_assert!(false, "a question is answered"),
        }
    }
}
