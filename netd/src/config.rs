//! What can be set about a daemon, and where does each setting come from?
//!
//! A flag wins over an environment variable (`NETD_…`), which wins over the file, which wins over the default. The file
//! is TOML; a key that is not known is refused. `packaging/netd.toml` shows all of them.

use crate::model::ipam;
use clap::{Args, ValueEnum};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The file that is read when none is named; it need not exist.
pub const FILE_DEFAULT: &str = "/etc/netd/netd.toml";
/// Bounds of `flows_max`.
pub const FLOWS_RANGE: std::ops::RangeInclusive<u32> = 1_024..=16_777_216;

/// Entries that the flow table has by default, at least and at most.
pub const FLOWS_BY_MEMORY: std::ops::RangeInclusive<u32> = 131_072..=4_194_304;
/// Bytes of kernel memory that one entry takes, all of them when the table is made: `memlock` in the map's fdinfo,
/// by its entries.
pub const FLOW_SIZE: u64 = 208;
/// The part of the machine's memory that the flow table takes at most by default.
const FLOWS_SHARE: u64 = 100;

/// Entries of the flow table when none are set: what a hundredth of `memory` bytes holds, within [`FLOWS_BY_MEMORY`]. A
/// power of two, so that a little more or less memory at the next start makes no other table.
#[must_use]
pub fn flows_by_memory(memory: u64) -> u32 {
    let entries = u32::try_from(memory / FLOWS_SHARE / FLOW_SIZE).unwrap_or(u32::MAX);
    let power = entries.checked_ilog2().map_or(0, |log| 1 << log);
    power.clamp(*FLOWS_BY_MEMORY.start(), *FLOWS_BY_MEMORY.end())
}

/// All settings of one instance, each with a value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the instance: part of the path of its pins. Several instances run on one machine, each in a network
    /// namespace of its own.
    pub instance: Instance,
    /// Where the store lives. Survives a reboot.
    pub state_dir: PathBuf,
    /// Where the socket, the lock and the containers' files live. Need not survive a reboot.
    pub run_dir: PathBuf,
    /// The bpffs mount; mounted when it is not.
    pub bpffs: PathBuf,
    /// The cgroup2 folder whose programs reach published ports from this host. None: the root of the cgroup2 mount.
    pub cgroup: Option<PathBuf>,
    /// Interfaces to the outside. Empty: those of the default routes, followed live.
    pub uplinks: Vec<String>,
    /// Where namespaces are made: `ip netns` looks in `/run/netns`.
    pub netns_dir: PathBuf,
    /// Where the subnets of networks that name none come from, in this order.
    pub subnet_pools: Vec<IpNetwork>,
    /// Entries of the flow table, two a flow. Past it the least recently used flow makes room. None: by this machine's
    /// memory, see [`flows_by_memory`].
    pub flows_max: Option<u32>,
    /// The group, by name or number, that may use the socket beside root. None: root alone.
    pub socket_group: Option<String>,
    pub log_format: LogFormat,
    /// The host's resolver configuration: what containers ask for others' names goes to its servers.
    pub resolv_conf: PathBuf,
    /// What is logged: a level, or directives as `netd=debug,info`.
    pub log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instance: Instance("default".to_owned()),
            state_dir: "/var/lib/netd".into(),
            run_dir: "/run/netd".into(),
            bpffs: "/sys/fs/bpf".into(),
            cgroup: None,
            uplinks: Vec::new(),
            netns_dir: "/run/netns".into(),
            subnet_pools: vec![ipam::pool()],
            flows_max: None,
            socket_group: None,
            log_format: LogFormat::Text,
            resolv_conf: "/etc/resolv.conf".into(),
            log_level: "info".to_owned(),
        }
    }
}

impl Config {
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("netd.sock")
    }

    /// Where the keeper of the name servers' sockets answers.
    #[must_use]
    pub fn keeper(&self) -> PathBuf {
        self.run_dir.join("names.sock")
    }

    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run_dir.join("netd.lock")
    }

    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.state_dir.join("netd.redb")
    }

    /// Where it is noted how namespaces were that somebody else made.
    #[must_use]
    pub fn lent_notes(&self) -> PathBuf {
        self.run_dir.join("lent")
    }

    /// Where it is noted which namespaces netd made.
    #[must_use]
    pub fn netns_notes(&self) -> PathBuf {
        self.run_dir.join("netns")
    }

    /// Where it is noted where the links are that leave no trace on the host.
    #[must_use]
    pub fn link_notes(&self) -> PathBuf {
        self.run_dir.join("links")
    }

    /// Where the files are that containers see in place of the host's.
    #[must_use]
    pub fn container_files(&self) -> PathBuf {
        self.run_dir.join("containers")
    }
}

/// Name of an instance: lower-case letters, digits, `-` and `_`, at most 32, since it is the name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Instance(String);

impl Instance {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Instance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if text.is_empty() || text.len() > 32 || !text.bytes().all(allowed) {
            return Err(format!(
                "\"{text}\" cannot name an instance; write 1 to 32 lower-case letters, digits, \"-\" or \"_\""
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Instance {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The same settings as flags and environment variables; what is absent comes from the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Settings file; by default /etc/netd/netd.toml, if it exists
    #[arg(long, env = "NETD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this instance [default: default]
    #[arg(long, env = "NETD_INSTANCE", value_name = "NAME")]
    pub instance: Option<Instance>,
    /// Folder of the store [default: /var/lib/netd]
    #[arg(long, env = "NETD_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Folder of the socket netd.sock [default: /run/netd]
    #[arg(long, env = "NETD_RUN_DIR", value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// bpffs mount, mounted when it is not [default: /sys/fs/bpf]
    #[arg(long, env = "NETD_BPFFS", value_name = "DIR")]
    pub bpffs: Option<PathBuf>,
    /// cgroup2 folder to attach to [default: the root of the cgroup2 mount]
    #[arg(long, env = "NETD_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Interface to the outside; repeatable [default: those of the default routes]
    #[arg(long = "uplink", env = "NETD_UPLINK", value_name = "IF", value_delimiter = ',')]
    pub uplinks: Option<Vec<String>>,
    /// Folder of namespaces [default: /run/netns]
    #[arg(long, env = "NETD_NETNS_DIR", value_name = "DIR")]
    pub netns_dir: Option<PathBuf>,
    /// Where automatic subnets come from; repeatable [default: 10.208.0.0/12]
    #[arg(long = "subnet-pool", env = "NETD_SUBNET_POOLS", value_name = "CIDR", value_delimiter = ',')]
    pub subnet_pools: Option<Vec<IpNetwork>>,
    /// Entries of the flow table, two a flow [default: a hundredth of the memory, from 131072 to 4194304]
    #[arg(long, env = "NETD_FLOWS_MAX", value_name = "N")]
    pub flows_max: Option<u32>,
    /// Group that may use the socket beside root [default: none]
    #[arg(long, env = "NETD_SOCKET_GROUP", value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// How log lines look [default: text]
    #[arg(long, env = "NETD_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// resolv.conf of this host, whose servers are asked for names of others [default: /etc/resolv.conf]
    #[arg(long, env = "NETD_RESOLV_CONF", value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or directives [default: info]
    #[arg(long, env = "NETD_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Why the settings are not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the settings file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the settings file {}: {}", path.display(), message.trim_end())]
    Malformed { path: PathBuf, message: String },
    #[error("flows_max is {given}; it must be from {} to {}", FLOWS_RANGE.start(), FLOWS_RANGE.end())]
    FlowsMax { given: u32 },
    #[error("subnet_pools {what}; write networks from /8 to /24, such as 10.208.0.0/12")]
    SubnetPools { what: String },
    #[error("the {name} is \"{}\"; write an absolute path", path.display())]
    RelativePath { name: &'static str, path: PathBuf },
}

impl Options {
    /// Reads the file, and puts these options over it.
    ///
    /// # Errors
    /// When a named file cannot be read, or any file says something that is not understood.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => match read(Path::new(FILE_DEFAULT)) {
                Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    Config::default()
                }
                other => other?,
            },
        };
        self.over(file)
    }

    fn over(self, file: Config) -> Result<Config, ConfigError> {
        let config = Config {
            instance: self.instance.unwrap_or(file.instance),
            state_dir: self.state_dir.unwrap_or(file.state_dir),
            run_dir: self.run_dir.unwrap_or(file.run_dir),
            bpffs: self.bpffs.unwrap_or(file.bpffs),
            cgroup: self.cgroup.or(file.cgroup),
            uplinks: self.uplinks.unwrap_or(file.uplinks),
            netns_dir: self.netns_dir.unwrap_or(file.netns_dir),
            subnet_pools: self.subnet_pools.unwrap_or(file.subnet_pools),
            flows_max: self.flows_max.or(file.flows_max),
            socket_group: self.socket_group.or(file.socket_group),
            log_format: self.log_format.unwrap_or(file.log_format),
            resolv_conf: self.resolv_conf.unwrap_or(file.resolv_conf),
            log_level: self.log_level.unwrap_or(file.log_level),
        };
        if let Some(given) = config.flows_max.filter(|given| !FLOWS_RANGE.contains(given)) {
            return Err(ConfigError::FlowsMax { given });
        }
        if let Some(what) = ipam::wrong_in_pools(&config.subnet_pools) {
            return Err(ConfigError::SubnetPools { what });
        }
        let folders = [
            ("state folder", &config.state_dir),
            ("run folder", &config.run_dir),
            ("bpffs folder", &config.bpffs),
            ("netns folder", &config.netns_dir),
            ("resolv_conf file", &config.resolv_conf),
        ];
        for (name, path) in folders {
            if !path.is_absolute() {
                return Err(ConfigError::RelativePath { name, path: path.clone() });
            }
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Malformed { path: path.to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::io::Write as _;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn resolve(text: &str, flags: &[&str]) -> Result<Config, ConfigError> {
        let file = file(text);
        let path = file.path().to_str().expect("a path in UTF-8");
        let line = ["netd", "--config", path].into_iter().chain(flags.iter().copied());
        Line::try_parse_from(line).expect("flags that parse").options.resolve()
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(resolve("", &[]).expect("defaults"), Config::default());
    }

    #[test]
    fn the_packaged_file_says_what_the_defaults_are() {
        let packaged = include_str!("../../packaging/netd.toml");
        let uncommented: String = packaged
            .lines()
            .map(|line| line.strip_prefix("#").filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let set = toml::from_str::<toml::Table>(&uncommented).expect("TOML");
        let keys: Vec<&str> = set.keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 13, "every setting is shown: {keys:?}");
        let shown: Config = toml::from_str(&uncommented).expect("settings that are known");
        let default = Config::default();
        assert_eq!(shown.instance, default.instance);
        assert_eq!(shown.state_dir, default.state_dir);
        assert_eq!(shown.run_dir, default.run_dir);
        assert_eq!(shown.bpffs, default.bpffs);
        assert_eq!(shown.uplinks, default.uplinks);
        assert_eq!(shown.netns_dir, default.netns_dir);
        assert_eq!(shown.subnet_pools, default.subnet_pools);
        assert_eq!(default.flows_max, None);
        assert!(shown.flows_max.is_some_and(|shown| FLOWS_BY_MEMORY.contains(&shown)), "an example");
        assert_eq!(shown.log_format, default.log_format);
        assert_eq!(shown.resolv_conf, default.resolv_conf);
        assert_eq!(shown.log_level, default.log_level);
    }

    #[test]
    fn the_flow_table_is_as_large_as_the_memory_allows() {
        const GIB: u64 = 1 << 30;
        let cases = [
            (0, 131_072),
            (GIB, 131_072),
            (4 * GIB, 131_072),
            (8 * GIB, 262_144),
            (23 * GIB, 1_048_576),
            (64 * GIB, 2_097_152),
            (100 * GIB, 4_194_304),
            (1024 * GIB, 4_194_304),
            (u64::MAX, 4_194_304),
        ];
        for (memory, entries) in cases {
            assert_eq!(flows_by_memory(memory), entries, "{memory} bytes");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let config = resolve(
            "instance = \"lab\"\nuplinks = [\"eth1\"]\nlog_format = \"json\"\n",
            &["--instance", "other", "--uplink", "a", "--uplink", "b,c", "--subnet-pool", "10.8.0.0/16,172.20.0.0/14"],
        )
        .expect("settings");
        assert_eq!(config.instance.as_str(), "other");
        assert_eq!(config.uplinks, ["a", "b", "c"]);
        assert_eq!(config.subnet_pools, ["10.8.0.0/16", "172.20.0.0/14"].map(|text| text.parse().expect("a network")));
        assert_eq!(config.log_format, LogFormat::Json, "the file wins over the default");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let cases = [
            ("uplink = [\"eth0\"]\n", "unknown field `uplink`"),
            ("instance = \"a/b\"\n", "cannot name an instance"),
            ("flows_max = 3\n", "it must be from 1024 to 16777216"),
            ("subnet_pools = []\n", "subnet_pools is empty; write networks from /8 to /24"),
            ("subnet_pools = [\"10.0.0.0/25\"]\n", "subnet_pools has 10.0.0.0/25; write networks from /8 to /24"),
            ("subnet_pools = [\"10.0.0.1/16\"]\n", "subnet_pools has 10.0.0.1/16; write networks"),
            ("subnet_pools = [\"fd00::/16\"]\n", "subnet_pools has fd00::/16; write networks"),
            ("run_dir = \"run\"\n", "write an absolute path"),
            ("log_format = \"xml\"\n", "unknown variant `xml`"),
        ];
        for (text, expected) in cases {
            let error = resolve(text, &[]).expect_err(text).to_string();
            assert!(error.contains(expected), "{text:?} gave: {error}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let options = Options { config: Some("/nonexistent/netd.toml".into()), ..Options::default() };
        assert!(matches!(options.resolve(), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn every_option_has_an_environment_variable() {
        use clap::CommandFactory as _;
        for argument in Line::command().get_arguments() {
            let id = argument.get_id().as_str();
            let expected = match id {
                "uplinks" => "NETD_UPLINK".to_owned(),
                id => format!("NETD_{}", id.to_uppercase()),
            };
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
        }
    }
}
