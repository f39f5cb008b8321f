//! What is a test's own little internet, and how does it go away?
//!
//! ```text
//! [ containers ]==veth==[ host: netd, up0 198.18.0.1/24      ]--veth--[ outside: out0 198.18.0.2/24      ]
//!                       [            up0 2001:db8:18::1/64 ]        [           out0 2001:db8:18::2/64 ]
//! ```
//!
//! Host and outside are namespaces of their own, so that every world has the same addresses and worlds run side by side.
//! The host is as hard on netd as hosts get: `ip_forward=0` and strict `rp_filter`; a test that wants it softer or
//! harder changes that itself. Dropping the world ends what was started in it, runs `netd cleanup` and then looks whether
//! anything of netd is left in the kernel; what is left fails the test, and so does a checksum that a receiver found wrong.

mod beyond;
mod daemon;
mod leftovers;
mod netctl;
mod place;
mod process;
mod sums;
mod tcx;
mod upstream;

pub use beyond::{Beyond, FAR, FAR6, ROUTER, ROUTER6};
pub use netctl::{Counters, is_counted};
pub use place::Place;
pub use process::{Finished, Process};
pub use tcx::{Direction, ForeignProgram, Position, programs};
pub use upstream::{BIG, ELSEWHERE, Upstream};

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The host's address on its uplink.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// A second address that tests may give the host.
pub const HOST_SECOND: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 11);
/// The outside's address on that link: the host's default route.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// A second address of the outside, for a second client.
pub const OUTSIDE_SECOND: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
/// The host's IPv6 address on its uplink.
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 1);
/// The outside's IPv6 address on that link: the host's default route.
pub const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 2);
/// A second IPv6 address of the outside, for a second client that chooses it: by itself the outside takes the first.
pub const OUTSIDE6_SECOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 3);
/// The host's interface towards the outside.
pub const UPLINK: &str = "up0";
/// The outside's interface towards the host.
pub const OUTLINK: &str = "out0";

/// Numbers the worlds of this process.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// One test's host, outside, containers and netd.
#[derive(Debug)]
pub struct World {
    /// Where netd runs, and the programs of the host.
    pub host: Place,
    pub outside: Place,
    /// Name of the netd instance; no other world has it.
    pub instance: String,
    folder: PathBuf,
    cgroup: PathBuf,
    daemon: Mutex<Option<Process>>,
    /// Whose counters of wrong checksums are looked at in the end, beside the containers'.
    receivers: Mutex<Vec<Place>>,
    /// `--flows-max` of netd.
    pub flows_max: u32,
    /// `--log-level` of netd.
    pub log_level: &'static str,
}

/// A container, and where its programs run.
#[derive(Clone, Debug)]
pub struct Container {
    pub name: String,
    pub place: Place,
    /// On a network without IPv4: 0.0.0.0.
    pub ip: Ipv4Addr,
    pub gateway: Ipv4Addr,
    /// On a network without IPv6: ::.
    pub ip6: Ipv6Addr,
    pub gateway6: Ipv6Addr,
    pub mac: [u8; 6],
    /// Name of its interface on the host.
    pub host_interface: String,
    /// As `netctl container inspect` shows it.
    pub json: Value,
}

impl World {
    /// A world whose netd is ready.
    #[must_use]
    pub fn new() -> Self {
        let world = Self::without_netd();
        world.start();
        world
    }

    /// A world in which netd has not been started yet.
    #[must_use]
    pub fn without_netd() -> Self {
        leftovers::sweep();
        let instance = format!("netd-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&instance);
        for part in ["state", "run", "netns", "bpf"] {
            fs::create_dir_all(folder.join(part)).expect("a folder for the world");
        }
        let cgroup = cgroup2_mount().join(&instance);
        fs::create_dir(&cgroup).expect("a cgroup for the world");
        let host = Place::new("host", Some(&cgroup));
        let outside = Place::new("outside", None);
        // A router asks for no neighbour before its link-local address has been looked at for a second or two.
        outside.sysctl("net/ipv6/conf/default/accept_dad", "0");
        host.sh(&format!(
            "ip link add {UPLINK} type veth peer name {OUTLINK} netns {}
             ip addr add {HOST}/24 dev {UPLINK}; ip addr add {HOST6}/64 dev {UPLINK} nodad
             ip link set {UPLINK} up",
            outside.path()
        ));
        outside.sh(&format!(
            "ip addr add {OUTSIDE}/24 dev {OUTLINK}; ip addr add {OUTSIDE_SECOND}/24 dev {OUTLINK}
             ip addr add {OUTSIDE6}/64 dev {OUTLINK} nodad; ip addr add {OUTSIDE6_SECOND}/64 dev {OUTLINK} nodad preferred_lft 0
             ip link set {OUTLINK} up"
        ));
        host.sh(&format!("ip route add default via {OUTSIDE}; ip -6 route add default via {OUTSIDE6} dev {UPLINK}"));
        host.sysctl("net/ipv4/ip_forward", "0");
        for conf in ["all", "default", UPLINK] {
            host.sysctl(&format!("net/ipv4/conf/{conf}/rp_filter"), "1");
        }
        // The machine's own servers are nobody's here.
        fs::write(folder.join("resolv.conf"), format!("nameserver {OUTSIDE}\n")).expect("a file for the world");
        let receivers = Mutex::new(vec![host.clone(), outside.clone()]);
        Self {
            host,
            outside,
            instance,
            folder,
            cgroup,
            daemon: Mutex::new(None),
            receivers,
            flows_max: 16_384,
            log_level: "netd=debug,info",
        }
    }

    /// Creates a container with these further words of `netctl container create`.
    #[track_caller]
    pub fn container<S: AsRef<OsStr>>(&self, name: &str, options: impl IntoIterator<Item = S>) -> Container {
        let mut words = ["container", "create", name].map(std::ffi::OsString::from).to_vec();
        words.extend(options.into_iter().map(|word| word.as_ref().to_owned()));
        self.netctl_ok(&words);
        self.inspect(name)
    }

    /// Creates a container on network `bridge`.
    #[track_caller]
    pub fn plain(&self, name: &str) -> Container {
        self.container::<&str>(name, [])
    }

    /// Makes the network `name` with this subnet.
    #[track_caller]
    pub fn network(&self, name: &str, subnet: &str) {
        self.netctl_ok(["network", "create", name, "--subnet", subnet]);
    }

    /// Makes a network with these further words of `netctl network create`, and the containers `web` and `client` on it.
    #[track_caller]
    pub fn pair_on(&self, network: &str, options: &[&str]) -> [Container; 2] {
        self.pair_on_as(network, options, ["web", "client"])
    }

    /// The same, with these names.
    #[track_caller]
    pub fn pair_on_as(&self, network: &str, options: &[&str], names: [&str; 2]) -> [Container; 2] {
        let words = ["network", "create", network].into_iter().chain(options.iter().copied());
        self.netctl_ok(words);
        names.map(|name| self.container(name, ["--network", network]))
    }

    /// A container that is there already.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Container {
        let json = self.netctl_json(["container", "inspect", name])[0].clone();
        let endpoint = &json["endpoints"][0];
        let text = |field: &str| {
            endpoint[field].as_str().unwrap_or_else(|| panic!("no endpoint's {field} in {json}")).to_owned()
        };
        let address = |field: &str| {
            let text = endpoint[field].as_str()?;
            Some(text.split('/').next().and_then(|ip| ip.parse().ok()).unwrap_or_else(|| panic!("{field}: {text}")))
        };
        let v4 = |field: &str| match address(field) {
            Some(IpAddr::V4(v4)) => v4,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let v6 = |field: &str| match address(field) {
            Some(IpAddr::V6(v6)) => v6,
            _ => Ipv6Addr::UNSPECIFIED,
        };
        Container {
            name: name.to_owned(),
            place: Place::open(name, Path::new(json["netns"].as_str().expect("a path")), Some(&self.cgroup)),
            ip: v4("ipv4"),
            gateway: v4("gateway"),
            ip6: v6("ipv6"),
            gateway6: v6("gateway6"),
            mac: crate::frame::parse_mac(&text("mac")),
            host_interface: text("host_interface"),
            json,
        }
    }

    /// Where netd keeps the namespace of a container.
    #[must_use]
    pub fn netns(&self, name: &str) -> PathBuf {
        self.netns_folder().join(name)
    }

    #[must_use]
    pub fn netns_folder(&self) -> PathBuf {
        self.folder.join("netns")
    }

    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    /// The folder of netd's pinned maps and links.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        let version = format!("v{}", netd_common::layout::ABI_VERSION);
        self.bpffs().join("netd").join(&self.instance).join(version)
    }

    /// The host's `resolv.conf`.
    #[must_use]
    pub fn resolv_conf(&self) -> PathBuf {
        self.folder.join("resolv.conf")
    }

    /// The processes that keep the sockets of name servers, by id.
    #[must_use]
    pub fn keepers(&self) -> Vec<i32> {
        let pids = fs::read_to_string(self.cgroup.join("cgroup.procs")).unwrap_or_default();
        let is_keeper = |pid: &&str| {
            let words = fs::read(Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).nth(1) == Some(b"keep-names")
        };
        pids.lines().filter(is_keeper).filter_map(|pid| pid.parse().ok()).collect()
    }

    /// A folder for what a test writes; it goes with the world.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.folder
    }

    /// A probe server inside `place`, listening at each `tcp/ADDR:PORT` or `udp/ADDR:PORT`.
    #[track_caller]
    pub fn serve(&self, place: &Place, name: &str, addresses: &[&str]) -> Process {
        let probe = binary("netd-probe");
        let mut words = vec![probe.as_os_str(), OsStr::new("serve"), OsStr::new(name)];
        words.extend(addresses.iter().map(OsStr::new));
        let mut server = place.start(words);
        let line = server.line();
        if line == "ready" {
            return server;
        }
        panic!("server {name} at {addresses:?} did not start: {line}{}", server.finish());
    }

    /// An exchange with a server by a program of the host.
    ///
    /// # Errors
    /// What the program's socket said.
    #[track_caller]
    pub fn dial_from_host(
        &self,
        mode: crate::probe::Mode,
        address: SocketAddr,
    ) -> std::io::Result<crate::probe::Reply> {
        let probe = binary("netd-probe");
        let finished =
            self.host.exec([probe.as_os_str(), "dial".as_ref(), mode.name().as_ref(), address.to_string().as_ref()]);
        assert!(finished.is_ok(), "the probe failed: {finished}");
        crate::probe::from_json(&finished.stdout)
    }

    /// Starts the probe inside the host with these words.
    pub fn probe_on_host(&self, words: &[&str]) -> Process {
        let probe = binary("netd-probe");
        self.host.start(std::iter::once(probe.as_os_str()).chain(words.iter().map(OsStr::new)))
    }

    /// Runs the probe inside the host with these words to its end.
    pub fn probe_on_host_to_end(&self, words: &[&str]) -> Finished {
        let probe = binary("netd-probe");
        self.host.exec(std::iter::once(probe.as_os_str()).chain(words.iter().map(OsStr::new)))
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Container {
    /// One of its ports, as its peers address it.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        at(self.ip, port)
    }

    /// The same by IPv6.
    #[must_use]
    pub fn at6(&self, port: u16) -> SocketAddr {
        at(self.ip6, port)
    }
}

/// A socket address.
#[must_use]
pub fn at(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

impl Drop for World {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.print_log();
        }
        let wrong = self.wrong_checksums();
        self.stop();
        let cleanup = self.netd(["cleanup"]);
        let left = self.left_behind();
        self.demolish();
        if !failed {
            assert!(cleanup.is_ok(), "netd cleanup failed: {cleanup}");
            assert!(left.is_empty(), "after netd cleanup there is still: {left:#?}");
            assert!(wrong.is_empty(), "checksums were wrong: {wrong:#?}");
        }
    }
}

/// A program of the workspace: `NETD_BIN` for netd itself, else beside this program or test.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let named = std::env::var_os("NETD_BIN").map(PathBuf::from);
    let beside = match (name, named) {
        ("netd", Some(path)) => path,
        ("netctl", Some(path)) => path.with_file_name("netctl"),
        (_, _) => {
            let own = std::env::current_exe().expect("the program's own path");
            let folder = own.parent().expect("target/PROFILE/deps of a test, target/PROFILE of another program");
            let is_test = folder.ends_with("deps");
            folder.parent().filter(|_| is_test).unwrap_or(folder).join(name)
        }
    };
    assert!(beside.exists(), "{} is not built: `cargo build -p netd -p netd-tests` first", beside.display());
    beside
}

/// The cgroup2 mount: on hybrid hosts it is not `/sys/fs/cgroup`.
#[must_use]
pub fn cgroup2_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    // proc_pid_mountinfo(5): the mount point is field 5, the file system's type comes after " - ".
    let point = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        back.starts_with("cgroup2 ").then(|| front.split(' ').nth(4)).flatten()
    });
    PathBuf::from(point.expect("a cgroup2 mount"))
}
