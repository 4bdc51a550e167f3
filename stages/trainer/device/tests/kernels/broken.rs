//! The simulation catches what a GPU would not: kernels with a deliberate mistake fail, and say where.

use obvert_device::ops::rmsnorm;
use obvert_device::simulation::{Order, Program};
use obvert_device::sources::SOURCES;
use obvert_device::{Device, Error};

use crate::common::{Numbers, ORDERS, programs};

const N: usize = 576;

/// RMSNorm of two rows, from a source with one thing changed.
fn changed(from: &str, to: &str, order: Order) -> Result<Vec<f32>, Error> {
    let source = SOURCES.iter().find(|source| source.name == "rmsnorm").unwrap();
    let common = obvert_device::sources::COMMON;
    let (text, common) = (source.text.replace(from, to), common.replace(from, to));
    assert!(text != source.text || common != obvert_device::sources::COMMON, "there is no {from}");
    let program = Program::with::<f32>(&common, &[("rmsnorm", text)])?;
    normed(&program.start(order)?)
}

fn normed(device: &Device<f32>) -> Result<Vec<f32>, Error> {
    let mut numbers = Numbers::new(1);
    let (x, gain) = (device.store("x", &numbers.stored::<f32>(2 * N))?, device.store("gain", &vec![1.0; N])?);
    let mut y = device.room("y", 2 * N)?;
    rmsnorm::forward(device, (&mut y, N), [&x, &gain], 2, 1e-5)?;
    y.read()
}

#[test]
fn mistakes_are_errors_that_say_where() {
    if programs().is_none() {
        return eprintln!("SKIPPED: mistakes_are_errors_that_say_where: no C++ compiler");
    }
    for (from, to, message) in [
        // An index one too far, in memory and in shared memory.
        ("put(y, values, first, n)", "put(y + 8, values, first, n)", "heap-buffer-overflow"),
        ("scratch[threadIdx.x / WARP] = x", "scratch[threadIdx.x / WARP + 1] = x", "heap-buffer-overflow"),
        // A barrier that only some threads reach, and a warp operation that only some lanes do.
        (
            "scratch[threadIdx.x / WARP] = x;\n    __syncthreads();",
            "{ scratch[threadIdx.x / WARP] = x; __syncthreads(); }",
            "threads part",
        ),
        (
            "for (int lane = WARP / 2; lane > 0; lane /= 2) x +=",
            "if (threadIdx.x % WARP < 16) for (int lane = 16; lane > 0; lane /= 2) x +=",
            "threads part",
        ),
    ] {
        let error = changed(from, to, Order::Forward).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("rmsnorm_forward"), "{to}: {error}");
    }
}

#[test]
fn a_missing_barrier_or_mask_changes_the_result() {
    let Some([exact, _]) = programs() else {
        return eprintln!("SKIPPED: a_missing_barrier_or_mask_changes_the_result: no C++ compiler");
    };
    let right = normed(&exact.start(Order::Forward).unwrap()).unwrap();
    for (from, to) in [
        // Sums are read before they are written.
        ("scratch[threadIdx.x / WARP] = x;\n    __syncthreads();", "scratch[threadIdx.x / WARP] = x;"),
        // The row's last values are left out: what was never written is NaN.
        ("put(y, values, first, n)", "put(y, values, first, n - 8)"),
    ] {
        let found = ORDERS.map(|order| changed(from, to, order).unwrap());
        let same = |found: &Vec<f32>| found.iter().zip(&right).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(!found.iter().all(same), "{to} is not seen");
    }
}

/// A warp that is ahead of another by several operations finds what was not written yet.
#[test]
fn a_warp_that_runs_ahead_shows_a_missing_barrier() {
    if programs().is_none() {
        return eprintln!("SKIPPED: a_warp_that_runs_ahead_shows_a_missing_barrier: no C++ compiler");
    }
    let text = "extern \"C\" __global__ void neighbours(float* y) {
    DYNAMIC_SHARED(float, shared);
    // Both warps do as much before they meet, so that only one that runs ahead is early.
    shared[threadIdx.x] = warp_sum(1.0f) + threadIdx.x;
    __syncthreads();
    const float sum = warp_sum(0.0f);
    y[threadIdx.x] = sum + shared[(threadIdx.x + 32) % 64];
}";
    let run = |text: &str, order| {
        let program = Program::with::<f32>(obvert_device::sources::COMMON, &[("neighbours", text.to_owned())]).unwrap();
        let device: Device<f32> = program.start(order).unwrap();
        let y = device.room::<f32>("y", 64).unwrap();
        device.launch("neighbours", ([1, 1, 1], 64, 256), &[y.whole()]).unwrap();
        y.read().unwrap()
    };
    let right: Vec<f32> = (0..64).map(|at| 32.0 + ((at + 32) % 64) as f32).collect();
    assert!(ORDERS.into_iter().all(|order| run(text, order) == right));
    let broken = text.replace("    __syncthreads();\n", "");
    assert!(run(&broken, Order::Mixed) == right, "warps that move on together do not show it");
    assert!([Order::Forward, Order::Backward].into_iter().all(|order| run(&broken, order) != right));
}
