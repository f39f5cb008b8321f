//! How does memory that is free become the machine's again?
//!
//! A look at a thousand containers, and the loading of the programs, take tens of megabytes for a moment. glibc keeps what
//! was freed: of each thread's heap all below the last thing in it that lives, and, once a large block was freed, as much
//! above. That is several times what the agent needs, and it would be held for as long as the agent lives.

#[cfg(target_env = "gnu")]
mod allocator {
    use libc::{M_ARENA_MAX, M_TRIM_THRESHOLD, c_int};

    /// Heaps that threads share. With one for each there is what each thread has ever needed at once; one for each of the
    /// two that may be busy at a time is enough.
    const HEAPS_MAX: c_int = 2;
    /// Bytes at the end of a heap that are kept for the next use. Saying so also has blocks of 128 KiB stay outside of
    /// the heaps, however many of them were freed.
    const KEPT: c_int = 1 << 20;

    pub fn keep_little() {
        // SAFETY: mallopt(3) takes two numbers; one that it does not take is left as it was.
        unsafe {
            libc::mallopt(M_ARENA_MAX, HEAPS_MAX);
            libc::mallopt(M_TRIM_THRESHOLD, KEPT);
        }
    }

    pub fn give_back() {
        // SAFETY: malloc_trim(3) gives back only what is free, and may be called at any time on any thread.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Other allocators have their own ways.
#[cfg(not(target_env = "gnu"))]
mod allocator {
    pub const fn keep_little() {}
    pub const fn give_back() {}
}

/// Has the allocator keep little. Call it before there are threads.
pub fn keep_little() {
    allocator::keep_little();
}

/// Gives back what is free. Takes milliseconds when that is much, and nobody else gets memory meanwhile.
pub fn give_back() {
    allocator::give_back();
}
