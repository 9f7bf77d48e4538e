//! What each layer of a config.json sees: everything before it, or a window.

use super::json_object::JsonObject;
use super::{AttentionSpan, Family};

/// The window where a configuration states none, by the defaults of transformers.
const DEFAULT_WINDOW: usize = 4_096;
/// From which layer on Qwen models use windows where a configuration does not say.
const DEFAULT_MAX_WINDOW_LAYERS: usize = 28;
/// Every which layer of Olmo-3 sees everything.
const DEFAULT_PATTERN: usize = 4;

/// The span of each layer.
///
/// # Errors
/// Which field is wrong, unknown, or contradicts another.
pub(super) fn read(config: &JsonObject, family: Family, layers: usize) -> Result<Vec<AttentionSpan>, String> {
    let window = window(config, family)?;
    let span = |sliding: bool| match window {
        Some(window) if sliding => AttentionSpan::Window(window),
        _ => AttentionSpan::Full,
    };
    let pattern = config.integer("sliding_window_pattern")?;
    let derived: Vec<AttentionSpan> = match family {
        Family::Llama | Family::Olmo2 => vec![AttentionSpan::Full; layers],
        Family::Mistral => vec![span(true); layers],
        Family::Qwen2 | Family::Qwen3 => {
            let first = config.integer("max_window_layers")?.unwrap_or(DEFAULT_MAX_WINDOW_LAYERS);
            (0..layers).map(|layer| span(layer >= first)).collect()
        }
        Family::Olmo3 => match pattern.unwrap_or(DEFAULT_PATTERN) {
            0 => return Err("`sliding_window_pattern` is 0; it states every which layer sees everything".into()),
            every => (0..layers).map(|layer| span((layer + 1) % every != 0)).collect(),
        },
    };
    let Some(types) = config.texts("layer_types")? else { return Ok(derived) };
    if types.len() != layers {
        return Err(format!("`layer_types` lists {} layers, but `num_hidden_layers` is {layers}", types.len()));
    }
    let listed = types.iter().map(|name| match *name {
        "full_attention" => Ok(AttentionSpan::Full),
        "sliding_attention" => window.map(AttentionSpan::Window).ok_or_else(|| {
            "`layer_types` names `sliding_attention`, but the configuration states no window".to_owned()
        }),
        other => Err(format!(
            "`layer_types` names `{other}`, which is not known; `full_attention` and `sliding_attention` are"
        )),
    });
    let listed = listed.collect::<Result<Vec<_>, _>>()?;
    let by_list_alone =
        matches!(family, Family::Qwen2 | Family::Qwen3) || (family == Family::Olmo3 && pattern.is_none());
    if !by_list_alone && listed != derived {
        return Err(format!("`layer_types` contradicts the windows that `{family}` derives from its other fields"));
    }
    Ok(listed)
}

/// The window of the layers that have one.
fn window(config: &JsonObject, family: Family) -> Result<Option<usize>, String> {
    let stated = config.integer("sliding_window")?;
    if stated == Some(0) {
        return Err("`sliding_window` is 0; a token sees at least itself".into());
    }
    let or_default = if config.states("sliding_window") { stated } else { Some(DEFAULT_WINDOW) };
    match family {
        Family::Llama | Family::Olmo2 => match stated {
            None => Ok(None),
            Some(window) => Err(format!("`sliding_window` is {window}, but `{family}` models have no windows")),
        },
        Family::Mistral => Ok(or_default),
        Family::Qwen2 | Family::Qwen3 => {
            let used = config.boolean("use_sliding_window")?.unwrap_or(false);
            Ok(if used { or_default } else { None })
        }
        Family::Olmo3 => match or_default {
            Some(window) => Ok(Some(window)),
            None => Err("`sliding_window` is null, but `olmo3` models have windows".into()),
        },
    }
}
