//! Every kernel compiles for GPUs, without one: no spills, no more registers than its row of the table, no warning that
//! instructions are serialised. Needs NVRTC on the library path; says so where there is none.

// Helpers of tests are tests too, which clippy's configuration cannot see.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use obvert_device::cuda::nvrtc;
use obvert_device::sources::{SOURCES, Source, kernels};

const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_90", "sm_90a"];

/// Registers of every kernel, by architecture.
type Registers = BTreeMap<String, Vec<usize>>;

/// `| kernel | sm_80 | sm_90 | sm_90a |`, a row a kernel: the most registers that it may use.
fn table() -> Registers {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/registers.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        (cells.next().unwrap(), cells.filter_map(|cell| cell.parse().ok()).collect())
    })
    .collect()
}

/// What the assembler says of each kernel: its registers, and bytes of spills.
fn used(log: &str) -> BTreeMap<String, (usize, usize)> {
    let mut found = BTreeMap::new();
    let number = |text: &str| text.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
    let mut kernel = String::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().unwrap().to_owned();
            found.insert(kernel.clone(), (0, 0));
        } else if let Some(entry) = found.get_mut(&kernel) {
            if let Some((before, after)) = line.split_once(" bytes spill stores, ") {
                entry.1 += number(before) + number(after.split_once(" bytes").unwrap().0);
            } else if let Some((_, rest)) = line.split_once("Used ") {
                entry.0 = rest.split(' ').next().unwrap().parse().unwrap();
            }
        }
    }
    found
}

fn compile(source: &Source, arch: &str) -> String {
    nvrtc::compile(source, arch, &[]).unwrap_or_else(|error| panic!("{error}")).log
}

#[test]
fn every_kernel_stays_within_its_row() {
    if !nvrtc::is_present() {
        eprintln!("SKIPPED: every_kernel_stays_within_its_row: no NVRTC");
        return;
    }
    let (table, mut faults, mut seen) = (table(), Vec::new(), Registers::new());
    for source in SOURCES {
        for (index, arch) in ARCHITECTURES.into_iter().enumerate() {
            let log = compile(source, arch);
            faults.extend(log.lines().filter(|line| line.contains("C75")).map(|line| format!("{arch}: {line}")));
            let used = used(&log);
            for kernel in kernels(source.text) {
                let (registers, spilled) = used[kernel];
                seen.entry(kernel.to_owned()).or_default().push(registers);
                let most = table.get(kernel).and_then(|row| row.get(index)).copied().unwrap_or(0);
                if registers > most || spilled > 0 {
                    faults
                        .push(format!("{kernel} on {arch}: {registers} registers of {most}, {spilled} bytes spilled"));
                }
            }
        }
    }
    let gone: Vec<_> = table.keys().filter(|kernel| !seen.contains_key(*kernel)).collect();
    let rows = |seen: &Registers| {
        let row = |(kernel, used): (&String, &Vec<usize>)| {
            let cells: Vec<String> = used.iter().map(usize::to_string).collect();
            format!("| `{kernel}` | {} |\n", cells.join(" | "))
        };
        seen.iter().map(row).collect::<String>()
    };
    assert!(faults.is_empty() && gone.is_empty(), "{}\nno kernels: {gone:?}\nnow:\n{}", faults.join("\n"), rows(&seen));
}

#[test]
fn a_spill_and_an_error_are_seen() {
    if !nvrtc::is_present() {
        eprintln!("SKIPPED: a_spill_and_an_error_are_seen: no NVRTC");
        return;
    }
    // Every value is alive until all are known, and there are more than a thread of such a block may have registers.
    let text = "extern \"C\" __global__ __launch_bounds__(1024, 2) void spills(float* x) {
    float v[96];
#pragma unroll
    for (int i = 0; i < 96; i++) v[i] = x[threadIdx.x + i * 1024];
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 96; i++) sum = sum * v[95 - i] + v[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 96; i++) x[threadIdx.x + i * 1024] = v[i] * sum;
}";
    let log = compile(&Source { name: "spills", text }, "sm_90");
    assert!(used(&log)["spills"].1 > 0, "{log}");
    let broken = Source { name: "broken", text: "\nextern \"C\" __global__ void broken() { nothing(); }" };
    let error = nvrtc::compile(&broken, "sm_90", &[]).unwrap_err().to_string();
    assert!(error.contains("broken.cu(2)") && error.contains("nothing"), "{error}");
}
