//! The rotary tables of a config.json, in both spellings: `rope_theta` with `rope_scaling` (released checkpoints),
//! and `rope_parameters`, flat or per layer type (transformers 5). Where both stand, they must agree.

use super::json_object::JsonObject;
use super::{Family, RotaryScaling, RotarySpec};

/// The tables of layers that see everything and of layers that see a window.
#[derive(Debug, Clone)]
pub(super) struct RotaryTables {
    pub full: RotarySpec,
    pub sliding: RotarySpec,
}

impl RotaryTables {
    /// One table for all layers.
    pub fn one(table: RotarySpec) -> Self {
        Self { sliding: table.clone(), full: table }
    }
}

/// What one spelling says of one table.
#[derive(Debug, Clone, Default)]
struct StatedTable {
    theta: Option<f64>,
    scaling: Option<RotaryScaling>,
}

/// Reads the tables. Olmo-3 scales those of full-attention layers only, unless the field `rope_by_layer_type` is
/// false: then one table serves all layers, as in the releases of transformers that computed one.
///
/// # Errors
/// Which setting is unknown, missing, out of range or contradicted.
pub(super) fn read(config: &JsonObject, family: Family) -> Result<RotaryTables, String> {
    let by_layer_type = config.boolean("rope_by_layer_type")?;
    if by_layer_type.is_some() && family != Family::Olmo3 {
        return Err(format!("`rope_by_layer_type` is stated, but only `olmo3` models have it, not `{family}`"));
    }
    let by_layer_type = by_layer_type.unwrap_or(true);
    let sliding_of = |full: &StatedTable| StatedTable {
        theta: full.theta,
        scaling: match (family, by_layer_type) {
            (Family::Olmo3, true) => full.scaling.as_ref().map(|_| RotaryScaling::None),
            _ => full.scaling.clone(),
        },
    };
    let older = older_spelling(config)?;
    let older_sliding = sliding_of(&older);
    let (newer, newer_sliding) = match config.object("rope_parameters")? {
        Some(parameters) if parameters.is_nested() => nested(&parameters, config, family, by_layer_type)?,
        Some(parameters) => {
            let full = stated_table(&parameters, config)?;
            let sliding = sliding_of(&full);
            (full, sliding)
        }
        None => Default::default(),
    };
    Ok(RotaryTables { full: merged(older, newer, family)?, sliding: merged(older_sliding, newer_sliding, family)? })
}

fn older_spelling(config: &JsonObject) -> Result<StatedTable, String> {
    let of_scaling = match config.object("rope_scaling")? {
        Some(scaling) if scaling.is_nested() => return Err(differs_by_layer_type(&scaling)),
        Some(scaling) => stated_table(&scaling, config)?,
        None => StatedTable::default(),
    };
    Ok(StatedTable { theta: config.number("rope_theta")?.or(of_scaling.theta), scaling: of_scaling.scaling })
}

/// `rope_parameters` with an object per layer type.
fn nested(
    parameters: &JsonObject,
    config: &JsonObject,
    family: Family,
    by_layer_type: bool,
) -> Result<(StatedTable, StatedTable), String> {
    if family != Family::Olmo3 {
        return Err(differs_by_layer_type(parameters));
    }
    let types = ["full_attention", "sliding_attention"];
    if let Some(other) = parameters.keys().find(|key| !types.contains(key)) {
        return Err(format!("`{}` is not a layer type; `{}` and `{}` are", parameters.path(other), types[0], types[1]));
    }
    let table = |layer_type: &str| {
        let settings = parameters.object(layer_type)?.ok_or_else(|| parameters.missing(layer_type))?;
        stated_table(&settings, config)
    };
    let (full, sliding) = (table(types[0])?, table(types[1])?);
    if !by_layer_type && (full.theta != sliding.theta || full.scaling != sliding.scaling) {
        return Err("`rope_by_layer_type` is false, but `rope_parameters` states two different tables".into());
    }
    Ok((full, sliding))
}

fn differs_by_layer_type(settings: &JsonObject) -> String {
    format!("`{}` differs by layer type, which is not supported for this family", settings.place)
}

fn stated_table(settings: &JsonObject, config: &JsonObject) -> Result<StatedTable, String> {
    Ok(StatedTable { theta: settings.number("rope_theta")?, scaling: Some(scaling(settings, config)?) })
}

fn merged(older: StatedTable, newer: StatedTable, family: Family) -> Result<RotarySpec, String> {
    let differ = older.theta.zip(newer.theta).is_some_and(|(older, newer)| older != newer)
        || older.scaling.as_ref().zip(newer.scaling.as_ref()).is_some_and(|(older, newer)| older != newer);
    if differ {
        return Err("`rope_parameters` contradicts `rope_theta` and `rope_scaling`".into());
    }
    Ok(RotarySpec {
        theta: newer.theta.or(older.theta).unwrap_or(family.default_theta()),
        scaling: newer.scaling.or(older.scaling).unwrap_or(RotaryScaling::None),
    })
}

/// The scaling named by `rope_type` (formerly `type`).
fn scaling(settings: &JsonObject, config: &JsonObject) -> Result<RotaryScaling, String> {
    let place = &settings.place;
    let kind = match (settings.text("rope_type")?, settings.text("type")?) {
        (Some(kind), Some(former)) if kind != former => {
            return Err(format!("`{place}.rope_type` is `{kind}`, but `{place}.type` is `{former}`"));
        }
        (Some(kind), _) | (None, Some(kind)) => kind,
        (None, None) if settings.keys().all(|key| key == "rope_theta") => "default",
        (None, None) => return Err(format!("`{place}` has no `rope_type`: how positions are scaled cannot be known")),
    };
    let (scaling, known): (_, &[&str]) = match kind {
        "default" => (RotaryScaling::None, &[]),
        "linear" => (RotaryScaling::Linear { factor: settings.required_number("factor")? }, &["factor"]),
        "llama3" => (
            RotaryScaling::Llama3 {
                factor: settings.required_number("factor")?,
                low_frequency_factor: settings.required_number("low_freq_factor")?,
                high_frequency_factor: settings.required_number("high_freq_factor")?,
                original_context: settings.required_integer("original_max_position_embeddings")?,
            },
            &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
        ),
        "yarn" => (yarn(settings, config)?, &YARN_SETTINGS),
        other => {
            return Err(format!(
                "the rotary type `{other}` ({place}) is not known; `default`, `linear`, `llama3` and `yarn` are"
            ));
        }
    };
    let always = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
    if let Some(factor) = settings.number("partial_rotary_factor")?
        && factor != 1.0
    {
        return Err(format!("`{place}.partial_rotary_factor` is {factor}; only 1 is supported"));
    }
    match settings.keys().find(|key| !always.contains(key) && !known.contains(key) && settings.get(key).is_some()) {
        Some(key) => Err(format!(
            "`{place}.{key}` is not a setting of the rotary type `{kind}`; leaving it out could change results"
        )),
        None => Ok(scaling),
    }
}

const YARN_SETTINGS: [&str; 8] = [
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
    "truncate",
];

/// YaRN with the reference implementation's defaults: betas of 32 and 1, borders rounded, and the attention factor
/// 0.1·ln(factor) + 1, or the ratio of two such with `mscale` and `mscale_all_dim` before the logarithm.
fn yarn(settings: &JsonObject, config: &JsonObject) -> Result<RotaryScaling, String> {
    let factor = settings.required_number("factor")?;
    let original = settings.integer("original_max_position_embeddings")?;
    let original = original.map_or_else(|| config.integer("max_position_embeddings"), |original| Ok(Some(original)))?;
    let (mscale, mscale_all_dim) = (settings.number("mscale")?, settings.number("mscale_all_dim")?);
    let attention_factor = match (settings.number("attention_factor")?, mscale, mscale_all_dim) {
        (Some(stated), ..) => stated,
        (None, Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => {
            yarn_attention_factor(factor, mscale) / yarn_attention_factor(factor, all)
        }
        _ => yarn_attention_factor(factor, 1.0),
    };
    Ok(RotaryScaling::Yarn {
        factor,
        beta_fast: settings.number("beta_fast")?.unwrap_or(32.0),
        beta_slow: settings.number("beta_slow")?.unwrap_or(1.0),
        attention_factor,
        original_context: original.ok_or_else(|| settings.missing("original_max_position_embeddings"))?,
        truncate: settings.boolean("truncate")?.unwrap_or(true),
    })
}

/// The attention factor that the YaRN paper recommends for a context longer by `factor`.
pub(super) fn yarn_attention_factor(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * libm::log(factor) + 1.0 }
}

/// Checks a table's numbers.
///
/// # Errors
/// Which number is out of range.
pub(super) fn check(rotary: &RotarySpec) -> Result<(), String> {
    if !(rotary.theta.is_finite() && rotary.theta > 1.0) {
        return Err(format!("the rotary base is {}; it must be a number above 1", rotary.theta));
    }
    // Far beyond any model; within, frequencies and angles stay finite in f32.
    let positive = |values: &[f64]| values.iter().all(|value| (1e-6..=1e9).contains(value));
    match &rotary.scaling {
        RotaryScaling::None => {}
        RotaryScaling::Linear { factor } => {
            if !positive(&[*factor]) {
                return Err(format!(
                    "the linear rotary scaling has the factor {factor}; it must be positive, from 1e-6 to 1e9"
                ));
            }
        }
        RotaryScaling::Llama3 { factor, low_frequency_factor: low, high_frequency_factor: high, original_context } => {
            if !positive(&[*factor, *low, *high]) || high <= low || *original_context == 0 {
                return Err(format!(
                    "the llama3 rotary scaling (factor {factor}, low {low}, high {high}, original context \
                     {original_context}) needs positive values from 1e-6 to 1e9, and high above low"
                ));
            }
        }
        RotaryScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, original_context, .. } => {
            let in_range = positive(&[*factor, *beta_fast, *beta_slow, *attention_factor]) && *factor >= 1.0;
            // 0.1 ln(factor) + 1 stays far below; a factor that overflows f32 would give numbers that are none.
            if !in_range || *attention_factor > 100.0 || beta_fast < beta_slow || *original_context == 0 {
                return Err(format!(
                    "the YaRN rotary scaling (factor {factor}, beta_fast {beta_fast}, beta_slow {beta_slow}, attention \
                     factor {attention_factor}, original context {original_context}) needs positive values, a factor \
                     of at least 1, an attention factor of at most 100 and beta_fast not below beta_slow"
                ));
            }
        }
        RotaryScaling::Divisors(divisors) => {
            if let Some(bad) = divisors.iter().find(|divisor| !positive(&[f64::from(**divisor)])) {
                return Err(format!(
                    "a rotary frequency is divided by {bad}; divisors must be positive, from 1e-6 to 1e9"
                ));
            }
        }
    }
    Ok(())
}
