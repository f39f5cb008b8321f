//! Which of the kernel features that netd uses are here?
//!
//! Each is tried, not inferred from the version.

use aya::programs::tc::TcAttachType;
use aya::programs::{ProgramType, SchedClassifier};
use aya::sys::{BpfHelper, is_helper_supported};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkVeth;
use std::io;
use std::thread;

/// Whether programs can be attached to interfaces by TCX (Linux 6.6): asks the loopback device for its programs.
///
/// # Errors
/// The kernel's refusal.
pub fn tcx() -> io::Result<()> {
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).map(|_| ()).map_err(io::Error::other)
}

/// Helpers of TC programs without which no packet is carried, and whether the kernel has each.
///
/// # Errors
/// When no program can be loaded at all.
pub fn helpers() -> io::Result<Vec<(&'static str, bool)>> {
    [
        ("bpf_redirect_peer", BpfHelper::BPF_FUNC_redirect_peer),
        ("bpf_redirect_neigh", BpfHelper::BPF_FUNC_redirect_neigh),
        ("bpf_fib_lookup", BpfHelper::BPF_FUNC_fib_lookup),
        ("bpf_loop", BpfHelper::BPF_FUNC_loop),
        ("bpf_skc_lookup_tcp", BpfHelper::BPF_FUNC_skc_lookup_tcp),
    ]
    .into_iter()
    .map(|(name, helper)| {
        let supported = is_helper_supported(ProgramType::SchedClassifier, helper).map_err(io::Error::other)?;
        Ok((name, supported))
    })
    .collect()
}

/// Makes a veth pair in a network namespace that lives only as long as the thread that asks.
///
/// # Errors
/// The kernel's refusal.
pub fn veth() -> io::Result<()> {
    let probe = thread::Builder::new().name("probe-veth".to_owned()).spawn(|| -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            handle.link().add(LinkVeth::new("probe0", "probe1").build()).execute().await.map_err(io::Error::other)
        })
    })?;
    probe.join().map_err(|_| io::Error::other("the probe stopped"))?
}
