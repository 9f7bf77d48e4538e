//! The weights training starts from.
//!
//! All are normal random numbers, shaped so that copying is found quickly; without this the same recipe needs
//! many times the steps:
//!
//! - Token embeddings share a common direction, so that attention can depend on positions alone.
//! - Heads of the first layer start as position heads: along the common direction their queries are their keys
//!   turned back by one to three positions, at the fast rotary frequencies.
//! - In the first layer all heads, in later layers the first `matching_heads`, start with queries close to
//!   their keys and outputs close to the transpose of their values, after "Mimetic Initialization of
//!   Self-Attention Layers" (arXiv 2305.09828): equal content attracts, and what is read is written back.
//!   The other heads start without structure, which keeps the retrieval heads few.
//! - The gain of the last norm starts small, so that large embeddings do not mean large logits.

use std::f64::consts::TAU;

use retmask_model::random::Stream;
use retmask_model::spec::{ModelSpec, TensorShape};

/// Standard deviation of an embedding's own part, and of the part all share.
const EMBEDDING_DEVIATION: f64 = 0.5;
/// Standard deviation of the projections that write into the residual stream.
const OUTPUT_DEVIATION: f64 = 0.02;
/// Gain of the norm before the logits.
const FINAL_GAIN: f64 = 0.15;
/// How much more the matching heads write at the start than other heads.
const MATCHING_GAIN: f64 = 3.0;
/// Correlation of queries with keys and of outputs with values, where they start alike.
const CORRELATION: f64 = 0.9;
/// Size of the position part of a key, per frequency.
const POSITION_AMPLITUDE: f64 = 0.8;
/// Share of the random part kept in the keys of position heads.
const POSITION_NOISE: f64 = 0.3;
/// Frequencies above this (radians per position) tell neighbours apart.
const FAST_FREQUENCY: f64 = 0.05;

/// The initial weights, in the order of [`ModelSpec::tensors`].
pub fn tensors(spec: &ModelSpec, matching_heads: usize, seed: u64) -> Vec<(TensorShape, Vec<f32>)> {
    let mut tensors: Vec<(TensorShape, Vec<f64>)> =
        spec.tensors().into_iter().map(|shape| (shape.clone(), plain(spec, &shape, seed))).collect();
    let common: Vec<f64> = normals(seed, "common direction", spec.hidden_size, EMBEDDING_DEVIATION);
    for row in values(&mut tensors, "model.embed_tokens.weight").chunks_exact_mut(spec.hidden_size) {
        row.iter_mut().zip(&common).for_each(|(value, shared)| *value += shared);
    }
    for layer in 0..spec.layers.len() {
        let alike = if layer == 0 { spec.query_heads } else { matching_heads.min(spec.query_heads) };
        match_queries_to_keys(spec, &mut tensors, layer, alike);
        match_outputs_to_values(spec, &mut tensors, layer, alike);
    }
    place_position_heads(spec, &mut tensors, &common, seed);
    tensors.into_iter().map(|(shape, values)| (shape, values.into_iter().map(|value| value as f32).collect())).collect()
}

fn normals(seed: u64, name: &str, count: usize, deviation: f64) -> Vec<f64> {
    let mut stream = Stream::derive(seed, &[b"initial weights", name.as_bytes()]);
    (0..count).map(|_| deviation * stream.normal()).collect()
}

/// A tensor before anything is made alike.
fn plain(spec: &ModelSpec, shape: &TensorShape, seed: u64) -> Vec<f64> {
    if shape.name == "model.norm.weight" {
        return vec![FINAL_GAIN; shape.values()];
    }
    if shape.name.ends_with("norm.weight") {
        return vec![1.0; shape.values()];
    }
    let deviation = if shape.name == "model.embed_tokens.weight" {
        EMBEDDING_DEVIATION
    } else if shape.name.ends_with("o_proj.weight") || shape.name.ends_with("down_proj.weight") {
        OUTPUT_DEVIATION
    } else {
        input_deviation(spec)
    };
    normals(seed, &shape.name, shape.values(), deviation)
}

/// Standard deviation of the projections that read from the residual stream: outputs have unit variance.
fn input_deviation(spec: &ModelSpec) -> f64 {
    1.0 / libm::sqrt(spec.hidden_size as f64)
}

fn position_of(tensors: &[(TensorShape, Vec<f64>)], name: &str) -> usize {
    tensors.iter().position(|(shape, _)| shape.name == name).unwrap_or_else(|| unreachable!("{name} is a Llama tensor"))
}

fn values<'a>(tensors: &'a mut [(TensorShape, Vec<f64>)], name: &str) -> &'a mut Vec<f64> {
    let index = position_of(tensors, name);
    &mut tensors[index].1
}

fn attention(layer: usize, projection: &str) -> String {
    format!("model.layers.{layer}.self_attn.{projection}.weight")
}

/// The key-value head a query head reads.
fn key_value_head(spec: &ModelSpec, head: usize) -> usize {
    head * spec.key_value_heads / spec.query_heads
}

/// Mixes the keys of each head's key-value head into its queries.
fn match_queries_to_keys(spec: &ModelSpec, tensors: &mut [(TensorShape, Vec<f64>)], layer: usize, heads: usize) {
    let rest = libm::sqrt(1.0 - CORRELATION * CORRELATION);
    let width = spec.head_dim * spec.hidden_size;
    let keys = values(tensors, &attention(layer, "k_proj")).clone();
    let queries = values(tensors, &attention(layer, "q_proj"));
    for head in 0..heads {
        let from = key_value_head(spec, head) * width;
        for (query, key) in queries[head * width..(head + 1) * width].iter_mut().zip(&keys[from..from + width]) {
            *query = CORRELATION * key + rest * *query;
        }
    }
}

/// Mixes the transpose of each head's values into its columns of the output projection.
fn match_outputs_to_values(spec: &ModelSpec, tensors: &mut [(TensorShape, Vec<f64>)], layer: usize, heads: usize) {
    let rest = libm::sqrt(1.0 - CORRELATION * CORRELATION);
    let gain = if layer == 0 { 1.0 } else { MATCHING_GAIN };
    let scale = CORRELATION * OUTPUT_DEVIATION / input_deviation(spec);
    let written = values(tensors, &attention(layer, "v_proj")).clone();
    let outputs = values(tensors, &attention(layer, "o_proj"));
    let columns = spec.query_width();
    for head in 0..heads {
        for index in 0..spec.head_dim {
            let value_row = (key_value_head(spec, head) * spec.head_dim + index) * spec.hidden_size;
            for hidden in 0..spec.hidden_size {
                let output = &mut outputs[hidden * columns + head * spec.head_dim + index];
                *output = gain * (scale * written[value_row + hidden] + rest * *output);
            }
        }
    }
}

/// Makes the heads of the first layer look one position back (half of them), two (a quarter) or three.
fn place_position_heads(spec: &ModelSpec, tensors: &mut [(TensorShape, Vec<f64>)], common: &[f64], seed: u64) {
    let length = libm::sqrt(common.iter().map(|value| value * value).sum());
    let half = spec.head_dim / 2;
    let theta = spec.rotary[spec.layers[0].rotary].theta;
    let frequencies: Vec<f64> =
        (0..half).map(|pair| libm::pow(theta, -2.0 * pair as f64 / spec.head_dim as f64)).collect();
    let mut stream = Stream::derive(seed, &[b"initial weights", b"phases"]);
    let width = spec.head_dim * spec.hidden_size;
    let keys = values(tensors, &attention(0, "k_proj"));
    for key in keys.chunks_exact_mut(width) {
        key.iter_mut().for_each(|value| *value *= POSITION_NOISE);
        for (pair, frequency) in frequencies.iter().enumerate() {
            let phase = TAU * stream.uniform();
            let amplitude = if *frequency > FAST_FREQUENCY { POSITION_AMPLITUDE } else { 0.0 };
            for (row, part) in [(pair, libm::cos(phase)), (pair + half, libm::sin(phase))] {
                let row = &mut key[row * spec.hidden_size..(row + 1) * spec.hidden_size];
                row.iter_mut().zip(common).for_each(|(value, shared)| *value += amplitude * part * shared / length);
            }
        }
    }
    let keys = keys.clone();
    let queries = values(tensors, &attention(0, "q_proj"));
    for head in 0..spec.query_heads {
        let back = match 4 * head / spec.query_heads {
            0 | 1 => 1.0,
            2 => 2.0,
            _ => 3.0,
        };
        let key = &keys[key_value_head(spec, head) * width..][..width];
        let query = &mut queries[head * width..(head + 1) * width];
        for (pair, frequency) in frequencies.iter().enumerate() {
            let (sine, cosine) = (libm::sin(-back * frequency), libm::cos(-back * frequency));
            for hidden in 0..spec.hidden_size {
                let (first, second) = (pair * spec.hidden_size + hidden, (pair + half) * spec.hidden_size + hidden);
                query[first] = key[first] * cosine - key[second] * sine;
                query[second] = key[second] * cosine + key[first] * sine;
            }
        }
    }
}
