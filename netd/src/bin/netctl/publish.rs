//! `netctl publish`, `unpublish`, `port ls`: what is asked about published ports, and how is it shown?

use super::Failure;
use super::output::{Column, Out};
use clap::{Args, Subcommand};
use hyper::Method;
use netd::api::client::{Client, escaped};
use netd::api::publishes::{PublishRequest, UnpublishRequest};
use netd::api::records::PublishRecord;
use netd::model::command::Unpublish as What;
use netd::model::port_map::PortMap;
use netd::model::prefix::{Prefix, Prefixes};
use netd::tuple::transport;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Args)]
pub struct Publish {
    /// The container that answers
    name: String,
    #[arg(
        required = true,
        value_name = "SPEC",
        help = "[HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|/udp|/sctp]; with no HOSTPORT, or 0, netd picks one and prints it"
    )]
    ports: Vec<PortMap>,
    /// Only for clients with these addresses; repeatable. Without it everybody may come. Of a port that is published
    /// already it takes the place of what was said before, and connections of others end within seconds. Programs of this
    /// host are not held to it
    #[arg(long = "allow", value_name = "CIDR")]
    allow: Vec<Prefix>,
}

#[derive(Args)]
pub struct Unpublish {
    /// The container that answered
    name: String,
    /// As they were published
    #[arg(required_unless_present = "all", value_name = "SPEC")]
    ports: Vec<PortMap>,
    /// All of this container's ports
    #[arg(long, conflicts_with = "ports")]
    all: bool,
}

#[derive(Subcommand)]
pub enum PortVerb {
    /// List published ports
    Ls {
        /// Of this container only
        name: Option<String>,
    },
}

impl Publish {
    /// What is published, and for whom.
    pub fn ports(self) -> (Vec<PortMap>, BTreeSet<Prefix>) {
        (self.ports, self.allow.into_iter().collect())
    }
}

pub async fn publish(publish: Publish, client: &Client, out: Out) -> Result<(), Failure> {
    let Publish { name: container, ports, allow } = publish;
    let request = PublishRequest { container, ports, allow: allow.into_iter().collect() };
    let records: Vec<PublishRecord> = client.change(Method::POST, "/v1/publishes", &request).await?;
    out.changed(&records, picked(&request.ports, &records))?;
    Ok(())
}

/// The ports that netd chose, as addresses of the host: the caller knows the others.
pub fn picked(asked: &[PortMap], records: &[PublishRecord]) -> Vec<String> {
    let is_named = |record: &PublishRecord| {
        asked.iter().any(|map| {
            let place = record.container_port.checked_sub(map.container_port);
            map.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) == record.host_ip
                && map.protocol == record.protocol
                && place.is_some_and(|place| place < map.count)
                && map.host_port.is_some_and(|first| record.host_port.checked_sub(first) == place)
        })
    };
    records.iter().filter(|record| !is_named(record)).map(host_side).collect()
}

fn host_side(record: &PublishRecord) -> String {
    SocketAddr::new(record.host_ip, record.host_port).to_string()
}

/// All the addresses of the host that are meant.
fn host_sides(record: &PublishRecord) -> String {
    let all = [Some(record.host_ip), record.host_ip6].into_iter().flatten();
    all.map(|ip| SocketAddr::new(ip, record.host_port).to_string()).collect::<Vec<_>>().join(", ")
}

pub async fn unpublish(unpublish: Unpublish, client: &Client, out: Out) -> Result<(), Failure> {
    let Unpublish { name: container, ports, all } = unpublish;
    let request = UnpublishRequest { container, what: if all { What::All } else { What::Ports(ports) } };
    let records: Vec<PublishRecord> = client.change(Method::POST, "/v1/publishes:remove", &request).await?;
    out.changed(&records, [])?;
    Ok(())
}

pub async fn list(verb: PortVerb, client: &Client, out: Out) -> Result<(), Failure> {
    let PortVerb::Ls { name } = verb;
    let path = match name {
        Some(name) => format!("/v1/publishes?container={}", escaped(&name)),
        None => "/v1/publishes".to_owned(),
    };
    let records: Vec<PublishRecord> = client.read(&path).await?;
    let columns = ["CONTAINER", "HOST", "PORT", "PROTOCOL", "ALLOW", "STATUS"].map(Column::Text);
    out.list(&records, host_side, columns, |record| {
        [
            record.container.clone(),
            host_sides(record),
            record.container_port.to_string(),
            transport(record.protocol).to_owned(),
            allowed(&record.allow),
            record.status.name().to_owned(),
        ]
    })?;
    Ok(())
}

/// Prefixes that a cell has at most.
const ALLOWED_MAX: usize = 3;

fn allowed(allow: &Prefixes) -> String {
    if allow.is_empty() {
        return "all".to_owned();
    }
    let more = allow.len().checked_sub(ALLOWED_MAX).filter(|&more| more > 0).map(|more| format!("{more} more"));
    let told = allow.iter().take(ALLOWED_MAX).map(ToString::to_string);
    told.chain(more).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use netd::api::records::Health;
    use netd::model::state::Protocol;
    use std::net::Ipv6Addr;

    #[test]
    fn a_long_list_is_cut() {
        let allow = |texts: &[&str]| allowed(&texts.iter().map(|text| text.parse().expect("a prefix")).collect());
        assert_eq!(allow(&[]), "all");
        assert_eq!(allow(&["10.0.0.0/8", "2001:db8::1"]), "10.0.0.0/8, 2001:db8::1/128");
        assert_eq!(
            allow(&["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8", "13.0.0.0/8"]),
            "10.0.0.0/8, 11.0.0.0/8, 12.0.0.0/8, 1 more"
        );
    }

    #[test]
    fn only_ports_that_netd_chose_are_told() {
        let record = |host_port, container_port| PublishRecord {
            container: "web".to_owned(),
            host_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            host_ip6: None,
            host_port,
            container_port,
            protocol: Protocol::Tcp,
            allow: Prefixes::default(),
            status: Health::Ready,
        };
        let asked = ["8080:80", ":443"].map(|text| text.parse().expect("a port map"));
        assert_eq!(picked(&asked, &[record(8080, 80), record(49152, 443)]), ["0.0.0.0:49152"]);
        let everywhere = PublishRecord { host_ip6: Some(Ipv6Addr::UNSPECIFIED.into()), ..record(8080, 80) };
        assert_eq!(host_sides(&everywhere), "0.0.0.0:8080, [::]:8080");
    }
}
