//! netd: the network of containers on Linux, on eBPF alone.
//!
//! An agent that makes namespaces, links, routes and map entries, and programs in the kernel that move the packets by
//! those maps. This crate is the agent and its command line; the programs are in `netd-ebpf`, and `netd-common` is what
//! the two say to each other.
//!
//! # The picture
//!
//! Input and output at the edges, around a middle that is only data and functions:
//!
//! ```text
//!   user space:   State ──lower──► Target ──plan(Target, Observed)──► [Op] ──apply──► kernel
//!   kernel:       Frame ──parse──► Packet ──decide(Packet, Tables)──► Verdict (+ rewrite)
//!
//!                netctl          curl, whatever speaks HTTP
//!                  │ HTTP + JSON on a unix socket │
//!                  ▼                              ▼
//!              ┌──────────────────────────────────────┐  watch<Arc<State>>
//!              │ api/ ──Command──► store/ (redb)      │──────────────────────► events, files, names
//!              └──────┬───────────────────────────────┘
//!                     │ watch<Arc<State>>       ▲ watch<Arc<Status>>
//!                     ▼                         │
//!              ┌────────────────────────────────┴─────┐
//!              │ reconcile/   lower, plan     (pure)  │
//!              │              pass, run   (its thread)│
//!              └──────┬───────────────────────────────┘
//!                     │ Op                      ▲ Observed, NodeFacts
//!                     ▼                         │
//!              ┌────────────────────────────────┴─────┐
//!              │ kernel/   trait Kernel               │   Linux = netlink + datapath;  Fake for tests
//!              └──────┬───────────────────────────────┘
//!    ─ ─ ─ ─ ─ ─ ─ ─ ─│─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ the kernel's boundary
//!              links, routes, pinned maps ◄───────── netd-ebpf: hooks ─► Verdict
//! ```
//!
//! # Invariants
//!
//! Most of them say what is absent.
//!
//! 1. **One truth.** What the user asked for changes only by [`store::Store::write`]. Nothing else persists a decision.
//! 2. **The kernel is a cache.** All that netd puts there can be made again from [`model::state::State`]. There is no
//!    code that undoes: a change is committed first, then the kernel converges; a failure means trying again.
//! 3. **A pure middle.** [`model`], [`reconcile::lower`] and [`reconcile::plan`] do no input or output, read no clock, and
//!    are not async: time, randomness and what is bound on the host come in with the command.
//! 4. **Two doors.** System calls, netlink and `bpf(2)` are spoken only under [`kernel`]; BPF helpers only under
//!    `netd-ebpf/src/kernel/`. netd never runs `ip`, `tc`, `nft` or `iptables`.
//! 5. **One byte order.** Addresses in maps are 16 bytes in network order, IPv4 as v4-mapped; ports, counters, interface
//!    indexes and times are native integers, so that `bpftool` prints `"port": 8080`. Parsing converts, once.
//! 6. **Every drop has a name.** A program cannot drop without a `DropReason`, and there is one list of them, for the
//!    counters, the events, the command line and the tests.
//! 7. **The agent is optional for traffic.** Programs, links and maps are pinned. Killing netd breaks no flow and refuses
//!    no new connection; starting it again changes nothing when nothing is wrong.
//! 8. **Nothing is unbounded.** Every map, queue, body, list and retry has a limit with a name, which says what happens
//!    at it.
//! 9. **Deterministic.** Maps are ordered wherever order can be seen; equal inputs give equal plans.
//!
//! `cargo xtask tidy` holds the code to 4 and to the layers.
//!
//! # Layers
//!
//! Lowest first; a module uses only what stands before it:
//!
//! `netd-common` · [`model`] · [`config`], [`resolv_conf`], [`mod@tuple`], [`mod@joined`] · [`instance`], [`logging`],
//! [`notify`] · `reconcile::{target, observed, lower, parent, pool, unmet, changed, plan, op, status}` · [`store`],
//! [`kernel`] · `reconcile::{pass, run}`, [`names`], [`events`], [`files`], [`shortage`] · [`api`] · [`daemon`] ·
//! [`check`], [`cleanup`].
//!
//! # Where to look
//!
//! Open the file whose name matches the question; its first line is the question that it answers.
//!
//! | Question | File |
//! |---|---|
//! | What may a user ask for, and why is it refused? | `model/command.rs`, the rules in `model/apply/`, the words in `model/refusal.rs` |
//! | Which address does a container get? | `model/ipam.rs` |
//! | What should the kernel hold for a given state? | `reconcile/lower.rs`, in the types of `reconcile/target.rs` |
//! | Which steps, in which order? | `reconcile/plan.rs`, `reconcile/op.rs` |
//! | When is a step tried again? | `reconcile/pass.rs`; when is the kernel looked at: `reconcile/run.rs` |
//! | Who may come in, and who may not? | `model/prefix.rs`; in the kernel's tries: `kernel/tries.rs`; at the uplinks: `kernel/guard.rs` |
//! | How is a link, route, address or namespace made? | `kernel/netlink/`, `kernel/netns/` |
//! | How do programs and maps get into the kernel? | `kernel/datapath.rs`, `kernel/programs.rs`, `kernel/pins.rs`; what are they attached to: `kernel/attachments.rs`; at once, before that: `kernel/netlink/filters.rs` |
//! | When is a flow forgotten? | `kernel/garbage.rs` (over), `kernel/purge.rs` (its container, port or address is gone) |
//! | What is a container answered when it asks for a name? | `names/zone.rs` (who has it), `names/answer.rs` (what is said), `names/forward.rs` (whom others ask) |
//! | Where does netd listen for that, and what of it outlives the agent? | `kernel/names/` |
//! | When does memory that is free become the machine's again? | `kernel/memory.rs` |
//! | What is the datapath short of? | `shortage.rs`; how full are the maps: `kernel/fill.rs` |
//! | What happens to a packet? | `netd-ebpf/src/lib.rs` |
//! | What does a map hold? | `netd-common/src/`, one family of types a file |
//! | What does a path of the API do? | `api/`, one file per resource; `docs/api.md` lists them |
//! | How does a verb of netctl look? | `bin/netctl/` |
//! | What does a file ask for, and what has to be done for it? | `bin/netctl/apply/`: `file.rs`, `difference.rs`; made at once by `api/changes.rs` |
//! | Who starts whom, and who ends first? | `daemon.rs` |
//!
//! Two walks. `netctl publish web 8080:80`: `bin/netctl/publish.rs` → `api/publishes.rs` → `api/change.rs` →
//! `Command::Publish` → `model/apply/publish.rs` → one transaction of `store/redb.rs`, and a new revision → the watch
//! wakes `reconcile/run.rs` → `lower` adds an entry to `Target::publishes` → `plan` finds `SetPublish` →
//! `kernel/datapath.rs`, one map update → `Status` → the reply, which waited for it. `unpublish` is the same way, with
//! `RemovePublish` and then `PurgeFlows`. A packet's walk is in `netd-ebpf/src/lib.rs`.

pub mod api;
pub mod check;
pub mod cleanup;
pub mod config;
pub mod daemon;
pub mod events;
pub mod files;
pub mod instance;
pub mod joined;
pub mod kernel;
pub mod logging;
pub mod model;
pub mod names;
pub mod notify;
pub mod reconcile;
pub mod resolv_conf;
pub mod shortage;
pub mod store;
pub mod tuple;
