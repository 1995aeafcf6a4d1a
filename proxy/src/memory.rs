//! Reading a large configuration takes many times its size for a moment, and
//! an old one frees much at once. Left alone, the allocator gives it back bit by
//! bit when it is next asked for memory: by requests, at their expense.

/// Gives what this thread has freed back to the operating system.
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: it has no arguments that could be wrong, may be called on any
    // thread at any time, and touches only what is free.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
