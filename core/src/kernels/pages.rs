//! Large pages under large arrays, where the system has them for the asking.
//!
//! A walk down a deep forest reads a line here and a line there of many megabytes; on pages of 4 KiB each of these reads looks
//! up its address in tables too. Linux moves memory to pages of 2 MiB where it is asked to. Other systems are not asked.

/// Makes room for `n` elements in an empty array that is about to be filled, if there is memory: on large pages, each of which is
/// had at once, where small ones are had one by one.
pub(crate) fn reserve_large_pages<T>(array: &mut Vec<T>, n: usize) {
    // Who fills it asks again where this was refused, and ends as any other who has no memory.
    let _ = array.try_reserve_exact(n);
    #[cfg(target_os = "linux")]
    advise(array.spare_capacity_mut(), &[libc::MADV_HUGEPAGE]);
}

/// Asks for large pages under an array that is full by now and will be read for long. Only whole pages within the array are
/// asked for, so it takes no more memory than before. A refusal is no error.
pub(crate) fn prefer_large_pages<T>(array: &[T]) {
    #[cfg(target_os = "linux")]
    advise(array, &[libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE]);
    #[cfg(not(target_os = "linux"))]
    let _ = array;
}

/// Says of the large pages within an array what is hoped of them.
#[cfg(target_os = "linux")]
fn advise<T>(array: &[T], advices: &[libc::c_int]) {
    const PAGE: usize = 2 << 20;
    let bytes = array.as_ptr_range();
    let (from, to) = (bytes.start.addr().next_multiple_of(PAGE), bytes.end.addr() / PAGE * PAGE);
    if from >= to {
        return;
    }
    let at = bytes.start.with_addr(from).cast_mut().cast();
    for advice in advices {
        // SAFETY: the pages lie within the array, and none of these changes what is read of them.
        unsafe { libc::madvise(at, to - from, *advice) };
    }
}
