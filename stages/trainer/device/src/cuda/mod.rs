//! A GPU, through cudarc. Everything is asked for on one stream, so it is done in order.
//!
//! Nothing of CUDA is linked: its libraries are opened when they are first needed, and [`Cuda::is_present`] says whether
//! they are there. Work fails later than it is asked for; with `OBVERT_DEVICE_CHECK=1` every launch is waited for, so that
//! the kernel that fails is named.

mod cubins;
mod group;
pub mod nvrtc;
mod products;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
use cudarc::driver::sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
use cudarc::driver::sys::CUmemPool_attribute::{CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, CU_MEMPOOL_ATTR_USED_MEM_HIGH};
use cudarc::driver::sys::{CUfunction, CUmodule, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use half::bf16;

use crate::array::{Device, Stored};
use crate::error::Error;
use crate::machine::{Argument, Invitation, Launch, Machine, Product};
use crate::sources::{SOURCES, kernels};
use group::Group;
use products::Products;

/// A GPU with its kernels.
#[derive(Debug)]
pub struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    functions: HashMap<&'static str, Function>,
    modules: Vec<Module>,
    products: Mutex<Products>,
    group: Mutex<Option<Group>>,
    /// Bytes of shared memory that a block may have.
    shared: i32,
    /// Whether every launch is waited for.
    checked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Function(CUfunction);
#[derive(Clone, Copy, Debug)]
struct Module(CUmodule);

// SAFETY: a handle that the driver gave out; the driver takes it from any thread that the context is current on, and
// every use is behind `Cuda::current`.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}
// SAFETY: as above.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Cuda {
    /// Whether a driver, a compiler and a library for products are there.
    pub fn is_present() -> bool {
        // SAFETY: opens libraries by their well-known names, and closes them again.
        let driver = unsafe { cudarc::driver::sys::is_culib_present() };
        // SAFETY: as above.
        driver && nvrtc::is_present() && unsafe { cudarc::cublaslt::sys::is_culib_present() }
    }

    /// GPUs that the driver knows; 0 where there is no driver.
    pub fn count() -> usize {
        if !Self::is_present() {
            return 0;
        }
        CudaContext::device_count().map_or(0, |count| count.unsigned_abs() as usize)
    }

    /// Bytes that are free on GPU number `ordinal`.
    ///
    /// # Errors
    /// There is no such GPU.
    pub fn free_memory(ordinal: usize) -> Result<usize, Error> {
        let context = Self::context(ordinal)?;
        let failed = |error: DriverError| Error::Machine { machine: name(ordinal), cause: error.to_string() };
        context.mem_get_info().map(|(free, _)| free).map_err(failed)
    }

    /// GPU number `ordinal`.
    ///
    /// # Errors
    /// There is no such GPU, or a kernel cannot be compiled for it.
    pub fn start(ordinal: usize) -> Result<Device<bf16>, Error> {
        let context = Self::context(ordinal)?;
        let failed = |error: DriverError| Error::Machine { machine: name(ordinal), cause: error.to_string() };
        let stream = context.new_stream().map_err(failed)?;
        keep_memory(&context).map_err(failed)?;
        let products = Mutex::new(Products::new(Arc::clone(&stream))?);
        let checked = std::env::var_os("OBVERT_DEVICE_CHECK").is_some_and(|value| value == "1");
        let shared = context.attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN).map_err(failed)?;
        let (functions, modules) = (HashMap::new(), Vec::new());
        let group = Mutex::default();
        let mut cuda = Self { context, stream, functions, modules, products, group, shared, checked };
        cuda.load()?;
        Ok(Device::new(Arc::new(cuda)))
    }

    fn context(ordinal: usize) -> Result<Arc<CudaContext>, Error> {
        let failed = |cause: String| Error::Machine { machine: name(ordinal), cause };
        let count = Self::count();
        if ordinal >= count {
            let cause = format!("there are {count} GPUs (driver, NVRTC and cuBLASLt of CUDA 13 or 12 are needed)");
            return Err(failed(cause));
        }
        CudaContext::new(ordinal).map_err(|error| failed(error.to_string()))
    }

    fn load(&mut self) -> Result<(), Error> {
        let (major, minor) = self.context.compute_capability().map_err(|error| self.failed(&error))?;
        if major < 8 {
            return Err(self.failed(&format!("its compute capability is {major}.{minor}, the kernels need 8.0")));
        }
        // Instructions that only this architecture has: warp groups multiply by them.
        let only = if (major, minor) == (9, 0) { "a" } else { "" };
        for source in SOURCES {
            let cubin = cubins::get(source, &format!("sm_{major}{minor}{only}"), bf16::DEFINES)?;
            // SAFETY: the image is a CUBIN, whose size is in its header; the driver copies it.
            let module = unsafe { result::module::load_data(cubin.as_ptr().cast::<c_void>()) };
            let module = module.map_err(|error| self.failed(&error))?;
            self.modules.push(Module(module));
            for kernel in kernels(source.text) {
                self.functions.insert(kernel, self.function(module, kernel)?);
            }
        }
        Ok(())
    }

    fn function(&self, module: CUmodule, kernel: &'static str) -> Result<Function, Error> {
        let name = CString::new(kernel).map_err(|error| self.failed(&error))?;
        // SAFETY: the module was loaded and is unloaded only when the machine is dropped.
        let function = unsafe { result::module::get_function(module, name) }.map_err(|error| self.failed(&error))?;
        // SAFETY: the function was just found. Kernels have no static shared memory, so all may be dynamic.
        let set = unsafe {
            let attribute = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(function, attribute, self.shared)
        };
        set.map_err(|error| self.failed(&error))?;
        Ok(Function(function))
    }

    fn failed(&self, cause: &dyn std::fmt::Display) -> Error {
        Error::Machine { machine: name(self.context.ordinal()), cause: cause.to_string() }
    }

    /// As [`Self::failed`], of what the driver says: it says so late of work that was asked for before.
    fn later(&self, error: &DriverError) -> Error {
        let hint = if self.checked { "" } else { ", perhaps of a kernel before: OBVERT_DEVICE_CHECK=1 names it" };
        self.failed(&format!("{error}{hint}"))
    }

    /// Makes the context that of the calling thread.
    fn current(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(|error| self.failed(&error))
    }

    fn finish(&self) -> Result<(), DriverError> {
        self.stream.synchronize()
    }
}

fn name(ordinal: usize) -> String {
    format!("cuda:{ordinal}")
}

/// Memory that is freed stays with the process: the next step wants it again.
fn keep_memory(context: &CudaContext) -> Result<(), DriverError> {
    let mut most = u64::MAX;
    // SAFETY: the device exists, its default pool too, and the attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        result::mem_pool::set_attribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, (&raw mut most).cast())
    }
}

impl Machine for Cuda {
    fn allocate(&self, what: &str, bytes: usize) -> Result<u64, Error> {
        self.current()?;
        // An empty array has an address too.
        // SAFETY: the stream lives as long as the machine, and all uses of the memory are on it.
        match unsafe { result::malloc_async(self.stream.cu_stream(), bytes.max(1)) } {
            Ok(address) => Ok(address),
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                Err(Error::OutOfMemory { what: what.into(), bytes })
            }
            Err(error) => Err(self.later(&error)),
        }
    }

    fn free(&self, address: u64) {
        // What cannot be freed is gone with the context.
        let _ = self.current();
        // SAFETY: the address came from `allocate`, and an array frees it once.
        let _ = unsafe { result::free_async(address, self.stream.cu_stream()) };
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.current()?;
        // SAFETY: an array has room for what is written to it; the bytes outlive the copy, which is waited for.
        let copied = unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream()) };
        copied.and_then(|()| self.finish()).map_err(|error| self.later(&error))
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<(), Error> {
        self.current()?;
        // SAFETY: an array has as many bytes; it is freed on the same stream, later.
        let done = unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) };
        done.map_err(|error| self.later(&error))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.current()?;
        // SAFETY: an array holds what is read from it; the bytes outlive the copy, which is waited for.
        let copied = unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) };
        copied.and_then(|()| self.finish()).map_err(|error| self.later(&error))
    }

    fn most_used(&self) -> Result<usize, Error> {
        self.current()?;
        let mut most_used = 0_u64;
        // SAFETY: the device exists, its default pool too, and the attribute is a u64.
        let read = unsafe {
            let pool = result::device::get_default_mem_pool(self.context.cu_device());
            let used = CU_MEMPOOL_ATTR_USED_MEM_HIGH;
            pool.and_then(|pool| result::mem_pool::get_attribute(pool, used, (&raw mut most_used).cast()))
        };
        read.map(|()| most_used as usize).map_err(|error| self.later(&error))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error> {
        self.current()?;
        let failed = |cause: &dyn std::fmt::Display| Error::Kernel {
            kernel: launch.kernel,
            shape: launch.shape(),
            cause: cause.to_string(),
        };
        let Some(function) = self.functions.get(launch.kernel) else {
            return Err(failed(&"there is no such kernel"));
        };
        if launch.shared > self.shared.unsigned_abs() as usize {
            return Err(failed(&format!("this GPU gives a block {} bytes of shared memory", self.shared)));
        }
        let mut values: Vec<u64> = launch.arguments.iter().map(Argument::bits).collect();
        let mut parameters: Vec<*mut c_void> = values.iter_mut().map(|value| (&raw mut *value).cast()).collect();
        let [x, y, z] = launch.grid.map(|blocks| blocks as u32);
        let block = (launch.threads as u32, 1, 1);
        // SAFETY: the function is loaded; `ops` gives each kernel the arguments that it declares, and each is read from
        // eight bytes that begin with it; the arrays behind addresses are freed on the same stream, later.
        let launched = unsafe {
            let (shared, stream) = (launch.shared as u32, self.stream.cu_stream());
            result::launch_kernel(function.0, (x, y, z), block, shared, stream, &mut parameters)
        };
        let done = launched.and_then(|()| if self.checked { self.finish() } else { Ok(()) });
        done.map_err(|error| failed(&self.later(&error)))
    }

    fn invitation(&self) -> Option<(Invitation, [u8; 16])> {
        let uuid = self.context.uuid().ok()?;
        Some((group::invitation()?, uuid.bytes.map(|byte| byte.to_ne_bytes()[0])))
    }

    fn join(&self, invitation: Invitation, part: [usize; 2]) -> Result<(), Error> {
        self.current()?;
        *self.group.lock().unwrap_or_else(PoisonError::into_inner) = Some(Group::join(invitation, part)?);
        Ok(())
    }

    fn add_up(&self, address: u64, count: usize) -> Result<(), Error> {
        self.current()?;
        match &*self.group.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(group) => group.add_up(&self.stream, address, count),
            None => Err(self.failed(&"is in no group")),
        }
    }

    fn multiply(&self, product: &Product) -> Result<(), Error> {
        self.current()?;
        let mut products = self.products.lock().unwrap_or_else(PoisonError::into_inner);
        products.multiply(product)?;
        if self.checked { self.finish().map_err(|error| self.failed(&format!("{product:?}: {error}"))) } else { Ok(()) }
    }
}

impl Argument {
    /// The value in the first bytes of eight, as a kernel reads it.
    fn bits(&self) -> u64 {
        match self {
            Self::Address(address) => *address,
            Self::Int(value) => u64::from(value.cast_unsigned()),
            Self::Float(value) => u64::from(value.to_bits()),
        }
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let current = self.current();
        // Before the stream is waited for: a sum that waits for a process that is lost ends with its group.
        *self.group.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = current.is_ok_and(|()| self.finish().is_ok());
        for Module(module) in self.modules.drain(..) {
            // SAFETY: it was loaded once, and no launch is on its way any more.
            let _ = unsafe { result::module::unload(module) };
        }
    }
}
