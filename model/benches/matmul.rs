//! Matrix products of a layer's shapes: billions of operations per second, best of many short runs, for each class of
//! arithmetic and way of storing the weight.
//!
//!     cargo bench --workspace --bench matmul

use std::time::{Duration, Instant};

use retmask_model::Numerics;
use retmask_model::kernels::InstructionSet;
use retmask_model::kernels::matmul::{Left, LeftMatrix, Operand, PackedMatrix, Shape, matmul, product};
use retmask_model::random::Stream;

/// Rows, outputs and inputs: SmolLM2's projections at prefill, decode of 32 rows and of one, and an 8B model's.
const SHAPES: [(usize, usize, usize); 8] = [
    (512, 576, 576),
    (512, 1536, 576),
    (512, 576, 1536),
    (516, 1536, 576),
    (32, 1536, 576),
    (1, 1536, 576),
    (1, 49_152, 576),
    (512, 4096, 4096),
];

fn values(count: usize, seed: u64, round: bool) -> Vec<f32> {
    let mut stream = Stream::derive(seed, &[]);
    let value = |_| stream.normal() as f32;
    let rounded = |value: f32| f32::from_bits(value.to_bits() & 0xffff_0000);
    (0..count).map(value).map(|value| if round { rounded(value) } else { value }).collect()
}

/// Inputs and outputs of the linear layers of training, of 640 tokens, and of its head, of 480.
const TRAINED: [(usize, usize, usize); 5] =
    [(640, 576, 576), (640, 576, 192), (640, 576, 1536), (640, 1536, 576), (480, 576, 49_152)];

/// The fastest of many runs in two seconds, in GFLOP/s.
fn best(operations: usize, mut run: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    let all = Instant::now();
    while all.elapsed() < Duration::from_secs(2) {
        let began = Instant::now();
        run();
        best = best.min(began.elapsed());
    }
    operations as f64 / best.as_secs_f64() / 1e9
}

/// The three products of a linear layer in training, weights and activations packed as they are read.
fn trained() {
    println!("training: forward, gradient of the input, gradient of the weight");
    let set = InstructionSet::best();
    for (rows, inputs, outputs) in TRAINED {
        let (x, weight) = (values(rows * inputs, 1, false), values(outputs * inputs, 2, false));
        let gradient = values(rows * outputs, 3, false);
        for numerics in [Numerics::F32, Numerics::Bf16] {
            let of = |left: Left, left_rows: usize, depth: usize, right: Operand, columns: usize| {
                best(2 * rows * inputs * outputs, || {
                    let left = LeftMatrix::new(set, numerics, left, left_rows, depth);
                    drop(product(set, &left, right, columns));
                })
            };
            let by_row = Left::row_major;
            let forward =
                of(by_row(&x, inputs), rows, inputs, Operand::Transposed { data: &weight, stride: inputs }, outputs);
            let right = Operand::RowMajor { data: &weight, stride: inputs };
            let of_input = of(by_row(&gradient, outputs), rows, outputs, right, inputs);
            let right = Operand::RowMajor { data: &x, stride: inputs };
            let of_weight = of(Left::transposed(&gradient, outputs), outputs, rows, right, inputs);
            println!(
                "{rows:>5} {outputs:>6} {inputs:>6}  {numerics:>5} {forward:>6.0} {of_input:>6.0} {of_weight:>6.0}"
            );
        }
    }
}

fn main() {
    println!("threads: {}", rayon::current_num_threads());
    if std::env::args().any(|argument| argument == "trained") {
        return trained();
    }
    println!("{:>5} {:>6} {:>6}  {:>10} {:>12} {:>10}", "rows", "out", "in", "f32", "f32 (bf16 B)", "bf16");
    for (rows, columns, depth) in SHAPES {
        let x = values(rows * depth, 1, false);
        let mut line = format!("{rows:>5} {columns:>6} {depth:>6} ");
        for (numerics, round, width) in
            [(Numerics::F32, false, 11), (Numerics::F32, true, 13), (Numerics::Bf16, true, 11)]
        {
            let packed = PackedMatrix::from_weight(&values(columns * depth, 2, round), columns, depth, numerics);
            let mut out = vec![0.0; rows * columns];
            let mut run = || {
                let began = Instant::now();
                let left = Left::row_major(&x, depth);
                let shape = Shape { rows, columns, depth };
                matmul(InstructionSet::best(), shape, left, Operand::Packed(&packed), &mut out, false);
                began.elapsed()
            };
            let began = Instant::now();
            let mut best = Duration::MAX;
            while began.elapsed() < Duration::from_secs(2) {
                best = best.min(run());
            }
            let operations = 2.0 * (rows * columns * depth) as f64;
            line += &format!("{:>width$.0}", operations / best.as_secs_f64() / 1e9);
        }
        println!("{line}");
    }
}
