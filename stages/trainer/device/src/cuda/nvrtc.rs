//! Sources to CUBINs, by NVRTC. Needs no GPU.

use std::ffi::CString;

use cudarc::nvrtc::result::{compile_program, create_program, destroy_program, get_program_log};
use cudarc::nvrtc::sys;

use crate::error::Error;
use crate::sources::{COMMON, Source};

/// A compiled source.
#[derive(Debug)]
pub struct Compiled {
    /// The binary for one architecture.
    pub cubin: Vec<u8>,
    /// What the compiler says, of every kernel its registers and spills among it.
    pub log: String,
}

/// Whether the compiler can be opened.
pub fn is_present() -> bool {
    // SAFETY: opens a library by its well-known names, and closes it again.
    unsafe { sys::is_culib_present() }
}

/// The compiler's version.
pub(super) fn version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the numbers are written to variables of their type. Where it fails they stay 0.
    let _ = unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    format!("{major}.{minor}")
}

/// What a source is compiled with for an architecture, such as `sm_90`.
pub(super) fn options(arch: &str, defines: &[&str]) -> Vec<String> {
    let defines = defines.iter().map(|define| format!("-D{define}"));
    let fixed = [format!("--gpu-architecture={arch}"), "--std=c++17".into(), "--ptxas-options=-v".into()];
    fixed.into_iter().chain(defines).collect()
}

/// Compiles a source for an architecture.
///
/// # Errors
/// What the compiler says, with the file and line.
pub fn compile(source: &Source, arch: &str, defines: &[&str]) -> Result<Compiled, Error> {
    let file = format!("{}.cu", source.name);
    let failed = |log: String| Error::Source { file: file.clone(), log };
    // Lines are counted in the source's own file.
    let text = CString::new(format!("{COMMON}\n#line 1 \"{file}\"\n{}", source.text));
    let (text, name) =
        (text.map_err(|e| failed(e.to_string()))?, CString::new(&*file).map_err(|e| failed(e.to_string()))?);
    let program = create_program(&text, Some(&name)).map_err(|error| failed(error.to_string()))?;
    // SAFETY: the program was just made; text and name outlive it; it is destroyed below, once.
    let (compiled, log) = unsafe {
        (compile_program(program, &options(arch, defines)), get_program_log(program).map_err(|e| failed(e.to_string())))
    };
    // SAFETY: as above.
    let cubin = compiled.map_err(|error| error.to_string()).and_then(|()| unsafe { cubin(program) });
    // SAFETY: as above.
    let _ = unsafe { destroy_program(program) };
    let log: String = log?.into_iter().map(|byte| char::from(byte.to_ne_bytes()[0])).filter(|c| *c != '\0').collect();
    match cubin {
        Ok(cubin) => Ok(Compiled { cubin, log }),
        Err(error) => Err(failed(format!("{error} for {arch}\n{log}"))),
    }
}

/// The binary of a compiled program.
///
/// # Safety
/// The program was compiled, and not destroyed.
unsafe fn cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>, String> {
    let mut size = 0;
    // SAFETY: by this function's own; the size is written to a variable of its type.
    unsafe { sys::nvrtcGetCUBINSize(program, &raw mut size) }.result().map_err(|error| error.to_string())?;
    let mut bytes = vec![0; size];
    // SAFETY: by this function's own; there is room for as many bytes as the compiler said.
    unsafe { sys::nvrtcGetCUBIN(program, bytes.as_mut_ptr().cast()) }.result().map_err(|error| error.to_string())?;
    Ok(bytes)
}
