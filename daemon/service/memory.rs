//! Memory that work needed and rest does not.

/// To be called once, before threads start: large buffers are to come from the machine and go back to it one by
/// one. By default the allocator learns from the first large one that it frees to carve such buffers out of its heap,
/// and histories that live for years would then stand between the holes.
#[cfg(target_env = "gnu")]
pub fn return_large_buffers() {
    const LARGE: i32 = 128 << 10;
    // SAFETY: takes two numbers, and no other thread allocates yet.
    #[expect(unsafe_code, reason = "there is no safe binding")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Large buffers come from the machine and go back to it one by one; other allocators see to that by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn return_large_buffers() {}

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
