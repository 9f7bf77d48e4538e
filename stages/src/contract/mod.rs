//! What a stage kind declares and what it is given when it runs.

mod context;
mod error;
mod kind;
mod ports;
mod rows;

pub use context::{CHECKPOINT_INTERVAL, Cancel, Context, Progress, SilentProgress};
pub use error::{Fault, StageError, StageResult};
pub use kind::{Kind, ParameterError};
pub use ports::{Arity, Input, InputPort, Inputs, OutputPort, Outputs};
pub use rows::{Claim, NoRows, RowContent, RowCounts, RowKeeper, RowKey, RowScope, Rows};
