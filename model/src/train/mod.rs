//! Training: one loop for every objective, with layer-by-layer recomputation and f32 optimiser state.

mod adamw;
mod checkpoint;
mod gradients;
mod objective;
mod packing;
mod run;
mod schedule;
mod scored;

pub use adamw::{AdamW, AdamWSettings, Decayed};
pub use checkpoint::Checkpoints;
pub use gradients::Gradients;
pub use objective::{CrossEntropy, Evaluation, Objective};
pub use run::{
    BatchSource, Measured, MicroBatch, Observer, StepReport, TrainingSequence, TrainingSettings, measure, train,
};
pub use schedule::{LearningRate, Warmup};
pub use scored::scored_logprobs;
