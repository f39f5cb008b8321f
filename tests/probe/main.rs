//! The probe as a program: sockets of the host's own, in the cgroup that netd's programs are attached to.
//!
//! ```text
//! netd-probe serve NAME tcp/ADDR:PORT|udp/ADDR:PORT...   prints "ready", serves until it is killed
//! netd-probe dial tcp|udp-connected|udp-unconnected ADDR:PORT
//! netd-probe bind tcp|udp ADDR:PORT                      whether bind(2) is allowed
//! netd-probe chat ADDR:PORT                              one connected UDP socket; an exchange for each input line
//! netd-probe hold ADDR:PORT                              one TCP connection; an exchange for each input line
//! netd-probe ask ADDR:PORT NAME COUNT                    asks a name server from one unconnected socket, COUNT times
//! netd-probe crowd IP PORT COUNT ADDR:PORT               COUNT connected UDP sockets; the number of answers, for each line
//! ```

use anyhow::{Context as _, Result, bail};
use netd_tests::probe::{self, Mode};
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", name, addresses @ ..] => serve(name, addresses),
        ["dial", mode, address] => {
            let mode = Mode::ALL.into_iter().find(|known| known.name() == *mode).context("which way to dial?")?;
            print(&probe::dial(mode, address.parse()?))
        }
        ["bind", "tcp", address] => {
            TcpListener::bind(address)?;
            Ok(())
        }
        ["bind", "udp", address] => {
            UdpSocket::bind(address)?;
            Ok(())
        }
        ["chat", address] => chat(address.parse()?),
        ["hold", address] => hold(address.parse()?),
        ["crowd", ip, first, size, address] => {
            Ok(probe::crowd::run(ip.parse()?, first.parse()?, size.parse()?, address.parse()?)?)
        }
        ["ask", server, name, count] => Ok(probe::ask::run(server.parse()?, name, count.parse()?)?),
        _ => bail!("unknown words {words:?}"),
    }
}

fn print(result: &io::Result<probe::Reply>) -> Result<()> {
    println!("{}", probe::to_json(result));
    io::stdout().flush()?;
    Ok(())
}

fn serve(name: &str, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        let name = name.to_owned();
        let (protocol, at) = address.split_once('/').context("tcp/ADDR:PORT or udp/ADDR:PORT")?;
        match protocol {
            "tcp" => {
                let listener = TcpListener::bind(at).with_context(|| format!("bind {at}"))?;
                std::thread::spawn(move || probe::serve_tcp(&name, &listener));
            }
            "udp" => {
                let socket = UdpSocket::bind(at).with_context(|| format!("bind {at}"))?;
                std::thread::spawn(move || probe::serve_udp(&name, &socket));
            }
            _ => bail!("unknown protocol {protocol}"),
        }
    }
    println!("ready");
    io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}

fn chat(address: SocketAddr) -> Result<()> {
    let socket = probe::udp_client(address)?;
    socket.set_read_timeout(Some(std::time::Duration::from_millis(500)))?;
    socket.connect(address)?;
    for line in io::stdin().lock().lines() {
        line?;
        print(&probe::ask(&socket))?;
    }
    Ok(())
}

fn hold(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, probe::PATIENCE)?;
    let mut first = Some(probe::exchange(&stream)?);
    for line in io::stdin().lock().lines() {
        let line = line?;
        let reply = match first.take() {
            Some(reply) => Ok(reply),
            None => echo(&mut stream, &line).and_then(|()| {
                let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
                Ok(probe::Reply { server: "again".to_owned(), seen_as: local, local, peer })
            }),
        };
        print(&reply)?;
    }
    Ok(())
}

fn echo(stream: &mut TcpStream, line: &str) -> io::Result<()> {
    stream.write_all(line.as_bytes())?;
    let mut echoed = vec![0; line.len()];
    stream.read_exact(&mut echoed)?;
    if echoed == line.as_bytes() { Ok(()) } else { Err(io::Error::other("the echo differs")) }
}
