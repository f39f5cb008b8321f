//! How do the parts of the agent come to life, meet and end?
//!
//! Claim, open, converge once, then answer: who reaches the socket finds a network that stands. Ending stops the agent
//! and nothing else; links, programs and maps stay, and traffic with them.

use crate::api::host::{Host as _, Linux as Machine};
use crate::api::{self, Api};
use crate::config::{Config, flows_by_memory};
use crate::events::{self, Bus};
use crate::files::Files;
use crate::instance::{Claim, ClaimError};
use crate::kernel::facts::NodeFacts;
use crate::kernel::fill;
use crate::kernel::garbage::{self, Pass};
use crate::kernel::linux::Linux;
use crate::kernel::{self, Kernel as _, datapath, linux, memory, mounts, names, process};
use crate::model::command::{Command, Context};
use crate::model::state::State;
use crate::names::Counts;
use crate::names::server::Server as NameServer;
use crate::reconcile::run::{Wiring, run as reconcile};
use crate::reconcile::status::Status;
use crate::store::{Store, WriteError};
use crate::{notify, shortage};
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, create_dir_all};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

const WORKERS: usize = 2;
/// Every answer that streams may hold a thread while its reader is slow; changes must still find one.
const BLOCKING_THREADS_MAX: usize = api::STREAMS_MAX + 16;
/// Wake-ups of the reconciler that wait; one would do, since each stands for "look again".
const CHANGES_MAX: usize = 16;
/// Name servers that were opened and are not served yet; the reconciler waits when there are more.
const NAME_CHANGES_MAX: usize = 1024;
/// How often the host's `resolv.conf` is looked at, for what containers see of it.
const RESOLV_CONF_INTERVAL: Duration = Duration::from_secs(2);
/// How long netd waits for the kernel to be in step before it answers all the same, and says what is not well.
const FIRST_PASS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way, and then the reconciler, are waited for at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("netd needs root: it makes interfaces and loads programs into the kernel; run it with sudo")]
    NotRoot,
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("the folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("there is no group \"{0}\"; make it, or change socket_group")]
    NoGroup(String),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("bpffs at {}: {source}; \"netd check\" says what this machine lacks", path.display())]
    Bpffs { path: PathBuf, source: io::Error },
    #[error("{0}; \"netd check\" says what this machine lacks")]
    Kernel(#[from] kernel::Error),
    #[error(transparent)]
    Store(#[from] WriteError),
    #[error(transparent)]
    Socket(#[from] api::server::BindError),
    #[error("the reconciler stopped; its own words are in the log")]
    ReconcilerStopped,
}

impl DaemonError {
    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When netd cannot begin, or one of its parts ends.
pub fn run(config: &Config) -> Result<(), DaemonError> {
    if !process::is_root() {
        return Err(DaemonError::NotRoot);
    }
    memory::keep_little();
    let group = match &config.socket_group {
        Some(name) => Some(process::group(name).ok_or_else(|| DaemonError::NoGroup(name.clone()))?),
        None => None,
    };
    let folder = |path: &Path| {
        let path = path.to_owned();
        move |source| DaemonError::Folder { path, source }
    };
    create_dir_all(&config.run_dir).map_err(folder(&config.run_dir))?;
    let _claim = Claim::take(config)?;
    // Nobody else reads what was asked of netd.
    let private = DirBuilder::new().recursive(true).mode(0o700).create(&config.state_dir);
    private.map_err(folder(&config.state_dir))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("netd")
        .enable_all()
        .build()
        .map_err(DaemonError::io("the runtime"))?;
    let ended = runtime.block_on(live(config, group));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    ended
}

/// What the kernel adapter needs to know; `netd cleanup` opens the same. `server` answers names.
///
/// # Errors
/// When bpffs cannot be mounted, or no cgroup2 is.
pub fn open_machine(config: &Config, server: mpsc::Sender<names::Change>) -> Result<linux::Options, DaemonError> {
    mounts::mount_bpffs(&config.bpffs).map_err(|source| DaemonError::Bpffs { path: config.bpffs.clone(), source })?;
    let cgroup = match &config.cgroup {
        Some(path) => path.clone(),
        None => mounts::cgroup2_mount().map_err(DaemonError::io("the cgroup2 mount"))?,
    };
    Ok(linux::Options {
        datapath: datapath::Options {
            bpffs: config.bpffs.clone(),
            instance: config.instance.as_str().to_owned(),
            cgroup,
            flows_max: match config.flows_max {
                Some(entries) => entries,
                None => flows_by_memory(process::memory().map_err(DaemonError::io("the machine's memory"))?),
            },
        },
        netns_dir: config.netns_dir.clone(),
        netns_notes: config.netns_notes(),
        link_notes: config.link_notes(),
        lent_notes: config.lent_notes(),
        uplinks: config.uplinks.clone(),
        names: names::Options { keeper: config.keeper(), program: None, server },
    })
}

async fn live(config: &Config, group: Option<u32>) -> Result<(), DaemonError> {
    let mut ending = Ending::listen().map_err(DaemonError::io("signals"))?;
    if let Err(error) = process::raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let (names_sender, names_changes) = mpsc::channel(NAME_CHANGES_MAX);
    let mut options = open_machine(config, names_sender)?;
    options.names.program = Some(std::env::current_exe().map_err(DaemonError::io("this program's path"))?);
    let machine = Machine { pins: options.datapath.pins(), netns_dir: config.netns_dir.clone(), fills: Arc::default() };
    let store = Arc::new(Store::open(&config.store())?);

    let (status_sender, status) = watch::channel(Arc::new(Status::default()));
    let (facts_sender, facts) = watch::channel(Arc::new(NodeFacts::default()));
    let (stop_sender, stop) = watch::channel(false);
    let (change_sender, changed) = mpsc::channel(CHANGES_MAX);
    let wiring = Wiring {
        state: store.subscribe(),
        changed,
        status: status_sender,
        facts: facts_sender,
        stop: stop.clone(),
        netns_dir: config.netns_dir.clone(),
    };
    let counts = Arc::new(Counts::default());
    let resolv_conf = config.resolv_conf.clone();
    let names = NameServer::new(store.subscribe(), config.netns_dir.clone(), resolv_conf, Arc::clone(&counts));
    let names = Arc::new(names.map_err(DaemonError::io("randomness"))?);
    // Before the kernel is opened: what a former agent has left is served from then on.
    tokio::spawn(names.run(names_changes));
    let reconciler = Reconciler::open(options, change_sender, wiring).await?;
    install_builtins(&store, &machine, reconciler.facts.clone(), config.subnet_pools.clone())?;
    let files = Files { folder: config.container_files(), resolv_conf: config.resolv_conf.clone() };
    files
        .sync(&store.subscribe().borrow().clone())
        .map_err(|source| DaemonError::Folder { path: config.container_files(), source })?;
    tokio::spawn(follow_resolv_conf(files.clone(), store.subscribe()));
    let thread = reconciler.start();

    let bus = Arc::new(Bus::default());
    tokio::spawn(events::follow_state(Arc::clone(&bus), store.subscribe()));
    tokio::spawn(events::follow_status(Arc::clone(&bus), status.clone()));
    tokio::select! {
        () = in_step(status.clone(), store.subscribe().borrow().revision) => {}
        () = ending.asked() => return end(&stop_sender, thread).await,
        () = closed(status.clone()) => return Err(DaemonError::ReconcilerStopped),
    }
    tokio::spawn(events::follow_kernel(Arc::clone(&bus), machine.pins.clone(), store.subscribe()));
    tokio::spawn(collect_garbage(machine.clone()));
    let (shortage_sender, shortages) = watch::channel(Arc::default());
    let (pins, fills) = (machine.pins.clone(), Arc::clone(&machine.fills));
    tokio::spawn(shortage::follow(pins, fills, store.subscribe(), shortage_sender));

    let listener = api::server::bind(&config.socket(), group)?;
    let router = api::router(Arc::new(Api {
        instance: config.instance.as_str().to_owned(),
        state: store.subscribe(),
        store,
        status: status.clone(),
        facts,
        shortages,
        events: bus,
        host: machine,
        files,
        names: counts,
        subnet_pools: config.subnet_pools.clone(),
        netns_dir: config.netns_dir.clone(),
        changing: Mutex::new(()),
        streams: Arc::new(Semaphore::new(api::STREAMS_MAX)),
        stop: stop.clone(),
    }));
    let mut server = tokio::spawn(api::server::serve(listener, router, stop));
    tracing::info!(instance = config.instance.as_str(), socket = %config.socket().display(), "ready");
    notify::tell("READY=1");

    let ended = tokio::select! {
        () = ending.asked() => Ok(()),
        () = closed(status) => Err(DaemonError::ReconcilerStopped),
        failed = &mut server => Err(DaemonError::Io {
            what: "the socket",
            source: failed.map_err(io::Error::other).flatten().err().unwrap_or_else(|| io::Error::other("it was closed")),
        }),
    };
    notify::tell("STOPPING=1");
    tracing::info!("stopping; traffic goes on");
    // The reconciler holds a receiver until the end, so this cannot fail while it matters.
    let _ = stop_sender.send(true);
    if !server.is_finished() && timeout(SHUTDOWN_TIMEOUT, server).await.is_err() {
        tracing::warn!("requests under way were broken off");
    }
    // Callers then read "not running" and not "refused".
    let _ = std::fs::remove_file(config.socket());
    end(&stop_sender, thread).await.and(ended)
}

/// The reconciler's thread, which has opened the kernel and waits for the word to begin.
struct Reconciler {
    facts: NodeFacts,
    begin: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Reconciler {
    /// The kernel is opened on the thread that uses it: it belongs to that thread from the first to the last.
    async fn open(options: linux::Options, changed: mpsc::Sender<()>, wiring: Wiring) -> Result<Self, DaemonError> {
        let (opened_sender, opened) = oneshot::channel();
        let (begin, word) = oneshot::channel();
        let thread = thread::Builder::new().name("reconciler".to_owned()).spawn(move || {
            let opened = Linux::open(options, changed).and_then(|mut kernel| Ok((kernel.facts()?, kernel)));
            match opened {
                Ok((facts, kernel)) => {
                    if opened_sender.send(Ok(facts)).is_ok() && word.blocking_recv().is_ok() {
                        reconcile(kernel, wiring);
                    }
                }
                // Nobody waits any more if this fails.
                Err(error) => drop(opened_sender.send(Err(error))),
            }
        });
        let thread = thread.map_err(DaemonError::io("the reconciler's thread"))?;
        let facts = opened.await.map_err(|_| DaemonError::ReconcilerStopped)??;
        Ok(Self { facts, begin, thread })
    }

    fn start(self) -> JoinHandle<()> {
        // It waits for nothing else; if it is gone, its status channel says so.
        let _ = self.begin.send(());
        self.thread
    }
}

fn install_builtins(
    store: &Store,
    machine: &Machine,
    facts: NodeFacts,
    subnet_pools: Vec<IpNetwork>,
) -> Result<(), DaemonError> {
    let context = Context {
        now: jiff::Timestamp::now(),
        entropy: machine.entropy().map_err(DaemonError::io("randomness"))?,
        facts,
        host_sockets: machine.bound_sockets().map_err(DaemonError::io("the host's sockets"))?,
        namespaces: BTreeSet::new(),
        subnet_pools,
        missing_drivers: BTreeSet::new(),
        given_namespaces: BTreeMap::new(),
    };
    store.write(&Command::InstallBuiltins, &context)?;
    Ok(())
}

/// Returns when the kernel has `revision`, or when that takes too long.
async fn in_step(mut status: watch::Receiver<Arc<Status>>, revision: u64) {
    let reached = status.wait_for(|status| status.observed_revision >= revision);
    match timeout(FIRST_PASS_TIMEOUT, reached).await {
        Ok(Ok(_)) => {}
        // The reconciler is gone, which its own branch reports.
        Ok(Err(_)) => std::future::pending().await,
        Err(_) => tracing::warn!("the kernel is not in step yet; see \"netctl status\""),
    }
}

/// Returns when nobody will publish a status any more.
async fn closed(mut status: watch::Receiver<Arc<Status>>) {
    while status.changed().await.is_ok() {}
}

async fn end(stop: &watch::Sender<bool>, thread: JoinHandle<()>) -> Result<(), DaemonError> {
    // Nobody listens any more if this fails.
    let _ = stop.send(true);
    match timeout(SHUTDOWN_TIMEOUT, tokio::task::spawn_blocking(move || thread.join())).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(_) => Err(DaemonError::ReconcilerStopped),
        Err(_) => {
            tracing::warn!("the reconciler was broken off; the next start goes on where it was");
            Ok(())
        }
    }
}

/// Containers search where the host does.
async fn follow_resolv_conf(files: Files, state: watch::Receiver<Arc<State>>) {
    let mut known = files.host_version();
    loop {
        tokio::time::sleep(RESOLV_CONF_INTERVAL).await;
        let now = files.host_version();
        if now == known {
            continue;
        }
        let before = state.borrow().clone();
        let (writing, revision) = (files.clone(), before.revision);
        match tokio::task::spawn_blocking(move || writing.refresh(&before)).await {
            // A command that came meanwhile may have written before this did: once more.
            Ok(Ok(())) if state.borrow().revision == revision => known = now,
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "containers do not see the host's new resolv.conf"),
            Err(_ending) => return,
        }
    }
}

async fn collect_garbage(machine: Machine) {
    loop {
        let pins = machine.pins.clone();
        let rest = match tokio::task::spawn_blocking(move || garbage::collect(&pins)).await {
            Ok(Ok(pass)) => {
                if pass.deleted > 0 {
                    tracing::debug!(?pass, "flows that were over");
                }
                machine.fills.note(fill::FLOWS, pass.entries, pass.cost);
                pass.rest()
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "flows that are over stay for now");
                Pass::default().rest()
            }
            Err(_ending) => return,
        };
        tokio::time::sleep(rest).await;
    }
}

/// The signals that end netd.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
