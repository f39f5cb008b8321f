//! How does a program ask a name server that it knows only by its address?
//!
//! From one socket that is not connected, of either family: it sees where each answer comes from.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long the C library waits for an answer before it asks again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `count` times for the address of `name`, and prints what came of each: the code and the first address, and whom
/// the answer came from. A question that is not answered is asked once more.
///
/// # Errors
/// When a question is not answered the second time either.
pub fn run(server: SocketAddr, name: &str, count: u32) -> io::Result<()> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let name = Name::from_ascii(name).map_err(io::Error::other)?;
    for number in 0..count {
        let id = u16::try_from(number % 65_536).unwrap_or_default();
        let mut query = Message::new(id, MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name.clone(), RecordType::A));
        let query = query.to_vec().map_err(io::Error::other)?;
        let (reply, from) = exchange(&socket, server, &query).or_else(|_| exchange(&socket, server, &query))?;
        let address = reply.answers.first().map_or_else(|| "-".to_owned(), |record| record.data.to_string());
        println!("{:?} {address} {from}", reply.response_code);
    }
    Ok(())
}

fn exchange(socket: &UdpSocket, server: SocketAddr, query: &[u8]) -> io::Result<(Message, SocketAddr)> {
    let mut answer = [0; 4096];
    socket.send_to(query, server)?;
    loop {
        let (size, from) = socket.recv_from(&mut answer)?;
        let reply = Message::from_vec(&answer[..size]).map_err(io::Error::other)?;
        if reply.id.to_be_bytes() == query[..2] {
            return Ok((reply, from));
        }
    }
}
