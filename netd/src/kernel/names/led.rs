//! Where do the programs lead who asks for names?

use crate::kernel::datapath::Datapath;
use netd_common::names::Resolver;
use std::collections::HashMap;
use std::io;

const MAP: &str = "NAMES";

/// The port of each name server, by the cookie of its namespace.
pub fn ports(datapath: &Datapath) -> io::Result<HashMap<u64, u16>> {
    let mut ports = HashMap::new();
    datapath.for_each(MAP, |cookie: &u64, resolver: &Resolver| {
        ports.insert(*cookie, resolver.port);
    })?;
    Ok(ports)
}

/// Turns the programs of a namespace to its name server, or to none.
pub fn set(datapath: &mut Datapath, cookie: u64, port: Option<u16>) -> io::Result<()> {
    match port {
        Some(port) => datapath.insert(MAP, cookie, Resolver { port, pad: [0; 2] }),
        None => datapath.remove::<_, Resolver>(MAP, &cookie),
    }
}
