//! The other kernels. Bytes count what must be read and written, each value once.

use obvert_device::Error;
use obvert_device::ops::attention::{Attention, Saved, Sight};
use obvert_device::ops::dequantise::{self, BlockType};
use obvert_device::ops::logprob::{self, CHUNK, Expected};
use obvert_device::ops::margin::{self, Margin, Pairs};
use obvert_device::ops::rope::{self as turning, Heads, Turn};
use obvert_device::ops::{adamw as optimizer, embed, rmsnorm, sample, swiglu as gate};

use crate::bench::{Bench, FLOAT, REAL, STEP, Work};

const EPS: f32 = 1e-5;

pub fn norms(bench: &Bench) -> Result<(), Error> {
    let (device, rows, n) = (&bench.device, bench.sizes.rows(), bench.sizes.hidden);
    let (stride, shape, one) = (bench.sizes.matrices()[0].stride(), [rows, n], REAL * rows * n);
    let (x, delta, gain) = (bench.reals(rows * n)?, bench.reals(rows * n)?, bench.reals(n)?);
    let (mut sum, mut y) = (bench.reals(rows * n)?, bench.reals(rows * stride)?);
    bench.time("rmsnorm_forward", &shape, Work::bytes(2 * one), || {
        rmsnorm::forward(device, (&mut y, stride), [&x, &gain], rows, EPS)
    });
    bench.time("add_rmsnorm_forward", &shape, Work::bytes(4 * one), || {
        rmsnorm::add_forward(device, &mut sum, (&mut y, stride), (&delta, n), [&x, &gain], rows, EPS)
    });
    bench.time("rmsnorm_backward", &shape, Work::bytes(4 * one), || {
        rmsnorm::backward(device, &mut sum, (&y, stride), [&x, &gain], rows, EPS)
    });
    Ok(())
}

/// q and k, in place.
pub fn rope(bench: &Bench) -> Result<(), Error> {
    let (device, sizes, rows) = (&bench.device, bench.sizes, bench.sizes.rows());
    let (heads, longest) = (sizes.heads + sizes.kv_heads, sizes.prompt + sizes.response);
    let mut qkv = bench.reals(rows * sizes.qkv())?;
    let angles = [(); 2].map(|()| bench.floats(longest * sizes.d / 2));
    let ([cos, sin], positions) = (angles, bench.indices(rows, longest)?);
    let (cos, sin) = (cos?, sin?);
    let lie = Heads { rows, stride: sizes.qkv(), first: 0, heads, d: sizes.d };
    bench.time("rope", &[rows, heads, sizes.d], Work::bytes(2 * REAL * rows * heads * sizes.d), || {
        turning::turn(device, &mut qkv, lie, [&cos, &sin], &positions, Turn::Forward)
    });
    Ok(())
}

/// Of pairs and a text. A backward is 2.5 times a forward: what its kernels compute twice does not count.
pub fn attention(bench: &Bench) -> Result<(), Error> {
    let (device, sizes, rows) = (&bench.device, bench.sizes, bench.sizes.rows());
    let branches = [sizes.response; 2];
    let pairs = std::iter::repeat_n((sizes.prompt, &branches[..]), sizes.pairs);
    let sight = Sight::new(device, pairs.chain([(sizes.prompt, &[][..])]))?;
    let layer = Attention { heads: sizes.heads, kv_heads: sizes.kv_heads, head_dim: sizes.d, sight: &sight };
    let (width, wide, flops) = (sizes.heads * sizes.d, sizes.qkv(), 4 * sizes.heads * sizes.d * sizes.seen());
    let (qkv, d_out, mut d_qkv) = (bench.reals(rows * wide)?, bench.reals(rows * width)?, bench.reals(rows * wide)?);
    let (mut out, mut lse) = (bench.reals(rows * width)?, bench.floats(rows * sizes.heads)?);
    let (mut delta, shape) = (bench.floats(rows * sizes.heads)?, [rows, sizes.heads, sizes.kv_heads, sizes.d]);
    let work = Work { bytes: REAL * rows * (wide + width), flops };
    bench.time("attention_forward", &shape, work, || layer.forward(device, (&mut out, width), &mut lse, (&qkv, wide)));
    let saved = Saved { qkv: (&qkv, wide), out: (&out, width), d_out: (&d_out, width), lse: &lse };
    let work = Work { bytes: 2 * work.bytes, flops: flops / 2 * 5 };
    bench.time("attention_delta, _dq, _dkdv", &shape, work, || {
        layer.backward(device, (&mut d_qkv, wide), &mut delta, &saved)
    });
    Ok(())
}

pub fn swiglu(bench: &Bench) -> Result<(), Error> {
    let (device, rows, f) = (&bench.device, bench.sizes.rows(), bench.sizes.ffn);
    let (stride, one) = (bench.sizes.matrices()[3].stride(), REAL * rows * f);
    let (mut gate_up, mut h) = (bench.reals(rows * 2 * f)?, bench.reals(rows * stride)?);
    bench.time("swiglu_forward", &[rows, f], Work::bytes(3 * one), || {
        gate::forward(device, (&mut h, stride), (&gate_up, 2 * f), [rows, f])
    });
    bench.time("swiglu_backward", &[rows, f], Work::bytes(5 * one), || {
        gate::backward(device, (&mut gate_up, 2 * f), (&h, stride), [rows, f])
    });
    Ok(())
}

/// Rows of the embedding picked, and the targets' gradients put back; each row has a target at most.
pub fn rows(bench: &Bench) -> Result<(), Error> {
    let (device, sizes) = (&bench.device, bench.sizes);
    let (rows, targets, width) = (sizes.rows(), sizes.targets(), sizes.hidden);
    let (table, tokens) = (bench.reals(sizes.vocab * width)?, bench.indices(rows, sizes.vocab)?);
    let mut x = bench.reals(rows * width)?;
    bench.time("gather_rows", &[rows, width], Work::bytes(2 * REAL * rows * width), || {
        embed::gather(device, &mut x, (&table, width), &tokens, [rows, width])
    });
    let firsts: Vec<i32> = (0..=rows).map(|row| (row * targets / rows) as i32).collect();
    let order: Vec<i32> = (0..targets as i32).collect();
    let (first, order) = (device.copy("first", &firsts)?, device.copy("order", &order)?);
    let sequences = bench.indices(targets, 2 * sizes.pairs)?;
    let (coefficients, d_gathered) = (bench.floats(2 * sizes.pairs)?, bench.reals(targets * width)?);
    let lists = embed::Targets { first: &first, order: &order, sequences: &sequences, coefficients: &coefficients };
    bench.time("scatter_rows", &[rows, targets, width], Work::bytes(REAL * (rows + targets) * width), || {
        embed::scatter(device, &mut x, &d_gathered, lists, [rows, width])
    });
    Ok(())
}

/// A chunk in the middle of the vocabulary, and the end.
pub fn logprob(bench: &Bench) -> Result<(), Error> {
    let (device, sizes, n) = (&bench.device, bench.sizes, bench.sizes.targets());
    let (chunk, width) = (CHUNK.min(sizes.vocab / 2), sizes.hidden);
    let (logits, targets) = (bench.floats(n * chunk)?, bench.indices(n, sizes.vocab)?);
    let (mut weights, mut sums) = (bench.reals(n * chunk)?, bench.floats(n * width)?);
    let (mut state, head) = (bench.floats(3 * n)?, bench.reals(sizes.vocab * width)?);
    let (mut logps, mut gradient) = (bench.floats(n)?, bench.reals(n * width)?);
    logprob::absorb(device, &mut state, None, &logits, &targets, 0..chunk)?;
    bench.time("logprob_absorb", &[n, chunk], Work::bytes((FLOAT + REAL) * n * chunk), || {
        let expected = Some(Expected { weights: &mut weights, sums: &mut sums });
        logprob::absorb(device, &mut state, expected, &logits, &targets, chunk..2 * chunk)
    });
    bench.time("logprob_absorb, no gradient", &[n, chunk], Work::bytes(FLOAT * n * chunk), || {
        logprob::absorb(device, &mut state, None, &logits, &targets, chunk..2 * chunk)
    });
    bench.time("logprob_finish", &[n, width], Work::bytes((FLOAT + 2 * REAL) * n * width), || {
        logprob::finish(device, &mut logps, Some((&mut gradient, &sums)), &state, (&head, width), &targets)
    });
    Ok(())
}

/// Too little to fill a GPU: what counts is the time.
pub fn margin(bench: &Bench) -> Result<(), Error> {
    let (device, sizes, pairs) = (&bench.device, bench.sizes, bench.sizes.pairs);
    let firsts: Vec<i32> = (0..=2 * pairs).map(|at| (at * sizes.response) as i32).collect();
    let (logps, first) = (bench.floats(sizes.targets())?, device.copy("first", &firsts)?);
    let (mut policy, reference, gaps) = (bench.floats(2 * pairs)?, bench.floats(2 * pairs)?, bench.floats(pairs)?);
    bench.time("response_sums", &[sizes.targets()], Work::bytes(FLOAT * sizes.targets()), || {
        margin::response_sums(device, &mut policy, &logps, &first, 2 * pairs)
    });
    let (mut terms, mut slopes, mut sum) = (bench.floats(pairs)?, bench.floats(2 * pairs)?, bench.floats(1)?);
    let known = Pairs { policy: &policy, reference: &reference, gaps: &gaps };
    let loss = Margin { beta: 0.1, per_gap: 0.05, total: pairs };
    bench.time("margin_terms", &[pairs], Work::bytes(FLOAT * 8 * pairs), || {
        margin::terms(device, [&mut terms, &mut slopes, &mut sum], known, pairs, loss)
    });
    Ok(())
}

/// The whole adapter at once.
pub fn adamw(bench: &Bench) -> Result<(), Error> {
    let (device, n) = (&bench.device, bench.sizes.adapter());
    let (gradient, mut state) = (bench.floats(n)?, [bench.floats(n)?, bench.floats(n)?, device.zeros("v", n)?]);
    let (mut clip, mut partial) = (device.room("clip", 2)?, device.room("partial", optimizer::PARTIALS)?);
    bench.time("sum_squares, clip_factor", &[n], Work::bytes(FLOAT * n), || {
        optimizer::clip(device, &mut clip, &mut partial, &gradient, 1.0)
    });
    bench.time("adamw", &[n], Work::bytes(7 * FLOAT * n), || {
        optimizer::update(device, state.each_mut(), &gradient, &clip, STEP)
    });
    Ok(())
}

/// Tokens drawn, of logits so flat that nothing is spared; they are read once and overwritten. Blocks of GGUF widened.
pub fn generation(bench: &Bench) -> Result<(), Error> {
    let (device, n, vocab) = (&bench.device, bench.sizes.drawn, bench.sizes.vocab);
    let (mut tokens, mut logits) = (bench.indices(n, vocab)?, bench.floats(n * vocab)?);
    for (name, setting) in [("greedy", [0.0, 1.0, 0.5]), ("all", [1.0, 1.0, 0.5]), ("top-p 0.9", [1.0, 0.9, 0.5])] {
        let settings = device.copy("settings", &vec![setting; n])?;
        bench.time(&format!("sample_tokens, {name}"), &[n, vocab], Work::bytes(2 * FLOAT * n * vocab), || {
            sample::tokens(device, &mut tokens, &mut logits, &settings, [n, vocab])
        });
    }
    let (rows, n) = (bench.sizes.ffn, bench.sizes.hidden.next_multiple_of(256));
    let mut y = bench.reals(rows * n)?;
    for kind in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1, BlockType::Q6K] {
        let (weights, bytes) = kind.block();
        let blocks = bench.bytes(rows * n / weights * bytes)?;
        bench.time(&format!("dequantise {kind:?}"), &[rows, n], Work::bytes(blocks.len() + REAL * rows * n), || {
            dequantise::rows(device, (&mut y, 0, n), (kind, &blocks, 0), [rows, n])
        });
    }
    Ok(())
}
