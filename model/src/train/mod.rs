//! Training: one loop for every objective, with layer-by-layer recomputation and f32 optimiser state.

mod adamw;
mod gradients;
mod objective;
mod run;
mod schedule;

pub use adamw::{AdamW, AdamWSettings};
pub use gradients::Gradients;
pub use objective::{CrossEntropy, Evaluation, Objective};
pub use run::{BatchSource, MicroBatch, StepReport, TrainingSequence, train};
pub use schedule::{LearningRate, Warmup};
