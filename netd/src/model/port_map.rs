//! What does `[HOSTIP:]HOSTPORT[-END]:PORT[-END][/PROTOCOL]` say?

use super::state::Protocol;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One parsed SPEC of `netctl publish`. In JSON it is the same text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMap {
    /// None: every address, `0.0.0.0`.
    pub host_ip: Option<IpAddr>,
    /// First port of the host; none: netd picks.
    pub host_port: Option<u16>,
    pub container_port: u16,
    /// How many ports, from 1.
    pub count: u16,
    pub protocol: Protocol,
}
