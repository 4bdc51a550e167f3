//! GPUs of several processes that add up arrays, by NCCL.

use std::ffi::c_void;

use cudarc::driver::CudaStream;
use cudarc::nccl::result as nccl;
use cudarc::nccl::sys::{ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};

use crate::error::Error;
use crate::machine::{INVITATION, Invitation};

/// This GPU's place among several.
#[derive(Debug)]
pub(super) struct Group(ncclComm_t);

// SAFETY: NCCL takes a communicator from any thread, one at a time: uses are behind a lock.
unsafe impl Send for Group {}

/// What a process sends to the others so that they can meet; nothing where NCCL is not there.
pub(super) fn invitation() -> Option<Invitation> {
    // SAFETY: opens a library by its well-known names, and closes it again.
    if !unsafe { cudarc::nccl::sys::is_culib_present() } {
        return None;
    }
    let id = nccl::get_uniqueid().ok()?;
    Some(id.internal.map(|byte| byte.to_ne_bytes()[0]))
}

impl Group {
    /// Waits for all others.
    pub(super) fn join(invitation: Invitation, [index, count]: [usize; 2]) -> Result<Self, Error> {
        const { assert!(size_of::<ncclUniqueId>() == INVITATION) };
        let id = ncclUniqueId { internal: invitation.map(|byte| std::ffi::c_char::from_ne_bytes([byte])) };
        let mut group = std::ptr::null_mut();
        // SAFETY: the pointer is to a handle that is written before the call returns; the context of the GPU is current.
        unsafe { nccl::comm_init_rank(&raw mut group, count as i32, id, index as i32) }.map_err(|e| failed(&e))?;
        Ok(Self(group))
    }

    /// Replaces floats by their sums over all GPUs.
    pub(super) fn add_up(&self, stream: &CudaStream, address: u64, count: usize) -> Result<(), Error> {
        let (from, to) = (address as *const c_void, address as *mut c_void);
        let (kind, sum) = (ncclDataType_t::ncclFloat32, ncclRedOp_t::ncclSum);
        // SAFETY: the array has so many floats, is read and written in place as NCCL allows, and is freed on the same stream,
        // later.
        let asked = unsafe { nccl::all_reduce(from, to, count, kind, sum, self.0, stream.cu_stream().cast()) };
        asked.map(drop).map_err(|error| failed(&error))
    }
}

fn failed(cause: &dyn std::fmt::Debug) -> Error {
    Error::Machine { machine: "NCCL".into(), cause: format!("{cause:?}") }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the communicator was made once, and the context lives: `Cuda` drops its group first. Work that waits for a
        // process that is lost cannot be ended otherwise.
        let _ = unsafe { nccl::comm_abort(self.0) };
    }
}
