//! `netctl network …`: what is asked about networks, and how is it shown?

use super::Failure;
use super::output::{self, Column, Out};
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use ipnetwork::IpNetwork;
use netd::api::client::{Client, escaped};
use netd::api::containers::{Names, Narrowing};
use netd::api::networks::ConnectRequest;
use netd::api::records::{ContainerRecord, NetworkRecord, RemovedRecord};
use netd::model::command::NetworkSpec;
use netd::model::filter::Filter;
use netd::model::state::{Driver, Mac};
use std::net::IpAddr;
use std::str::FromStr;

#[derive(Subcommand)]
pub enum Verb {
    /// Make a network
    Create(Box<Create>),
    /// Remove networks that no container is on
    Rm {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// List networks
    Ls {
        /// Only those: name=TEXT (a part of the name), driver=DRIVER, label=K or label=K=V; all of them must hold
        #[arg(long = "filter", value_name = "FILTER")]
        filters: Vec<Shown>,
    },
    /// Everything about networks, as JSON
    Inspect {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove all networks that no container is on
    Prune {
        /// Only those: label=K, label=K=V, label!=K, until=24h or until=TIME (made before that); all of them must hold
        #[arg(long = "filter", value_name = "FILTER")]
        filters: Vec<Filter>,
    },
    /// Plug a container into a network, while it runs
    Connect(Box<Connect>),
    /// Take a container off a network, while it runs
    Disconnect {
        #[arg(value_name = "NET")]
        network: String,
        container: String,
    },
}

/// Drivers that a network can be made with.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DriverName {
    Bridge,
    Macvlan,
    Ipvlan,
}

#[expect(clippy::struct_excessive_bools, reason = "flags, each independent of the others")]
#[derive(Args)]
pub struct Create {
    name: String,
    #[arg(long, value_name = "DRIVER", default_value = "bridge")]
    driver: DriverName,
    /// The interface of the host on whose wire its containers are, of macvlan and ipvlan: eth0, or eth0.20 for VLAN 20 of it,
    /// which netd makes where it is not there
    #[arg(long, value_name = "IF")]
    parent: Option<String>,
    /// Its addresses, such as 10.20.0.0/24 or fd20::/64, one of each family [default: a free /24 of 10.208.0.0/12]
    #[arg(long = "subnet", value_name = "CIDR")]
    subnets: Vec<IpNetwork>,
    /// IPv6 too [default subnet: a free /64 of this installation's own fd00::/8 range]
    #[arg(long)]
    ipv6: bool,
    /// The host's address on it, of macvlan and ipvlan that of the router there; one of each family [default: the first of the
    /// subnet]
    #[arg(long = "gateway", value_name = "IP")]
    gateways: Vec<IpAddr>,
    /// Where addresses are handed out from, one of each family [default: the whole subnet]
    #[arg(long = "ip-range", value_name = "CIDR")]
    ip_ranges: Vec<IpNetwork>,
    /// An address that somebody else has; repeatable
    #[arg(long = "aux-address", value_name = "NAME=IP", value_parser = pair::<IpAddr>)]
    aux_addresses: Vec<(String, IpAddr)>,
    /// No way to the outside
    #[arg(long)]
    internal: bool,
    /// Its containers do not reach each other
    #[arg(long)]
    no_icc: bool,
    /// Packets to the outside keep their container's address
    #[arg(long)]
    no_masquerade: bool,
    /// Bytes [default: that of the uplink, or of the parent]
    #[arg(long)]
    mtu: Option<u32>,
    /// A note to keep with it; repeatable
    #[arg(long = "label", value_name = "K=V", value_parser = pair::<String>)]
    labels: Vec<(String, String)>,
    /// An option: timeout-tcp-established=2h and the like, snat-pool=ADDR,ADDR-ADDR, macvlan_mode=bridge|vepa|private|passthru,
    /// ipvlan_mode=l2|l3, parent=IF, or one to keep with it; repeatable
    #[arg(long = "opt", value_name = "K=V", value_parser = pair::<String>)]
    options: Vec<(String, String)>,
}

#[derive(Args)]
pub struct Connect {
    #[arg(value_name = "NET")]
    network: String,
    container: String,
    /// IPv4 address on the network [default: the next free one]
    #[arg(long)]
    ip: Option<IpAddr>,
    /// IPv6 address on the network [default: the next free one, if the network has IPv6]
    #[arg(long)]
    ip6: Option<IpAddr>,
    /// MAC address [default: made of the address]
    #[arg(long)]
    mac: Option<Mac>,
    /// Another name on the network; repeatable
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<String>,
    /// Of the networks that lead outside, the one with the highest has the default route; of several, the one that was
    /// joined first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    gw_priority: i32,
}

/// What `network ls` is narrowed by.
#[derive(Clone, Debug)]
pub enum Shown {
    Name(String),
    Driver(String),
    Label(Filter),
}

impl FromStr for Shown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("name", part)) => Ok(Self::Name(part.to_owned())),
            Some(("driver", driver)) => Ok(Self::Driver(driver.to_owned())),
            Some(("label" | "label!", _)) => text.parse().map(Self::Label),
            Some(_) | None => Err(format!("\"{text}\" is not a filter; write name=TEXT, driver=DRIVER or label=K[=V]")),
        }
    }
}

impl Shown {
    fn holds(&self, record: &NetworkRecord) -> bool {
        match self {
            Self::Name(part) => record.name.contains(part),
            Self::Driver(driver) => driver_name(record.driver) == driver,
            // No label is about time.
            Self::Label(label) => label.holds(&record.labels, record.created, record.created),
        }
    }
}

impl Create {
    pub fn spec(self) -> NetworkSpec {
        let driver = match self.driver {
            DriverName::Bridge => Driver::Bridge,
            DriverName::Macvlan => Driver::Macvlan,
            DriverName::Ipvlan => Driver::Ipvlan,
        };
        NetworkSpec {
            name: self.name,
            driver,
            parent: self.parent,
            subnets: self.subnets,
            ipv6: self.ipv6,
            gateways: self.gateways,
            ip_ranges: self.ip_ranges,
            aux_addresses: self.aux_addresses.into_iter().collect(),
            internal: self.internal,
            no_icc: self.no_icc,
            no_masquerade: self.no_masquerade,
            mtu: self.mtu,
            labels: self.labels.into_iter().collect(),
            options: self.options.into_iter().collect(),
        }
    }
}

/// `K=V`.
pub fn pair<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(String, T), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("\"{text}\" has no \"=\""))?;
    if key.is_empty() {
        return Err(format!("\"{text}\" has nothing before \"=\""));
    }
    Ok((key.to_owned(), value.parse().map_err(|error| format!("\"{value}\": {error}"))?))
}

pub async fn run(verb: Verb, client: &Client, out: Out) -> Result<(), Failure> {
    match verb {
        Verb::Create(create) => {
            let record: NetworkRecord = client.change(Method::POST, "/v1/networks", &create.spec()).await?;
            out.changed(&record, [record.name.clone()])?;
        }
        Verb::Rm { names } => {
            let record: RemovedRecord = client.change(Method::POST, "/v1/networks:remove", &Names { names }).await?;
            out.changed(&record, record.removed.clone())?;
        }
        Verb::Ls { filters } => {
            let mut records: Vec<NetworkRecord> = client.read("/v1/networks").await?;
            records.retain(|record| filters.iter().all(|filter| filter.holds(record)));
            let columns = [
                Column::Text("NAME"),
                Column::Text("DRIVER"),
                Column::Text("SUBNET"),
                Column::Text("GATEWAY"),
                Column::Number("CONTAINERS"),
                Column::Text("OPTIONS"),
            ];
            out.list(&records, |record| record.name.clone(), columns, row)?;
        }
        Verb::Inspect { names } => {
            let mut records: Vec<NetworkRecord> = Vec::with_capacity(names.len());
            for name in names {
                records.push(client.read(&format!("/v1/networks/{}", escaped(&name))).await?);
            }
            output::json(&records)?;
        }
        Verb::Prune { filters } => {
            let record: RemovedRecord =
                client.change(Method::POST, "/v1/networks:prune", &Narrowing { filters }).await?;
            out.changed(&record, record.removed.clone())?;
        }
        Verb::Connect(connect) => {
            let Connect { network, container, ip, ip6, mac, aliases, gw_priority } = *connect;
            let request = ConnectRequest { container, ip, ip6, mac, aliases, gw_priority };
            let path = format!("/v1/networks/{}/containers", escaped(&network));
            let record: ContainerRecord = client.change(Method::POST, &path, &request).await?;
            out.changed(&record, [])?;
        }
        Verb::Disconnect { network, container } => {
            let path = format!("/v1/networks/{}/containers/{}", escaped(&network), escaped(&container));
            let record: ContainerRecord = client.change(Method::DELETE, &path, &()).await?;
            out.changed(&record, [])?;
        }
    }
    Ok(())
}

pub const fn driver_name(driver: Driver) -> &'static str {
    match driver {
        Driver::Bridge => "bridge",
        Driver::Macvlan => "macvlan",
        Driver::Ipvlan => "ipvlan",
        Driver::Host => "host",
        Driver::None => "none",
    }
}

fn row(record: &NetworkRecord) -> [String; 6] {
    let or_dash = |texts: Vec<String>| output::or_dash(Some(texts.join(", ")).filter(|text| !text.is_empty()));
    let is_bridge = record.driver == Driver::Bridge;
    let unusual = [
        ("internal", record.internal),
        ("no-icc", is_bridge && !record.icc),
        ("no-masquerade", is_bridge && !record.masquerade),
    ];
    [
        record.name.clone(),
        driver_name(record.driver).to_owned(),
        or_dash(record.subnets.iter().map(|subnet| subnet.subnet.to_string()).collect()),
        or_dash(record.subnets.iter().map(|subnet| subnet.gateway.to_string()).collect()),
        record.containers.len().to_string(),
        or_dash(unusual.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect()),
    ]
}
