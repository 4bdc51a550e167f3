//! Products by cuBLASLt. What it plans for a shape is kept: its heuristics take longer than a small product.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublaslt::result as lt;
use cudarc::cublaslt::sys::cublasLtMatmulPreferenceAttributes_t::*;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
    cublasLtMatmulPreference_t, cublasLtMatrixLayout_t, cudaDataType,
};
use cudarc::driver::{CudaStream, result};

use crate::error::Error;
use crate::machine::{Kind, Operand, Product};

/// Bytes that cuBLASLt may work in: what its makers advise for the largest architectures.
const WORKSPACE: usize = 32 << 20;

/// Plans that are kept: packs differ in their rows, so there is no end to shapes.
const MOST_PLANS: usize = 1_024;
/// CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: parts of a sum are added up in the type that is computed in.
static IN_FLOAT: u32 = 2;

/// What multiplies.
#[derive(Debug)]
pub(super) struct Products {
    stream: Arc<CudaStream>,
    handle: cublasLtHandle_t,
    workspace: u64,
    plans: HashMap<Shape, Plan>,
}

// SAFETY: the handles are used by whoever holds the lock around this, one at a time.
unsafe impl Send for Products {}

/// What a plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    size: [usize; 3],
    strides: [usize; 3],
    kinds: [bool; 3],
    transposed: [bool; 2],
    /// Bytes that every address is a multiple of, at most 256.
    alignments: [u32; 3],
}

#[derive(Debug)]
struct Plan {
    description: cublasLtMatmulDesc_t,
    /// Of B, A and C: cuBLASLt counts by columns, so it is asked for Cᵀ = Bᵀ Aᵀ.
    layouts: [cublasLtMatrixLayout_t; 3],
    algorithm: cublasLtMatmulAlgo_t,
}

impl Products {
    pub(super) fn new(stream: Arc<CudaStream>) -> Result<Self, Error> {
        let handle = lt::create_handle().map_err(|error| failed(&error))?;
        // SAFETY: the stream lives as long as this; products on it follow each other, so they can share the memory.
        let workspace =
            unsafe { result::malloc_async(stream.cu_stream(), WORKSPACE) }.map_err(|error| failed(&error))?;
        Ok(Self { stream, handle, workspace, plans: HashMap::new() })
    }

    pub(super) fn multiply(&mut self, product: &Product) -> Result<(), Error> {
        let shape = Shape::of(product);
        if !self.plans.contains_key(&shape) {
            if self.plans.len() == MOST_PLANS {
                self.forget();
            }
            self.plans.insert(shape, self.plan(&shape)?);
        }
        let Some(plan) = self.plans.get(&shape) else { return Err(failed(&"no plan")) };
        let (one, address) = (1.0_f32, |operand: &Operand| operand.address as *const c_void);
        let Product { a, b, c, beta, .. } = product;
        // SAFETY: the plan's handles live as long as it; the operands are arrays of the shape that it was made for, and are
        // freed on the same stream, later; alpha and beta are read before the call returns.
        let done = unsafe {
            lt::matmul(
                self.handle,
                plan.description,
                (&raw const one).cast(),
                (&raw const *beta).cast(),
                address(b),
                plan.layouts[0],
                address(a),
                plan.layouts[1],
                address(c),
                plan.layouts[2],
                c.address as *mut c_void,
                plan.layouts[2],
                &raw const plan.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                self.stream.cu_stream().cast(),
            )
        };
        done.map_err(|error| failed(&format!("{product:?}: {error}")))
    }

    /// Destroys the plans.
    fn forget(&mut self) {
        for (_, plan) in self.plans.drain() {
            // SAFETY: each was made once; nothing on the stream uses a plan any more once its product was launched.
            unsafe {
                let _ = lt::destroy_matmul_desc(plan.description);
                for layout in plan.layouts {
                    let _ = lt::destroy_matrix_layout(layout);
                }
            }
        }
    }

    fn plan(&self, shape: &Shape) -> Result<Plan, Error> {
        let describe = || {
            let description =
                lt::create_matmul_desc(cublasComputeType_t::CUBLAS_COMPUTE_32F, cudaDataType::CUDA_R_32F)?;
            let [m, n, k] = shape.size;
            let [a, b] = shape.transposed;
            transpose(description, cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, b)?;
            transpose(description, cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB, a)?;
            let layouts = [
                shape.layout(1, if b { [k, n] } else { [n, k] })?,
                shape.layout(0, if a { [m, k] } else { [k, m] })?,
                shape.layout(2, [n, m])?,
            ];
            let preference = shape.preference()?;
            // SAFETY: all were just made; the preference is destroyed once, after its last use.
            let found = unsafe {
                let [first, second, third] = layouts;
                let found =
                    lt::get_matmul_algo_heuristic(self.handle, description, first, second, third, third, preference);
                lt::destroy_matmul_pref(preference)?;
                found?
            };
            Ok(Plan { description, layouts, algorithm: found.algo })
        };
        describe().map_err(|error: lt::CublasError| failed(&format!("{shape:?}: {error}")))
    }
}

impl Shape {
    fn of(product: &Product) -> Self {
        let Product { size, a, b, c, .. } = product;
        Self {
            size: *size,
            strides: [a, b, c].map(|operand| operand.stride),
            kinds: [a, b, c].map(|operand| operand.kind == Kind::Float),
            transposed: [a, b].map(|operand| operand.transposed),
            alignments: [a, b, c].map(|operand| 1 << operand.address.trailing_zeros().min(8)),
        }
    }

    /// What cuBLASLt may choose: its working memory, sums in `float` only, and the alignment of the operands.
    fn preference(&self) -> Result<cublasLtMatmulPreference_t, lt::CublasError> {
        let preference = lt::create_matmul_pref()?;
        let set = |attribute, value: *const c_void, size| {
            // SAFETY: the preference was just made; the value is of the attribute's type, and read before the call returns.
            unsafe { lt::set_matmul_pref_attribute(preference, attribute, value, size) }
        };
        let bytes = WORKSPACE as u64;
        set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, (&raw const bytes).cast(), size_of::<u64>())?;
        set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, (&raw const IN_FLOAT).cast(), size_of::<u32>())?;
        let [a, b, c] = &self.alignments;
        // cuBLASLt's A is our B.
        for (attribute, bytes) in [
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
            (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
        ] {
            set(attribute, (&raw const *bytes).cast(), size_of::<u32>())?;
        }
        Ok(preference)
    }

    /// Of operand number `of`, as columns.
    fn layout(&self, of: usize, [rows, columns]: [usize; 2]) -> Result<cublasLtMatrixLayout_t, lt::CublasError> {
        let kind = if self.kinds[of] { cudaDataType::CUDA_R_32F } else { cudaDataType::CUDA_R_16BF };
        lt::create_matrix_layout(kind, rows as u64, columns as u64, self.strides[of] as i64)
    }
}

fn transpose(
    description: cublasLtMatmulDesc_t,
    which: cublasLtMatmulDescAttributes_t,
    transposed: bool,
) -> Result<(), lt::CublasError> {
    // CUBLAS_OP_N and CUBLAS_OP_T, which the binding does not name.
    let operation = i32::from(transposed);
    // SAFETY: the description was just made; the attribute is a C enumeration, read before the call returns.
    unsafe {
        let value = (&raw const operation).cast();
        lt::set_matmul_desc_attribute(description, which, value, size_of::<i32>())
    }
}

fn failed(cause: &dyn std::fmt::Display) -> Error {
    Error::Machine { machine: "cuBLASLt".into(), cause: cause.to_string() }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.forget();
        // SAFETY: made once, by `new`.
        unsafe {
            let _ = lt::destroy_handle(self.handle);
            let _ = result::free_async(self.workspace, self.stream.cu_stream());
        }
    }
}
