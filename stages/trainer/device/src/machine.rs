//! What a machine does: it holds memory, launches kernels, and multiplies matrices.

use std::fmt::Debug;

use crate::error::Error;

/// A machine that runs the kernels. Work is done in the order in which it is asked for.
pub trait Machine: Debug + Send + Sync {
    /// Memory, of which nothing can be relied on: its address.
    ///
    /// # Errors
    /// There is not enough; `what` says for what.
    fn allocate(&self, what: &str, bytes: usize) -> Result<u64, Error>;

    /// Gives memory back.
    fn free(&self, address: u64);

    /// Copies to the machine.
    ///
    /// # Errors
    /// What the machine says.
    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Overwrites with zero bytes.
    ///
    /// # Errors
    /// What the machine says.
    fn zero(&self, address: u64, bytes: usize) -> Result<(), Error>;

    /// Copies from the machine, when all that was asked for before is done.
    ///
    /// # Errors
    /// What the machine says, also of work that failed before.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Error>;

    /// Runs a kernel.
    ///
    /// # Errors
    /// Names the kernel and the launch.
    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error>;

    /// The most bytes that were allocated at a time.
    ///
    /// # Errors
    /// What the machine says.
    fn most_used(&self) -> Result<usize, Error>;

    /// What machines of several processes need to meet, and the name that tells this one from all others; nothing where it
    /// cannot form a group.
    fn invitation(&self) -> Option<(Invitation, [u8; 16])> {
        None
    }

    /// Waits for `count` machines with this one's invitation, of which this is number `index`.
    ///
    /// # Errors
    /// What the machine says.
    fn join(&self, _invitation: Invitation, [_index, _count]: [usize; 2]) -> Result<(), Error> {
        Err(Error::Machine { machine: "this machine".into(), cause: "forms no group".into() })
    }

    /// Replaces `count` floats by their sums over the machines of the group; all get the same bits.
    ///
    /// # Errors
    /// There is no group; what the machine says.
    fn add_up(&self, _address: u64, _count: usize) -> Result<(), Error> {
        Err(Error::Machine { machine: "this machine".into(), cause: "is in no group".into() })
    }

    /// C = A B + beta C.
    ///
    /// # Errors
    /// What the machine says.
    fn multiply(&self, product: &Product) -> Result<(), Error>;
}

/// Bytes of an [`Invitation`].
pub const INVITATION: usize = 128;
/// Where machines of several processes meet.
pub type Invitation = [u8; INVITATION];

/// A kernel's launch.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The kernel.
    pub kernel: &'static str,
    /// Blocks.
    pub grid: [usize; 3],
    /// Threads of a block: whole warps.
    pub threads: usize,
    /// Bytes of shared memory of a block.
    pub shared: usize,
    /// In the order of the kernel's parameters.
    pub arguments: &'a [Argument],
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A pointer.
    Address(u64),
    /// An `int`.
    Int(i32),
    /// A `float`.
    Float(f32),
}

/// What the values of a matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `float`.
    Float,
    /// As activations and weights are stored.
    Real,
}

/// A matrix of a product: its rows are `stride` values apart.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Where it lies.
    pub address: u64,
    /// Values between two rows.
    pub stride: usize,
    /// What they are.
    pub kind: Kind,
    /// Whether it is the transpose that is meant.
    pub transposed: bool,
}

/// C `[m, n]` = A `[m, k]` B `[k, n]` + beta C, summed in `float`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Rows, columns, and terms of a sum.
    pub size: [usize; 3],
    /// A.
    pub a: Operand,
    /// B.
    pub b: Operand,
    /// C, which is not transposed.
    pub c: Operand,
    /// What C is worth; 0 does not read it.
    pub beta: f32,
}

impl Operand {
    /// The transpose of the matrix.
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }
}

impl Launch<'_> {
    /// The launch in words, for errors.
    pub fn shape(&self) -> String {
        let [x, y, z] = self.grid;
        let scalars: Vec<String> = self.arguments.iter().filter_map(Argument::scalar).collect();
        let (threads, shared) = (self.threads, self.shared);
        format!("{x} x {y} x {z} blocks of {threads} threads, {shared} bytes shared, with {}", scalars.join(", "))
    }
}

impl Argument {
    fn scalar(&self) -> Option<String> {
        match self {
            Self::Address(_) => None,
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(value.to_string()),
        }
    }
}
