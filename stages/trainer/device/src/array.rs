//! Arrays on a machine.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use half::bf16;

use crate::error::Error;
use crate::machine::{Argument, Kind, Launch, Machine, Operand, Product};

/// What activations and frozen weights can be stored as.
pub trait Stored: Pod + Send + Sync {
    /// What is defined for the kernels' compiler.
    const DEFINES: &'static [&'static str];
    /// Rounded to the type.
    fn narrow(value: f32) -> Self;
    /// Exactly.
    fn widen(self) -> f32;
}

impl Stored for f32 {
    const DEFINES: &'static [&'static str] = &["STORAGE_F32"];

    fn narrow(value: f32) -> Self {
        value
    }

    fn widen(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    const DEFINES: &'static [&'static str] = &[];

    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn widen(self) -> f32 {
        self.to_f32()
    }
}

/// A machine whose kernels store activations and weights as `F`.
#[derive(Clone, Debug)]
pub struct Device<F> {
    machine: Arc<dyn Machine>,
    stored: PhantomData<F>,
}

impl<F: Stored> Device<F> {
    /// A device on a machine whose kernels were compiled with `F::DEFINES`.
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        Self { machine, stored: PhantomData }
    }

    /// Room for `len` values, of which none can be relied on. `what` is for errors.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn room<T: Pod>(&self, what: &str, len: usize) -> Result<Array<T>, Error> {
        let address = self.machine.allocate(what, len * size_of::<T>())?;
        let memory = Arc::new(Allocation { machine: Arc::clone(&self.machine), address });
        Ok(Array { memory, address, len, values: PhantomData })
    }

    /// `len` zeros.
    ///
    /// # Errors
    /// There is not enough memory, or the machine fails.
    pub fn zeros<T: Pod>(&self, what: &str, len: usize) -> Result<Array<T>, Error> {
        let mut array = self.room(what, len)?;
        array.clear()?;
        Ok(array)
    }

    /// A copy of values.
    ///
    /// # Errors
    /// There is not enough memory, or the machine fails.
    pub fn copy<T: Pod>(&self, what: &str, values: &[T]) -> Result<Array<T>, Error> {
        let array = self.room(what, values.len())?;
        self.machine.write(array.address, bytemuck::cast_slice(values))?;
        Ok(array)
    }

    /// A copy of numbers, rounded to what is stored.
    ///
    /// # Errors
    /// There is not enough memory, or the machine fails.
    pub fn store(&self, what: &str, values: &[f32]) -> Result<Array<F>, Error> {
        let narrow: Vec<F> = values.iter().map(|value| F::narrow(*value)).collect();
        self.copy(what, &narrow)
    }

    /// The machine itself.
    pub fn machine(&self) -> &dyn Machine {
        self.machine.as_ref()
    }

    /// Runs a kernel: blocks, threads of each, bytes of shared memory, and its arguments in order.
    ///
    /// # Errors
    /// Names the kernel and the launch.
    pub fn launch(
        &self,
        kernel: &'static str,
        (grid, threads, shared): ([usize; 3], usize, usize),
        arguments: &[Argument],
    ) -> Result<(), Error> {
        self.machine.launch(&Launch { kernel, grid, threads, shared, arguments })
    }

    /// Multiplies matrices.
    ///
    /// # Errors
    /// What the machine says.
    pub fn multiply(&self, product: &Product) -> Result<(), Error> {
        self.machine.multiply(product)
    }
}

/// Some of a machine's memory; given back when dropped.
#[derive(Debug)]
struct Allocation {
    machine: Arc<dyn Machine>,
    address: u64,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.machine.free(self.address);
    }
}

/// `len` values on a machine: all of some memory, or a part of it.
#[derive(Debug)]
pub struct Array<T> {
    memory: Arc<Allocation>,
    address: u64,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Pod> Array<T> {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Some of the values, where they lie: what is written to one is read from the other.
    ///
    /// # Panics
    /// There are fewer values.
    pub fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "values {range:?} of {}", self.len);
        let address = self.address + (range.start * size_of::<T>()) as u64;
        Self { memory: Arc::clone(&self.memory), address, len: range.len(), values: PhantomData }
    }

    /// The array as a kernel's argument.
    pub fn whole(&self) -> Argument {
        Argument::Address(self.address)
    }

    /// The array from value number `first` on, as a kernel's argument.
    ///
    /// # Panics
    /// There are fewer values.
    pub fn from(&self, first: usize) -> Argument {
        assert!(first <= self.len, "value {first} of {}", self.len);
        Argument::Address(self.address + (first * size_of::<T>()) as u64)
    }

    /// As the matrix of a product that begins at value number `first` and has rows `stride` values apart.
    pub fn matrix(&self, first: usize, stride: usize, kind: Kind) -> Operand {
        let address = self.address + (first * size_of::<T>()) as u64;
        Operand { address, stride, kind, transposed: false }
    }

    /// Overwrites the values from number `first` on.
    ///
    /// # Errors
    /// What the machine says.
    ///
    /// # Panics
    /// They do not fit.
    pub fn write(&mut self, first: usize, values: &[T]) -> Result<(), Error> {
        assert!(first + values.len() <= self.len, "{} values from {first} of {}", values.len(), self.len);
        self.memory.machine.write(self.address + (first * size_of::<T>()) as u64, bytemuck::cast_slice(values))
    }

    /// Overwrites all values with zeros.
    ///
    /// # Errors
    /// What the machine says.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.memory.machine.zero(self.address, self.len * size_of::<T>())
    }

    /// The values.
    ///
    /// # Errors
    /// What the machine says, also of work that failed before.
    pub fn read(&self) -> Result<Vec<T>, Error> {
        let mut values = vec![T::zeroed(); self.len];
        self.memory.machine.read(self.address, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

impl Array<f32> {
    /// Replaces the values by their sums over the machines of the group.
    ///
    /// # Errors
    /// There is no group; what the machine says.
    pub fn add_up(&mut self) -> Result<(), Error> {
        self.memory.machine.add_up(self.address, self.len)
    }
}
