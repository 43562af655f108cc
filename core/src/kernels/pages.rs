//! Large pages under large arrays, where the system has them for the asking.
//!
//! A walk down a deep forest reads a line here and a line there of many megabytes; on pages of 4 KiB each of these reads looks
//! up its address in tables too. Linux moves memory to pages of 2 MiB where it is asked to. Other systems are not asked.

/// Asks for large pages under an array that is full by now and will be read for long. Only whole pages within the array are
/// asked for, so it takes no more memory than before. A refusal is no error.
pub(crate) fn prefer_large_pages<T>(array: &[T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let bytes = array.as_ptr_range();
        let (from, to) = (bytes.start.addr().next_multiple_of(PAGE), bytes.end.addr() / PAGE * PAGE);
        if from >= to {
            return;
        }
        let at = bytes.start.with_addr(from).cast_mut().cast();
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
            // SAFETY: the pages lie within the array, and neither advice changes what is read of them.
            unsafe { libc::madvise(at, to - from, advice) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = array;
}
