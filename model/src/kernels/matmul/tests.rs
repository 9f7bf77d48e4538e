//! Every path gives the bits of the definition.

use proptest::prelude::*;

use super::*;
use crate::kernels::bf16::{round_row, rounded};

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 2_654_435_761 + seed * 40_503) % 2_001) as f32 / 1_000.0 - 1.0).collect()
}

/// The definition: k ascending, fused multiply-add.
fn reference(shape: Shape, a: Left, b: impl Fn(usize, usize) -> f32, start: &[f32]) -> Vec<u32> {
    let mut out = Vec::new();
    for i in 0..shape.rows {
        for j in 0..shape.columns {
            let mut sum = start[i * shape.columns + j];
            for k in 0..shape.depth {
                sum = a.data[i * a.row_stride + k * a.depth_stride].mul_add(b(k, j), sum);
            }
            out.push(sum.to_bits());
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_path_gives_the_bits_of_the_definition(
        rows in 1usize..40, columns in 1usize..100, depth in 0usize..70, accumulate: bool, transposed: bool,
        narrow: bool,
    ) {
        let shape = Shape { rows, columns, depth };
        let left = values(rows * depth, 1);
        let a = if transposed { Left::transposed(&left, rows) } else { Left::row_major(&left, depth) };
        let mut weight = values(columns * depth, 2);
        if narrow {
            weight.iter_mut().for_each(|value| *value = half::bf16::from_f32(*value).to_f32());
        }
        let start = if accumulate { values(rows * columns, 3) } else { vec![0.0; rows * columns] };
        let as_weight = reference(shape, a, |k, j| weight[j * depth + k], &start);
        let as_rows = reference(shape, a, |k, j| weight[k * columns + j], &start);
        let packed = PackedMatrix::from_weight(&weight, columns, depth, Numerics::F32);
        let fits = depth % 2 == 0 && weight.iter().all(|value| value.to_bits() & 0xffff == 0);
        // These values have few exponents, so they take as little as they can.
        prop_assert_eq!(packed.bytes() as u64, PackedMatrix::bytes_of(columns, depth, Numerics::F32, fits).usual);
        for set in InstructionSet::available() {
            for (operand, expected) in [
                (Operand::Packed(&packed), &as_weight),
                (Operand::Transposed { data: &weight, stride: depth }, &as_weight),
                (Operand::RowMajor { data: &weight, stride: columns }, &as_rows),
            ] {
                let mut out = start.clone();
                matmul(set, shape, a, operand, &mut out, accumulate);
                let bits: Vec<u32> = out.iter().map(|value| value.to_bits()).collect();
                prop_assert!(&bits == expected, "{set:?} {shape:?}", shape = (rows, columns, depth));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_path_of_the_bf16_class_gives_the_bits_of_its_definition(
        rows in 1usize..40, columns in 1usize..100, depth in 0usize..70, accumulate: bool, transposed: bool,
        small: bool,
    ) {
        // Small values make sums that are denormal, which are flushed.
        let scale = if small { 1e-19 } else { 1.0 };
        let scaled = |seed, count| values(count, seed).into_iter().map(|value| value * scale).collect::<Vec<f32>>();
        let (left, weight) = (scaled(1, rows * depth), scaled(2, columns * depth));
        let a = if transposed { Left::transposed(&left, rows) } else { Left::row_major(&left, depth) };
        let start = if accumulate { scaled(3, rows * columns) } else { vec![0.0; rows * columns] };
        let packed = PackedMatrix::from_weight(&weight, columns, depth, Numerics::Bf16);
        let flush = |value: f32| if value.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(value) } else { value };
        let round = |value: f32| half::bf16::from_f32(flush(value)).to_f32();
        let mut expected = Vec::new();
        for (index, &start) in start.iter().enumerate() {
            let (i, j) = (index / columns, index % columns);
            let product = |k: usize, sum: f32| {
                // An odd depth is padded with 0.
                let (left, right) = if k < depth {
                    (a.data[i * a.row_stride + k * a.depth_stride], weight[j * depth + k])
                } else {
                    (0.0, 0.0)
                };
                flush(round(left).mul_add(round(right), sum))
            };
            let pairs = (0..depth).step_by(2);
            expected.push(pairs.fold(start, |sum, k| product(k, product(k + 1, sum))).to_bits());
        }
        for set in InstructionSet::available() {
            let mut out = start.clone();
            matmul(set, Shape { rows, columns, depth }, a, Operand::Packed(&packed), &mut out, accumulate);
            let bits: Vec<u32> = out.iter().map(|value| value.to_bits()).collect();
            prop_assert!(bits == expected, "{set:?} {shape:?}", shape = (rows, columns, depth));
            let left = LeftMatrix::new(set, Numerics::Bf16, a, rows, depth);
            let by_row: Vec<f32> =
                (0..depth * columns).map(|place| weight[place % columns * depth + place / columns]).collect();
            let halves: Vec<u16> = by_row.iter().map(|&value| rounded(value) as u16).collect();
            for operand in [
                Operand::Transposed { data: &weight, stride: depth },
                Operand::RowMajor { data: &by_row, stride: columns },
                Operand::RowMajorBf16 { data: &halves, stride: columns },
            ] {
                let mut out = start.clone();
                multiply(set, &left, operand, columns, &mut out, accumulate);
                let bits: Vec<u32> = out.iter().map(|value| value.to_bits()).collect();
                prop_assert!(bits == expected, "{set:?} {shape:?}", shape = (rows, columns, depth));
            }
        }
    }
}

#[test]
fn bf16_weights_take_twelve_bits_a_value() {
    // 3 panels of 576 k in blocks of 32: 12 bits a value, 17 bytes a block, and where panels start and end.
    let packed = |values: &[f32], numerics| PackedMatrix::from_weight(values, 96, 576, numerics).bytes();
    let narrow = values(96 * 576, 5);
    assert_eq!(packed(&narrow, Numerics::Bf16), 96 * 576 * 12 / 8 + 3 * 18 * 17 + 4 * 8);
    assert_eq!(packed(&narrow, Numerics::F32), 96 * 576 * 4, "the values do not fit bf16");
    // Too many exponents: 16 bits.
    let wide: Vec<f32> = (0..96 * 576).map(|index| f32::from_bits((index as u32 * 0x55_0000) & 0x7f7f_0000)).collect();
    assert_eq!(packed(&wide, Numerics::F32), 96 * 576 * 2 + 3 * 18 * 17 + 4 * 8);
    let bytes = PackedMatrix::bytes_of(96, 576, Numerics::F32, true);
    assert_eq!(
        (bytes.usual, bytes.most),
        (packed(&narrow, Numerics::Bf16) as u64, packed(&wide, Numerics::F32) as u64)
    );
}

#[test]
fn products_of_paired_rows_and_with_rows_apart_are_the_same() {
    let set = InstructionSet::best();
    for (rows, columns, depth) in [(30, 70, 64), (5, 33, 51), (61, 96, 2)] {
        let round = |values: Vec<f32>| values.into_iter().map(|value| f32::from_bits(rounded(value) << 16));
        let left: Vec<f32> = round(values(rows * depth, 1)).collect();
        let (right, by_row) = (values(columns * depth, 2), values(columns * rows, 3));
        let stride = depth.div_ceil(2) + 3;
        let mut pairs = vec![u32::MAX; rows * stride];
        for (row, pairs) in left.chunks_exact(depth).zip(pairs.chunks_exact_mut(stride)) {
            round_row(set, row, &mut pairs[..depth.div_ceil(2)]);
        }
        let source = PairedRows { pairs: &pairs, stride };
        let b = Operand::Transposed { data: &right, stride: depth };
        let expected =
            product(set, &LeftMatrix::new(set, Numerics::Bf16, Left::row_major(&left, depth), rows, depth), b, columns);
        assert_eq!(product(set, &LeftMatrix::paired(source, rows, depth), b, columns), expected);
        let apart = row_stride(columns);
        let found = product_apart(set, &LeftMatrix::paired(source, rows, depth), b, columns, apart);
        for (found, expected) in found.chunks_exact(apart).zip(expected.chunks_exact(columns)) {
            assert_eq!(&found[..columns], expected);
        }
        let b = Operand::RowMajor { data: &by_row, stride: columns };
        let transposed = LeftMatrix::new(set, Numerics::Bf16, Left::transposed(&left, depth), depth, rows);
        let paired = LeftMatrix::paired_transposed(set, source, depth, rows);
        assert_eq!(product(set, &paired, b, columns), product(set, &transposed, b, columns));
    }
}

#[test]
fn a_column_comes_back_as_it_was_packed() {
    let mut weight = values(45 * 7, 4);
    for numerics in [Numerics::F32, Numerics::F32, Numerics::Bf16] {
        for depth in [6, 7] {
            let packed = PackedMatrix::from_weight(&weight[..45 * depth], 45, depth, numerics);
            let mut row = vec![0.0; depth];
            packed.copy_column(40, &mut row);
            assert_eq!(row, weight[40 * depth..41 * depth]);
        }
        // After the first round the values fit bf16.
        weight.iter_mut().for_each(|value| *value = half::bf16::from_f32(*value).to_f32());
    }
}
