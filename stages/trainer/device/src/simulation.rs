//! A machine that stands in for a GPU: the kernels' own sources, compiled for the host with a fiber for every thread.
//!
//! It is slow and strict. What a GPU leaves undefined (barriers that threads part at, memory beyond an array, values that
//! were never written) is an error here or shows in the results. See `../simt/simt.h`.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use half::bf16;

use crate::array::{Device, Stored};
use crate::error::Error;
use crate::machine::{Argument, Kind, Launch, Machine, Operand, Product};
use crate::sources::{COMMON, SOURCES};

/// The order in which the threads of a block take turns. A result that depends on it lacks a barrier. In the first two a warp
/// runs until it waits at a barrier before the next one runs at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First to last.
    Forward,
    /// Last to first.
    Backward,
    /// Another one at every turn, all warps an operation at a time.
    Mixed,
}

/// A compiled program of kernels; machines are started from it. It stays in the folder for temporary files, for the next
/// test that wants the same.
#[derive(Debug)]
pub struct Program {
    folder: PathBuf,
}

/// A running program.
#[derive(Debug)]
pub struct Simulation {
    order: Order,
    talk: Mutex<Talk>,
}

#[derive(Debug)]
struct Talk {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    used: Used,
}

/// Bytes that are allocated.
#[derive(Debug, Default)]
struct Used {
    sizes: HashMap<u64, usize>,
    now: usize,
    most: usize,
}

impl Program {
    /// Compiles all kernels, storing `F`.
    ///
    /// # Errors
    /// There is no C++ compiler, or what it says.
    pub fn new<F: Stored>() -> Result<Self, Error> {
        let sources: Vec<_> = SOURCES.iter().map(|source| (source.name, source.text.to_owned())).collect();
        Self::with::<F>(COMMON, &sources)
    }

    /// The programs that store floats and bfloat16; nothing where there is no C++ compiler.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn both() -> Option<Result<[Self; 2], Error>> {
        Command::new("c++").arg("--version").output().ok()?;
        Some(Self::new::<f32>().and_then(|exact| Ok([exact, Self::new::<bf16>()?])))
    }

    /// Compiles other sources, each a name and its text, with `common` in front.
    ///
    /// # Errors
    /// There is no C++ compiler, or what it says.
    pub fn with<F: Stored>(common: &str, sources: &[(&str, String)]) -> Result<Self, Error> {
        let mut files = vec![("common.cuh".to_owned(), common.to_owned()), ("main.cpp".to_owned(), main_of(sources))];
        files.extend(sources.iter().map(|(name, text)| (format!("{name}.cu"), text.clone())));
        files.extend(HEADERS.map(|(name, text)| (name.to_owned(), text.to_owned())));
        let mut hasher = DefaultHasher::new();
        (&files, F::DEFINES, OPTIONS).hash(&mut hasher);
        let kept = std::env::temp_dir().join("obvert-simulation").join(format!("{:016x}", hasher.finish()));
        if !kept.join("machine").exists() {
            make(&kept, &files, F::DEFINES)?;
        }
        Ok(Self { folder: kept })
    }

    /// Starts a device.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start<F: Stored>(&self, order: Order) -> Result<Device<F>, Error> {
        let mut command = Command::new(self.folder.join("machine"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Memory that a test still holds when it fails is no leak of the kernels.
        let mut child = command.env("ASAN_OPTIONS", "detect_leaks=0").spawn().map_err(|error| machine_error(&error))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(machine_error(&"has no pipes"));
        };
        let talk = Mutex::new(Talk { child, to, from: BufReader::new(from), used: Used::default() });
        Ok(Device::new(Arc::new(Simulation { order, talk })))
    }
}

/// The simulation's C++, in the program: a test may run where there is no source.
const HEADERS: [(&str, &str); 3] = [
    ("simt.h", include_str!("../simt/simt.h")),
    ("mma.h", include_str!("../simt/mma.h")),
    ("machine.h", include_str!("../simt/machine.h")),
];

/// Every source in a namespace of its own, and a table of the kernels.
fn main_of(sources: &[(&str, String)]) -> String {
    let (mut text, mut table) = (String::from("#include \"machine.h\"\n#include \"common.cuh\"\n"), String::new());
    for (name, source) in sources {
        let _ = writeln!(text, "namespace {name} {{\n#include \"{name}.cu\"\n}}");
        for kernel in crate::sources::kernels(source) {
            let _ = writeln!(table, "        {{\"{kernel}\", simt::kernel({name}::{kernel})}},");
        }
    }
    text + "int main() {
    auto read = [](uint64_t at) { return widen(*reinterpret_cast<real*>(at)); };
    auto write = [](uint64_t at, float value) { *reinterpret_cast<real*>(at) = narrow(value); };
    auto multiply = [&](const simt::Product& p, uint64_t a, uint64_t b, uint64_t c) {
        simt::multiply<decltype(read), decltype(write), sizeof(real)>(p, a, b, c, read, write);
    };
    return simt::serve({
" + &table
        + "    }, multiply);\n}\n"
}

/// Without contraction: a fused product is rounded otherwise than the reference's.
const OPTIONS: [&str; 6] =
    ["-std=c++17", "-O2", "-g1", "-fsanitize=address,alignment", "-fno-sanitize-recover=all", "-ffp-contract=off"];

/// Compiles beside the folder and moves the whole there at once: tests that want the same do not see half of it.
fn make(kept: &Path, files: &[(String, String)], defines: &[&str]) -> Result<(), Error> {
    let failed = |error: std::io::Error| machine_error(&error);
    let parent = kept.parent().unwrap_or(kept);
    std::fs::create_dir_all(parent).map_err(failed)?;
    let folder = tempfile::tempdir_in(parent).map_err(failed)?;
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).map_err(failed)?;
    }
    compile(folder.path(), defines)?;
    // Fails where another test was faster.
    let _ = std::fs::rename(folder.keep(), kept);
    Ok(())
}

fn compile(folder: &Path, defines: &[&str]) -> Result<(), Error> {
    let mut command = Command::new("c++");
    command.current_dir(folder).args(OPTIONS).args(["-Wno-unknown-pragmas", "main.cpp", "-o", "machine"]);
    command.args(defines.iter().map(|define| format!("-D{define}")));
    let out = command.output().map_err(|error| machine_error(&format!("c++: {error}")))?;
    if out.status.success() {
        return Ok(());
    }
    Err(Error::Source { file: "kernels".into(), log: String::from_utf8_lossy(&out.stderr).into_owned() })
}

fn machine_error(cause: &dyn std::fmt::Display) -> Error {
    Error::Machine { machine: "simulation".into(), cause: cause.to_string() }
}

impl Talk {
    /// Sends a command and the bytes after it; the answer, without its `ok`.
    fn ask(&mut self, command: &str, bytes: &[u8]) -> Result<String, String> {
        let sent =
            writeln!(self.to, "{command}").and_then(|()| self.to.write_all(bytes)).and_then(|()| self.to.flush());
        let mut answer = String::new();
        let read = sent.and_then(|()| self.from.read_line(&mut answer));
        match (read, answer.trim_end().strip_prefix("ok")) {
            (Ok(_), Some(rest)) => Ok(rest.trim().to_owned()),
            (Ok(1..), None) => Err(answer.trim_end().trim_start_matches("error ").to_owned()),
            _ => Err(self.last_words()),
        }
    }

    /// What a program that ended left on its standard error.
    fn last_words(&mut self) -> String {
        let mut text = String::new();
        let _ = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut text));
        text
    }
}

impl Simulation {
    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, command: &str, bytes: &[u8]) -> Result<String, Error> {
        self.talk().ask(command, bytes).map_err(|cause| machine_error(&cause))
    }
}

impl Machine for Simulation {
    fn allocate(&self, _what: &str, bytes: usize) -> Result<u64, Error> {
        let mut talk = self.talk();
        let answer = talk.ask(&format!("allocate {bytes}"), &[]).map_err(|cause| machine_error(&cause))?;
        let (address, used) = (answer.parse().map_err(|error| machine_error(&error))?, &mut talk.used);
        used.sizes.insert(address, bytes);
        used.now += bytes;
        used.most = used.most.max(used.now);
        Ok(address)
    }

    fn free(&self, address: u64) {
        // Fails where the program has ended, and its memory with it.
        let mut talk = self.talk();
        let _ = talk.ask(&format!("free {address}"), &[]);
        let used = &mut talk.used;
        used.now -= used.sizes.remove(&address).unwrap_or_default();
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.ask(&format!("write {address} {}", bytes.len()), bytes).map(drop)
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<(), Error> {
        self.ask(&format!("zero {address} {bytes}"), &[]).map(drop)
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let mut talk = self.talk();
        let asked = talk.ask(&format!("read {address} {}", bytes.len()), &[]);
        asked.map_err(|cause| machine_error(&cause))?;
        talk.from.read_exact(bytes).map_err(|error| machine_error(&error))
    }

    fn most_used(&self) -> Result<usize, Error> {
        Ok(self.talk().used.most)
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error> {
        let ([x, y, z], order) = (launch.grid, self.order as u8);
        let mut command =
            format!("launch {} {x} {y} {z} {} 1 1 {} {order}", launch.kernel, launch.threads, launch.shared);
        for argument in launch.arguments {
            let _ = match argument {
                Argument::Address(address) => write!(command, " {address}"),
                Argument::Int(value) => write!(command, " {value}"),
                Argument::Float(value) => write!(command, " {}", value.to_bits()),
            };
        }
        let failed = |cause| Error::Kernel { kernel: launch.kernel, shape: launch.shape(), cause };
        self.talk().ask(&command, &[]).map(drop).map_err(failed)
    }

    fn multiply(&self, product: &Product) -> Result<(), Error> {
        let (Product { size: [m, n, k], a, b, c, beta }, kind) = (product, |operand: &Operand| match operand.kind {
            Kind::Float => 'f',
            Kind::Real => 'r',
        });
        let transposed = [a, b].map(|operand| u8::from(operand.transposed));
        let command = format!(
            "multiply {m} {n} {k} {} {} {} {} {} {beta} {} {} {} {} {} {}",
            a.stride,
            b.stride,
            c.stride,
            transposed[0],
            transposed[1],
            kind(a),
            kind(b),
            kind(c),
            a.address,
            b.address,
            c.address,
        );
        self.ask(&command, &[]).map(drop)
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let talk = self.talk.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = talk.child.kill();
        let _ = talk.child.wait();
    }
}
