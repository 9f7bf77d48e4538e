//! Which relative paths a tree may hold.

/// More folders than this one in another are refused.
pub(super) const MAX_DEPTH: usize = 64;
/// Longest path in bytes; the limit of most systems.
const MAX_LENGTH: usize = 4096;

/// Refuses a path that is absolute, leaves its folder, or would mean something else on another system.
pub(super) fn check(path: &str) -> Result<(), String> {
    let refused = |why: &str| Err(format!("`{}` cannot be in a tree: {why}", path.escape_debug()));
    if path.len() > MAX_LENGTH {
        return refused("a path has at most 4096 bytes");
    }
    if path.starts_with('/') {
        return refused("paths must be relative");
    }
    if path.split('/').count() > MAX_DEPTH {
        return refused("at most 64 folders may lie one in another");
    }
    for name in path.split('/') {
        match name {
            "" => return refused("names must not be empty"),
            "." | ".." => return refused("names must not be `.` or `..`"),
            _ if name.chars().any(|character| character.is_control() || character == '\\') => {
                return refused("names must not hold control characters or backslashes");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The path as file systems that ignore case see it. Upper case first, so that characters with several
/// lower-case forms (Greek sigma, sharp s) agree as well.
pub(super) fn fold(path: &str) -> String {
    if path.is_ascii() { path.to_ascii_lowercase() } else { path.to_uppercase().to_lowercase() }
}
