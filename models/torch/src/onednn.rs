//! oneDNN, which computes libtorch's convolutions on a CPU, writes their machine code while it runs. Where a process may
//! not execute what it has written (systemd's `MemoryDenyWriteExecute=`, SELinux' `execmem`), it fails with "could not
//! create a primitive"; there libtorch is to use its own kernels instead, which are compiled already and take about twice as long.
//! `unsafe` of this file is a page of memory, and three functions of libtorch that take and return plain words.

use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;

use libloading::os::unix::Library;
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Bytes that are asked for: one page, or what the kernel makes of it.
const PAGE: usize = 4096;

/// Why convolutions are slow in this process, and what to do about it, if they are. The first call has libtorch go
/// without oneDNN where oneDNN cannot work, so it comes before the first tensor.
pub fn advice() -> Option<&'static str> {
    static ADVICE: OnceLock<Option<String>> = OnceLock::new();
    ADVICE
        .get_or_init(|| {
            let errno = write_and_execute().err()?;
            let slow = match switch_off() {
                true => "convolutions are computed without oneDNN, which takes about twice as long",
                false => "this libtorch cannot be told to go without oneDNN, and convolutions will fail",
            };
            Some(format!(
                "memory that was written may not be executed here ({errno}): {slow}. systemd's \
                 MemoryDenyWriteExecute=yes forbids it, and forecastd.service.d/libtorch.conf.example lifts that; of \
                 SELinux it is execmem"
            ))
        })
        .as_deref()
}

/// Does what oneDNN does for each kernel: writes into memory of its own, then has it made executable.
#[expect(unsafe_code, reason = "maps a page that nobody else knows, and lets it go")]
fn write_and_execute() -> Result<(), Errno> {
    let writable = ProtFlags::READ | ProtFlags::WRITE;
    let executable = MprotectFlags::READ | MprotectFlags::WRITE | MprotectFlags::EXEC;
    // SAFETY: the mapping is anonymous, private and new; nothing points into it, and nothing is executed.
    unsafe {
        let page = mmap_anonymous(ptr::null_mut(), PAGE, writable, MapFlags::PRIVATE)?;
        let allowed = mprotect(page, PAGE, executable);
        munmap(page, PAGE)?;
        allowed
    }
}

/// Has libtorch use its own kernels; says whether it does. `tch` has no call for it.
#[expect(
    unsafe_code,
    reason = "calls three C++ functions of libtorch that take and return a pointer and booleans only"
)]
fn switch_off() -> bool {
    let this = Library::this();
    // SAFETY: ATen/Context.h declares `Context& globalContext()` in at, and of at::Context `void
    // setUserEnabledMkldnn(bool)` and `bool userEnabledMkldnn() const`. In the Itanium C++ ABI a reference is a pointer,
    // and so is the object of a method, its first argument. The context is never destroyed.
    unsafe {
        let context = this.get::<unsafe extern "C" fn() -> *mut c_void>(b"_ZN2at13globalContextEv\0");
        let set = this.get::<unsafe extern "C" fn(*mut c_void, bool)>(b"_ZN2at7Context20setUserEnabledMkldnnEb\0");
        let get = this.get::<unsafe extern "C" fn(*const c_void) -> bool>(b"_ZNK2at7Context17userEnabledMkldnnEv\0");
        let (Ok(context), Ok(set), Ok(get)) = (context, set, get) else {
            return false;
        };
        let context = context();
        set(context, false);
        !get(context)
    }
}
