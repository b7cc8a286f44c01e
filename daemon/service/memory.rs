//! Memory that work needed and rest does not.

/// Gives free memory back to the machine. Decoding and fitting come in bursts, and the allocator would keep what
/// they needed: a third of the daemon at rest with a thousand channels.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: takes no pointer and may be called at any time, from any thread.
    #[expect(unsafe_code, reason = "there is no safe binding")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives free memory back to the machine; other allocators do so by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
