//! The columns of every table artifact: name, type, whether a value may be missing, and what it means.
//! An artifact holds what its readers read, and nothing of how or when it was made.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};

use super::Media;

/// A nullable list of non-null items, as Parquet readers in Python expect it (item field `item`).
pub fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

/// A conversation turn: `{role, content}`, as TRL and `datasets` read it.
pub fn message() -> DataType {
    DataType::Struct(Fields::from(vec![
        Field::new("role", DataType::Utf8, false),
        Field::new("content", DataType::Utf8, false),
    ]))
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// The schema of a table artifact; `None` for media that are not tables.
pub fn of(media: Media) -> Option<Schema> {
    use DataType::{Boolean, Float64, LargeUtf8, UInt32, UInt64, Utf8};
    let fields = match media {
        // `score` is the mean over counted trials; `trial_scores` holds the counted trials in trial order.
        Media::HeadScores => vec![
            required("layer", UInt32),
            required("head", UInt32),
            required("score", Float64),
            required("trial_scores", list_of(Float64)),
        ],
        // One row. `gini` is the Gini coefficient of the scores, the paper's measure of sparsity.
        Media::HeadScoreSummary => vec![
            required("trials", UInt32),
            required("counted", UInt32),
            required("heads", UInt32),
            required("heads_at_zero", UInt32),
            required("best_score", Float64),
            required("gini", Float64),
        ],
        // `depth` in percent; `needle_start..needle_end` are token positions in the prompt (absent where the
        // needle was not found in it); `rouge1_recall` from 0 to 1.
        Media::Trials => vec![
            required("needle", UInt32),
            required("context_length", UInt32),
            required("depth", UInt32),
            required("prompt_tokens", UInt32),
            optional("needle_start", UInt32),
            optional("needle_end", UInt32),
            required("response", Utf8),
            required("output_ids", list_of(UInt32)),
            required("rouge1_recall", Float64),
            required("counted", Boolean),
        ],
        Media::Mask => vec![required("layer", UInt32), required("head", UInt32)],
        // `prompt`, `chosen`, `rejected` are conversations; `row_id` is a digest of the prompt and sample index.
        Media::Pairs => vec![
            required("row_id", Utf8),
            required("prompt", list_of(message())),
            required("chosen", list_of(message())),
            required("rejected", list_of(message())),
            required("sample_index", UInt32),
            required("chosen_stop", Utf8),
            required("rejected_stop", Utf8),
            required("prompt_tokens", UInt32),
            required("chosen_tokens", UInt32),
            required("rejected_tokens", UInt32),
        ],
        // `row_id` is that of the pair it was sampled for; `side` is `chosen`, `rejected` or `candidate`; `fate` is `kept`, or
        // why there is no pair; `text` and `prompt` are absent where they stand in the pair. All responses of a run
        // together may have more bytes than 32 bits count.
        Media::Responses => vec![
            required("row_id", Utf8),
            required("sample_index", UInt32),
            required("side", Utf8),
            required("fate", Utf8),
            required("prompt_tokens", UInt32),
            required("tokens", UInt32),
            optional("stop", Utf8),
            required("truncated", Boolean),
            required("loop", Boolean),
            optional("score", Float64),
            optional("reasoning", LargeUtf8),
            optional("text", LargeUtf8),
            optional("prompt", LargeUtf8),
            optional("problem", Utf8),
        ],
        // `of` is `records`, `responses` or `pairs`.
        Media::SamplingCounts => vec![required("of", Utf8), required("what", Utf8), required("count", UInt64)],
        // Sums of log-probabilities over response tokens under the reference model, in nats.
        Media::ReferenceLogprobs => vec![
            required("row_id", Utf8),
            required("sample_index", UInt32),
            required("chosen", Float64),
            required("rejected", Float64),
            required("chosen_tokens", UInt32),
            required("rejected_tokens", UInt32),
            required("numerics", Utf8),
        ],
        // `grad_norm` before clipping; `margin` is beta times the difference of log-ratios, mean over the
        // batch; the preference columns are absent when pre-training.
        Media::TrainingMetrics => vec![
            required("step", UInt32),
            required("epoch", Float64),
            required("loss", Float64),
            required("grad_norm", Float64),
            required("learning_rate", Float64),
            required("tokens", UInt64),
            optional("margin", Float64),
            optional("accuracy", Float64),
            optional("chosen_logprob", Float64),
            optional("rejected_logprob", Float64),
        ],
        // `weights` is `trained` (f32) or `stored` (as in the checkpoint); `split` is `train` or `held-out`; the rest
        // are means over that split's pairs.
        Media::TrainingEvaluation => vec![
            required("step", UInt32),
            required("weights", Utf8),
            required("split", Utf8),
            required("pairs", UInt32),
            required("loss", Float64),
            required("margin", Float64),
            required("accuracy", Float64),
            required("chosen_logprob", Float64),
            required("rejected_logprob", Float64),
        ],
        // `split` is `train` or `held-out`; margins under the start model are 0 by definition, so what is
        // kept before training is the log-probability sums; accuracy is margin > 0.
        Media::PairMargins => vec![
            required("row_id", Utf8),
            required("sample_index", UInt32),
            required("split", Utf8),
            required("chosen_before", Float64),
            required("rejected_before", Float64),
            required("chosen_after", Float64),
            required("rejected_after", Float64),
            required("margin_after", Float64),
        ],
        // `example` counts from 0 within (dataset, length); `cluster` names the independent unit for
        // bootstrap (e.g. the question, when it is asked at several depths); `generated` is what was scored,
        // before post-processing; `facts` is a JSON object with what the dataset's metric needs besides answers.
        Media::Predictions => vec![
            required("dataset", Utf8),
            required("length", UInt32),
            required("example", UInt32),
            required("cluster", Utf8),
            required("prompt_tokens", UInt32),
            required("generated_tokens", UInt32),
            required("stop", Utf8),
            required("output", Utf8),
            required("answers", list_of(Utf8)),
            required("facts", Utf8),
        ],
        // `value` from 0 to 1.
        Media::ExampleScores => vec![
            required("dataset", Utf8),
            required("length", UInt32),
            required("example", UInt32),
            required("cluster", Utf8),
            required("metric", Utf8),
            required("value", Float64),
        ],
        // `value`, `low`, `high` from 0 to 100: mean and 95 % bootstrap interval over clusters. `primary` marks
        // the metric HELMET reports. A category's own row has dataset = the empty string.
        Media::ScoreSummary => vec![
            required("category", Utf8),
            required("dataset", Utf8),
            required("length", UInt32),
            required("metric", Utf8),
            required("primary", Boolean),
            required("value", Float64),
            required("low", Float64),
            required("high", Float64),
            required("examples", UInt32),
        ],
        // What has to be known of a dataset's scores at a length; `metric` is empty where it is about all of them.
        Media::ScoreNotes => vec![
            required("category", Utf8),
            required("dataset", Utf8),
            required("length", UInt32),
            required("metric", Utf8),
            required("note", Utf8),
        ],
        // `expected` is what is right, where that is one text; `facts` a JSON object with what the scores are made of.
        Media::GeneralAnswers => vec![
            required("task", Utf8),
            required("example", UInt32),
            required("prompt_tokens", UInt32),
            required("generated_tokens", UInt32),
            required("stop", Utf8),
            required("output", Utf8),
            required("expected", Utf8),
            required("facts", Utf8),
        ],
        // `value` is a share from 0 to 1, or nats; `cluster` the independent unit: the prompt of an instruction.
        Media::GeneralScores => vec![
            required("task", Utf8),
            required("example", UInt32),
            required("cluster", Utf8),
            required("metric", Utf8),
            required("value", Float64),
        ],
        // Shares are from 0 to 100, `nll` and `perplexity` in their own unit; no value where nothing was scored.
        Media::GeneralSummary => vec![
            required("task", Utf8),
            required("type", Utf8),
            required("metric", Utf8),
            optional("value", Float64),
            optional("low", Float64),
            optional("high", Float64),
            required("examples", UInt32),
            required("note", Utf8),
        ],
        // Text for people, in reading order; several figures of one `value` are separated by ` | `.
        Media::ReportSummary => {
            vec![required("section", Utf8), required("item", Utf8), required("value", Utf8)]
        }
        Media::Model
        | Media::Needles
        | Media::Instructions
        | Media::HelmetData
        | Media::PromptTemplates
        | Media::JudgePrompts
        | Media::PunktParameters
        | Media::EvaluationSet
        | Media::Tokenizer
        | Media::PublishedScores
        | Media::PreferenceSet
        | Media::File
        | Media::Folder
        | Media::ReportPage => return None,
    };
    Some(Schema::new(fields))
}
