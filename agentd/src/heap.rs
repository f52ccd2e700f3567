//! How the C library's heap gives back what is free.
//!
//! Left to itself glibc keeps a heap for each thread that has ever allocated, and once a large block
//! was freed it takes later ones of that size from the heap, where they stay. An agent unpacks an
//! artifact in one of several threads, and then waits for days: all of that would wait with it.

/// Has the process keep one heap, and give large blocks back as they are freed. Call it before there
/// is a second thread.
#[cfg(target_env = "gnu")]
pub fn keep_small() {
    /// What is this large comes from the kernel alone and goes back there.
    const LARGE: libc::c_int = 128 << 10;
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE)]
    {
        // SAFETY: it changes settings of the allocator alone, and takes any number.
        let is_taken = unsafe { libc::mallopt(parameter, value) } == 1;
        // Each of these is in range: a C library that refuses it is another one than was tested.
        debug_assert!(is_taken, "mallopt({parameter}, {value})");
    }
}

/// Another C library has a heap of its own ways.
#[cfg(not(target_env = "gnu"))]
pub fn keep_small() {}
