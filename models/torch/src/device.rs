//! The device that libtorch computes on, found before the first tensor.
//!
//! The executable is linked against the CPU libraries alone, so that one build serves every machine. CUDA is a
//! matter of what lies beside `libtorch_cpu.so` when it runs: with `libtorch_cuda.so` there, libtorch registers its
//! CUDA back-end as that file is loaded. `unsafe` of this file is loading libraries and asking four plain C functions.

use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};

use forecastd_models::torch_job::TorchDevice;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device, Kind, Tensor};

use crate::onednn;

/// Room for the name of a GPU; the driver cuts it off there.
const NAME_BYTES: usize = 256;

/// What a job may plan to use on the CPU: enough for its kernels, and little beside a daemon.
const CPU_MEMORY: usize = 512 << 20;

/// Where this process computes, as libtorch is told and as the daemon is told.
#[derive(Clone, Debug)]
pub struct Placement {
    /// For tensors.
    pub device: Device,
    /// For people.
    pub described: TorchDevice,
    /// Bytes that a job may plan to use at once.
    pub memory: usize,
}

/// The first GPU if libtorch can use one, else the CPU. Must come before the first tensor: libtorch looks for its
/// CUDA back-end once, and remembers that there was none.
pub fn find() -> Placement {
    match load_cuda().and_then(|()| first_gpu()) {
        Ok((described, free)) => Placement {
            device: Device::Cuda(0),
            described,
            memory: free / 2, // others may want some, and what libtorch keeps is in pieces
        },
        Err(reason) => {
            eprintln!("computing on the CPU: {reason}");
            Placement::on_cpu()
        }
    }
}

impl Placement {
    /// On the CPU, whatever else there is.
    pub fn on_cpu() -> Self {
        Self {
            device: Device::Cpu,
            described: TorchDevice::Cpu,
            memory: CPU_MEMORY,
        }
    }
}

/// Until the device has done what it was asked: whoever measures must know.
pub fn wait(device: Device) {
    if let Device::Cuda(number) = device {
        Cuda::synchronize(number as i64);
    }
}

/// The version of the libtorch that this process has really loaded, which `LD_LIBRARY_PATH` may have chosen.
#[expect(
    unsafe_code,
    reason = "calls a C function of libtorch that takes nothing and returns an integer"
)]
pub fn libtorch_version() -> String {
    let this = Library::this();
    // SAFETY: torch/csrc/inductor/aoti_torch/c/shim.h declares `uint64_t aoti_torch_abi_version()`.
    let version = unsafe {
        this.get::<unsafe extern "C" fn() -> u64>(b"aoti_torch_abi_version\0")
            .map(|version| version())
    };
    match version.map(u64::to_be_bytes) {
        Ok([major, minor, patch, ..]) => format!("{major}.{minor}.{patch}"),
        Err(_) => "older than 2.9".to_owned(), // the function came with 2.9
    }
}

/// Makes CUDA's autocast compute in bfloat16, where libtorch's default is half precision, whose range needs scaled
/// losses. `tch` has no call for it. False, and nothing is changed, where this libtorch has no such function.
#[expect(
    unsafe_code,
    reason = "calls two C++ functions of libtorch that take and return enumerations only"
)]
pub fn autocast_in_bfloat16() -> bool {
    const CUDA: i8 = 1; // c10/core/DeviceType.h
    const BFLOAT16: i8 = 15; // c10/core/ScalarType.h
    let this = Library::this();
    // SAFETY: ATen/autocast_mode.h declares `void set_autocast_dtype(DeviceType, ScalarType)` and `ScalarType
    // get_autocast_dtype(DeviceType)` in at::autocast, and both enumerations are `int8_t`. The names are those of the
    // Itanium C++ ABI; with another signature they would be other names.
    unsafe {
        let set = this.get::<unsafe extern "C" fn(i8, i8)>(
            b"_ZN2at8autocast18set_autocast_dtypeEN3c1010DeviceTypeENS1_10ScalarTypeE\0",
        );
        let get =
            this.get::<unsafe extern "C" fn(i8) -> i8>(b"_ZN2at8autocast18get_autocast_dtypeEN3c1010DeviceTypeE\0");
        let (Ok(set), Ok(get)) = (set, get) else { return false };
        set(CUDA, BFLOAT16);
        get(CUDA) == BFLOAT16
    }
}

/// Whether this processor multiplies numbers of bfloat16: about twice as many a second as of single precision. It is
/// oneDNN that has it do so.
pub fn cpu_multiplies_in_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_instructions = std::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let has_instructions = false;
    has_instructions && onednn::advice().is_none() && cpu_autocast_switch().is_some()
}

/// Does something with products in bfloat16 on the CPU, on this thread. `tch::autocast` is CUDA's alone. Without such a
/// call in this libtorch it is done in single precision.
pub fn autocast_on_cpu<T>(act: impl FnOnce() -> T) -> T {
    let Some(switch) = cpu_autocast_switch() else {
        return act();
    };
    switch(true);
    let result = act();
    switch(false);
    result
}

#[expect(
    unsafe_code,
    reason = "calls two C++ functions of libtorch that take enumerations and booleans only"
)]
fn cpu_autocast_switch() -> Option<impl Fn(bool)> {
    type SetEnabled = unsafe extern "C" fn(i8, bool);
    const CPU: i8 = 0; // c10/core/DeviceType.h
    // SAFETY: ATen/autocast_mode.h declares `void set_autocast_enabled(DeviceType, bool)` and `void
    // set_autocast_cache_enabled(bool)` in at::autocast, and the enumeration is `int8_t`. The names are those of the
    // Itanium C++ ABI; with another signature they would be other names. Libraries are never unloaded.
    unsafe {
        let this = Library::this();
        let set = this.get::<SetEnabled>(b"_ZN2at8autocast20set_autocast_enabledEN3c1010DeviceTypeEb\0");
        let keep = this.get::<unsafe extern "C" fn(bool)>(b"_ZN2at8autocast26set_autocast_cache_enabledEb\0");
        let (set, keep) = (*set.ok()?, *keep.ok()?);
        // Each weight is cast once a pass anyway, and what is kept would have to be let go after each step.
        Some(move |on: bool| {
            keep(!on);
            set(CPU, on);
        })
    }
}

/// Loads `libtorch_cuda.so` from beside `libtorch_cpu.so`, for good.
#[expect(
    unsafe_code,
    reason = "loading a library runs its initialisers; registering CUDA is what they are for"
)]
fn load_cuda() -> Result<(), String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| format!("/proc/self/maps: {error}"))?;
    let library = beside_libtorch(&maps).ok_or("libtorch_cpu.so is not among the loaded libraries")?;
    if !library.exists() {
        return Err(format!("there is no {}", library.display()));
    }
    // SAFETY: the library belongs to the libtorch that is loaded, and no other thread runs yet.
    let loaded = unsafe { Library::open(Some(&library), RTLD_NOW | RTLD_GLOBAL) }.map_err(|error| error.to_string())?;
    let _ = std::mem::ManuallyDrop::new(loaded); // never unloaded: libtorch keeps pointers into it
    Ok(())
}

/// `libtorch_cuda.so` in the folder from which `libtorch_cpu.so` was mapped.
fn beside_libtorch(maps: &str) -> Option<PathBuf> {
    let mapped = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    let path = Path::new(&mapped[mapped.find('/')?..]);
    Some(path.with_file_name("libtorch_cuda.so"))
}

/// What it is, and how many bytes of it are free.
fn first_gpu() -> Result<(TorchDevice, usize), String> {
    if !Cuda::is_available() {
        return Err("libtorch_cuda.so is loaded, but finds no GPU that it can use".to_owned());
    }
    // The first tensor makes the context that the driver is asked about.
    let context = Tensor::f_zeros([1], (Kind::Double, Device::Cuda(0))).map_err(|error| error.to_string())?;
    let found = describe_gpu().map_err(|error| format!("the CUDA driver does not describe its GPU: {error}"));
    drop(context);
    found
}

/// Name and memory of the first GPU, and how much of it is free, from the driver: `tch` has no call for them. Free
/// memory is asked for once, before there is a job: later it does not count what libtorch keeps for its next tensors.
#[expect(
    unsafe_code,
    reason = "calls C functions of the CUDA driver, whose ABI is fixed by its _v2 names"
)]
fn describe_gpu() -> Result<(TorchDevice, usize), libloading::Error> {
    let mut name: [c_char; NAME_BYTES] = [0; NAME_BYTES];
    let (mut memory, mut free, mut seen) = (0_usize, 0_usize, 0_usize);
    // SAFETY: signatures as in cuda.h: `CUresult cuDeviceGetName(char *, int, CUdevice)`,
    // `CUresult cuDeviceTotalMem_v2(size_t *, CUdevice)` and `CUresult cuMemGetInfo_v2(size_t *, size_t *)`, CUresult
    // an enum, CUdevice an int. libtorch has initialised the driver and made its context this thread's; without one
    // the last call fails and leaves the zeros. The name's last byte is never given away, so it stays terminated.
    unsafe {
        let driver = Library::open(Some("libcuda.so.1"), RTLD_NOW)?;
        let get_name: libloading::os::unix::Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
            driver.get(b"cuDeviceGetName\0")?;
        let total_memory: libloading::os::unix::Symbol<unsafe extern "C" fn(*mut usize, c_int) -> c_int> =
            driver.get(b"cuDeviceTotalMem_v2\0")?;
        let free_memory: libloading::os::unix::Symbol<unsafe extern "C" fn(*mut usize, *mut usize) -> c_int> =
            driver.get(b"cuMemGetInfo_v2\0")?;
        get_name(name.as_mut_ptr(), NAME_BYTES as c_int - 1, 0);
        total_memory(&raw mut memory, 0);
        free_memory(&raw mut free, &raw mut seen);
        let described = TorchDevice::Cuda {
            name: CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned(),
            memory: memory as u64,
        };
        Ok((described, free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_is_sought_beside_the_libtorch_that_is_mapped() {
        let maps = "7f00-7f01 r--p 00000000 08:01 1      /usr/lib/libm.so.6\n\
                    7f02-7f03 r-xp 00000000 08:01 2      /opt/my torch/lib/libtorch_cpu.so\n";
        let expected = PathBuf::from("/opt/my torch/lib/libtorch_cuda.so");
        assert_eq!(beside_libtorch(maps), Some(expected));
        assert_eq!(
            beside_libtorch("7f00-7f01 r--p 00000000 08:01 1 /usr/lib/libm.so.6\n"),
            None
        );
    }

    #[test]
    fn autocast_is_told_to_take_bfloat16() {
        assert!(autocast_in_bfloat16());
    }

    #[test]
    fn products_on_the_cpu_are_in_bfloat16_only_inside() {
        let product = || {
            let ones = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
            ones.matmul(&ones).kind()
        };
        assert_eq!(autocast_on_cpu(product), Kind::BFloat16);
        assert_eq!(product(), Kind::Float);
    }

    #[test]
    fn the_version_is_the_one_that_tch_is_made_for() {
        assert_eq!(libtorch_version(), "2.11.0"); // the version that torch-sys 0.24.0 asks for
    }
}
