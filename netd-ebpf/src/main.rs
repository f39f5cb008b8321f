//! Which programs are in the object, and which story does each run?
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[expect(clippy::needless_pass_by_value, reason = "the macros of aya hand over the context as a value")]
mod programs {
    use aya_ebpf::EbpfContext as _;
    use aya_ebpf::macros::{cgroup_sock_addr, classifier, xdp};
    use aya_ebpf::programs::{SockAddrContext, TcContext, XdpContext};
    use netd_common::drop::Hook;
    use netd_ebpf::hook;
    use netd_ebpf::kernel::maps::Maps;
    use netd_ebpf::kernel::skb::{Skb, act};
    use netd_ebpf::kernel::sock::{Call4, Call6, bind_verdict};
    use netd_ebpf::kernel::xdp::{self, Xdp};
    use netd_ebpf::verdict::Verdict;
    use netd_ebpf::{conntrack, verdict};

    #[classifier]
    pub fn container_egress(context: TcContext) -> i32 {
        let mut skb = Skb::new(context.skb.skb);
        let walk = hook::container_egress::walk(&mut skb, &Maps);
        act(verdict::finish(Hook::ContainerEgress, walk, &skb, &Maps), &skb)
    }

    /// Stands in a link of `container_egress` while the link is made: lets every packet on.
    #[classifier]
    pub fn stand_in(context: TcContext) -> i32 {
        act(Verdict::Pass, &Skb::new(context.skb.skb))
    }

    #[classifier]
    pub fn uplink_ingress(context: TcContext) -> i32 {
        let mut skb = Skb::new(context.skb.skb);
        let walk = hook::uplink_ingress::walk(&mut skb, &Maps);
        act(verdict::finish(Hook::UplinkIngress, walk, &skb, &Maps), &skb)
    }

    #[classifier]
    pub fn uplink_egress(context: TcContext) -> i32 {
        let mut skb = Skb::new(context.skb.skb);
        let walk = hook::uplink_egress::walk(&mut skb, &Maps);
        act(verdict::finish(Hook::UplinkEgress, walk, &skb, &Maps), &skb)
    }

    /// In the driver. It reads across the fragments of a jumbo frame, and says so, or drivers would refuse it at a large
    /// MTU.
    #[xdp(frags)]
    pub fn xdp_guard(context: XdpContext) -> u32 {
        guard(&context)
    }

    /// Behind the driver, for those that cannot run it. It says nothing of fragments: for a program that does, Linux (6.9
    /// to 6.18 at least) copies the packet and forgets where its link-layer header ends, and TC programs then do not find
    /// it. For this one the packet is made whole instead.
    #[xdp]
    pub fn xdp_guard_generic(context: XdpContext) -> u32 {
        guard(&context)
    }

    #[inline(always)]
    fn guard(context: &XdpContext) -> u32 {
        let frame = Xdp::new(context.ctx);
        xdp::act(hook::xdp_guard::walk(&frame, frame.ifindex(), xdp::now_ns, &Maps))
    }

    /// Attached nowhere: the agent runs it on a list of flows that seem to be over.
    #[classifier]
    pub fn flow_gc(context: TcContext) -> i32 {
        conntrack::collect(&Skb::new(context.skb.skb), &Maps).cast_signed()
    }

    /// The programs that change where a call goes, which always lets it go on.
    macro_rules! sock_addr {
        ($($hook:ident, $name:ident, $call:ident, $story:ident;)+) => { $(
            #[cgroup_sock_addr($hook)]
            pub fn $name(context: SockAddrContext) -> i32 {
                hook::sock_addr::$story(&mut $call::new(context.as_ptr().cast()), &Maps);
                1
            }
        )+ };
    }

    sock_addr! {
        connect4, connect4, Call4, dial;
        connect6, connect6, Call6, dial;
        sendmsg4, sendmsg4, Call4, send;
        sendmsg6, sendmsg6, Call6, send;
        recvmsg4, recvmsg4, Call4, undial;
        recvmsg6, recvmsg6, Call6, undial;
        getpeername4, getpeername4, Call4, undial;
        getpeername6, getpeername6, Call6, undial;
    }

    #[cgroup_sock_addr(bind4)]
    pub fn bind4(context: SockAddrContext) -> i32 {
        bind_verdict(hook::sock_addr::may_bind(&Call4::new(context.as_ptr().cast()), &Maps))
    }

    #[cgroup_sock_addr(bind6)]
    pub fn bind6(context: SockAddrContext) -> i32 {
        bind_verdict(hook::sock_addr::may_bind(&Call6::new(context.as_ptr().cast()), &Maps))
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        // Never linked in: a reachable panic fails the load.
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// The programs are for the kernel's target only; this keeps the crate whole on the host's.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
