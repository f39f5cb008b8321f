//! Do both sides see the same bytes?
//!
//! Sizes and alignments are asserted here, so that a change cannot go unseen; with no hidden padding, the size of a type
//! is the sum of the sizes of its fields.

use crate::{Addr, drop, endpoint, event, fdb, flow, fragment, globals, names, publish, sock};
use core::mem::{align_of, size_of};

/// Number of this layout: part of the folder that pins live in. Raise it with every change that this file notices.
pub const ABI_VERSION: u32 = 1;

const _: () = {
    assert!(size_of::<Addr>() == 16 && align_of::<Addr>() == 4);
    assert!(size_of::<endpoint::EndpointKey>() == 16 + 4);
    assert!(size_of::<endpoint::Endpoint>() == 3 * 4 + 6 + 2);
    assert!(size_of::<endpoint::Port>() == 4 * 16 + 3 * 4 + 2 * 6 + 2 * 2);
    assert!(size_of::<endpoint::PoolKey>() == 4 + 2 * 2);
    assert!(size_of::<fdb::FdbKey>() == 4 + 6 + 2);
    assert!(size_of::<fdb::FdbEntry>() == 2 * 4);
    assert!(size_of::<publish::PublishKey>() == 16 + 2 + 1 + 1);
    assert!(size_of::<publish::Publish>() == 16 + 3 * 4 + 2 + 2);
    assert!(size_of::<publish::AllowKey>() == 4 + 16);
    assert!(size_of::<flow::FlowKey>() == 2 * 16 + 2 * 2 + 2 + 2);
    assert!(size_of::<flow::Flow>() == 2 * 16 + 2 * 2 + 4 + 5 * 4 + 8 + 4 + 4 * 8);
    assert!(size_of::<flow::Timeouts>() == 7 * 4);
    assert!(size_of::<fragment::FragmentKey>() == 2 * 16 + 4 + 2 + 2);
    assert!(size_of::<fragment::Fragment>() == 2 * 2 + 2 * 4 + 2 * 2 + 8);
    assert!(size_of::<flow::Nominee>() == 40 + 8);
    assert!(size_of::<event::Event>() == 8 + 2 * 16 + 2 * 2 + 4 + 4 + 4);
    assert!(size_of::<sock::SockKey>() == 8 + 16 + 2 + 6);
    assert!(size_of::<sock::Dialled>() == 16 + 2 + 2);
    assert!(size_of::<names::Resolver>() == 2 + 2);
    assert!(size_of::<globals::Globals>() == 8);
    assert!(size_of::<drop::Counter>() == 2 * 8);
    assert!(size_of::<drop::DropKey>() == 2 * 4);
};

#[cfg(feature = "user")]
mod pod {
    /// # Safety
    ///
    /// Each type is `repr(C)`, `Copy`, made of integers and byte arrays only, and has no hidden padding: the assertions
    /// above say so. Any bytes are a legal value of it.
    macro_rules! pod {
        ($($path:path),+ $(,)?) => { $(
            // SAFETY: see the macro's own comment; upheld by the assertions at the head of this file.
            unsafe impl aya::Pod for $path {}
        )+ };
    }

    pod!(
        crate::Addr,
        crate::endpoint::EndpointKey,
        crate::endpoint::Endpoint,
        crate::endpoint::Port,
        crate::endpoint::PoolKey,
        crate::fdb::FdbKey,
        crate::fdb::FdbEntry,
        crate::publish::PublishKey,
        crate::publish::Publish,
        crate::publish::AllowKey,
        crate::flow::FlowKey,
        crate::flow::Flow,
        crate::flow::Nominee,
        crate::flow::Timeouts,
        crate::fragment::FragmentKey,
        crate::fragment::Fragment,
        crate::event::Event,
        crate::sock::SockKey,
        crate::sock::Dialled,
        crate::names::Resolver,
        crate::globals::Globals,
        crate::drop::Counter,
        crate::drop::DropKey,
    );
}
