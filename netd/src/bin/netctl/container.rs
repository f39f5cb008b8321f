//! `netctl container …` and `netctl exec`: what is asked about containers, and how is it shown?

use super::Failure;
use super::output::{self, Column, Out};
use super::publish;
use clap::{Args, Subcommand};
use hyper::Method;
use ipnetwork::IpNetwork;
use netd::api::client::{Client, escaped};
use netd::api::containers::{Names, Narrowing};
use netd::api::records::{
    ContainerPublishRecord, ContainerRecord, EndpointRecord, Health, PublishRecord, RemovedRecord,
};
use netd::kernel::netns;
use netd::model::attach::Attach;
use netd::model::command::ContainerSpec;
use netd::model::exposed::Exposed;
use netd::model::filter::Filter;
use netd::model::naming::{ExtraHost, ResolverOption, SearchDomain};
use netd::model::port_map::PortMap;
use netd::model::state::{Mac, Mode};
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Exit codes of a command that could not be run, as shells have them (POSIX, 2.8.2).
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

#[derive(Subcommand)]
pub enum Verb {
    /// Make a container: a network namespace, on a network
    Create(Box<Create>),
    /// Remove containers
    Rm {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// List containers
    Ls,
    /// Everything about containers, as JSON
    Inspect {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove containers whose namespace is gone: one given by --netns, or that of another container
    Prune {
        /// Only those: label=K, label=K=V, label!=K, until=24h or until=TIME (made before that); all of them must hold
        #[arg(long = "filter", value_name = "FILTER")]
        filters: Vec<Filter>,
    },
}

#[derive(Args)]
pub struct Create {
    name: String,
    /// A network's name; name=NET,ip=IP,ip6=IP,mac=MAC,alias=A,gw-priority=N; `host`, `none` or container:OTHER; repeatable
    /// [default: bridge]
    #[arg(long = "network", value_name = "NET", value_parser = str::parse::<Attach>)]
    networks: Vec<Attach>,
    /// IPv4 address on the first network [default: the next free one]
    #[arg(long)]
    ip: Option<IpAddr>,
    /// IPv6 address on the first network [default: the next free one, if the network has IPv6]
    #[arg(long)]
    ip6: Option<IpAddr>,
    /// MAC address on the first network [default: made of the address]
    #[arg(long)]
    mac: Option<Mac>,
    /// Another name on its networks; repeatable
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<String>,
    /// Its own name for itself [default: NAME]
    #[arg(long)]
    hostname: Option<String>,
    /// A network namespace that is there already [default: netd makes /run/netns/NAME]
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    #[arg(short, long, value_name = "SPEC", help = "[HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|/udp|/sctp]; repeatable")]
    publish: Vec<PortMap>,
    #[arg(long, value_name = "PORT", help = "A port that it answers at: PORT[-END][/tcp|/udp|/sctp]; repeatable")]
    expose: Vec<Exposed>,
    /// Publish what is exposed, at ports that netd picks and prints
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// It forwards packets between its networks
    #[arg(long)]
    router: bool,
    /// Name server for names that are not of its networks [default: those of this host]; repeatable
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,
    /// Domain to search, or `.` for none [default: those of this host]; repeatable
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<SearchDomain>,
    /// Option of its resolver, such as ndots:2 [default: those of this host]; repeatable
    #[arg(long = "dns-option", value_name = "OPTION")]
    dns_options: Vec<ResolverOption>,
    /// A further line of its hosts file; the IP may be `host-gateway`; repeatable
    #[arg(long = "add-host", value_name = "NAME:IP")]
    extra_hosts: Vec<ExtraHost>,
    /// A note to keep with it; repeatable
    #[arg(long = "label", value_name = "K=V", value_parser = super::network::pair::<String>)]
    labels: Vec<(String, String)>,
}

#[derive(Args)]
pub struct Exec {
    name: String,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[cfg(test)]
impl Exec {
    pub fn words(&self) -> &[OsString] {
        &self.command
    }
}

impl Create {
    pub fn spec(self) -> io::Result<ContainerSpec> {
        Ok(ContainerSpec {
            name: self.name,
            networks: self.networks,
            ip: self.ip,
            ip6: self.ip6,
            mac: self.mac,
            aliases: self.aliases,
            hostname: self.hostname,
            // netd has another working directory.
            netns: self.netns.map(std::path::absolute).transpose()?,
            publish: self.publish,
            expose: self.expose,
            publish_all: self.publish_all,
            router: self.router,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_options,
            extra_hosts: self.extra_hosts,
            labels: self.labels.into_iter().collect(),
        })
    }
}

pub async fn run(verb: Verb, client: &Client, out: Out) -> Result<(), Failure> {
    match verb {
        Verb::Create(create) => {
            let spec = create.spec()?;
            let record: ContainerRecord = client.change(Method::POST, "/v1/containers", &spec).await?;
            let published: Vec<PublishRecord> = record.publishes.iter().map(|port| of(&record.name, port)).collect();
            let told = std::iter::once(record.name.clone()).chain(publish::picked(&spec.publish, &published));
            out.changed(&record, told)?;
        }
        Verb::Rm { names } => {
            let record: RemovedRecord = client.change(Method::POST, "/v1/containers:remove", &Names { names }).await?;
            out.changed(&record, record.removed.clone())?;
        }
        Verb::Ls => {
            let records: Vec<ContainerRecord> = client.read("/v1/containers").await?;
            let columns = ["NAME", "NETWORK", "IPV4", "IPV6", "PORTS", "STATUS", "NETNS"].map(Column::Text);
            out.list(&records, |record| record.name.clone(), columns, row)?;
        }
        Verb::Inspect { names } => {
            let mut records: Vec<ContainerRecord> = Vec::with_capacity(names.len());
            for name in names {
                records.push(client.read(&format!("/v1/containers/{}", escaped(&name))).await?);
            }
            output::json(&records)?;
        }
        Verb::Prune { filters } => {
            let record: RemovedRecord =
                client.change(Method::POST, "/v1/containers:prune", &Narrowing { filters }).await?;
            out.changed(&record, record.removed.clone())?;
        }
    }
    Ok(())
}

fn of(container: &str, port: &ContainerPublishRecord) -> PublishRecord {
    let ContainerPublishRecord { host_ip, host_ip6, host_port, container_port, protocol, allow, status } = port.clone();
    let container = container.to_owned();
    PublishRecord { container, host_ip, host_ip6, host_port, container_port, protocol, allow, status }
}

fn row(record: &ContainerRecord) -> [String; 7] {
    let joined = |texts: Vec<String>| or_dash(&texts.join(", "));
    let network = match record.mode {
        Mode::Host => "host".to_owned(),
        Mode::None => "none".to_owned(),
        Mode::Container => format!("container:{}", record.shares.as_deref().unwrap_or_default()),
        Mode::Bridge => joined(record.endpoints.iter().map(|endpoint| endpoint.network.clone()).collect()),
    };
    let addresses = |of: fn(&EndpointRecord) -> Option<IpNetwork>| {
        joined(record.endpoints.iter().filter_map(of).map(|address| address.to_string()).collect())
    };
    [
        record.name.clone(),
        network,
        addresses(|endpoint| endpoint.ipv4),
        addresses(|endpoint| endpoint.ipv6),
        or_dash(&output::ports(&record.publishes)),
        health(record).name().to_owned(),
        record.netns.display().to_string(),
    ]
}

fn or_dash(text: &str) -> String {
    output::or_dash(Some(text).filter(|text| !text.is_empty()))
}

/// A container is as well as the least well of its parts.
fn health(record: &ContainerRecord) -> Health {
    let publishes = record.publishes.iter().map(|publish| publish.status);
    publishes.fold(record.status, Health::max)
}

/// A command and the place where it runs.
pub struct Prepared {
    netns: PathBuf,
    files: netns::Files,
    command: Vec<OsString>,
}

pub async fn prepare(exec: Exec, client: &Client) -> Result<Prepared, Failure> {
    let record: ContainerRecord = client.read(&format!("/v1/containers/{}", escaped(&exec.name))).await?;
    if record.netns.as_os_str().is_empty() {
        let message = format!("container \"{}\" has no namespace any more; see \"netctl status\"", exec.name);
        return Err(Failure::Exec { code: 1, message });
    }
    if !record.netns.exists() {
        let message = format!(
            "the namespace {} of container \"{}\" is not there; see \"netctl status\"",
            record.netns.display(),
            exec.name
        );
        return Err(Failure::Exec { code: 1, message });
    }
    let binds = [
        (record.resolv_conf_path, "/etc/resolv.conf"),
        (record.hosts_path, "/etc/hosts"),
        (record.hostname_path, "/etc/hostname"),
    ];
    let binds = binds.into_iter().filter_map(|(shown, place)| Some((shown?, PathBuf::from(place)))).collect();
    let hostname = match record.mode {
        Mode::Host => None,
        Mode::Bridge | Mode::None | Mode::Container => Some(record.hostname),
    };
    Ok(Prepared { netns: record.netns, files: netns::Files { binds, hostname }, command: exec.command })
}

impl Prepared {
    /// From here on this process is the command. Returns only if it could not be.
    pub fn become_command(self) -> Failure {
        let error = netns::exec(&self.netns, &self.files, &self.command);
        let command = self.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let code = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            // The container could not be entered: the command was not even tried.
            io::ErrorKind::Other => 1,
            _ => NOT_EXECUTABLE,
        };
        Failure::Exec { code, message: format!("{command}: {error}") }
    }
}
