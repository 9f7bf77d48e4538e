//! Where a program is.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::contract::{StageError, StageResult};

/// The file of a program: a path, relative to the working directory, or a name that is looked for in `PATH`.
///
/// # Errors
/// `Input` when there is none that can be executed.
pub fn find(program: &str) -> StageResult<PathBuf> {
    if program.contains('/') {
        let path = std::path::absolute(program).map_err(|error| StageError::io("find", Path::new(program), &error))?;
        return if is_executable(&path) {
            Ok(path)
        } else {
            Err(StageError::input(format!("the program {} is no executable file", path.display()))
                .with_hint("a relative path is relative to the working directory; `chmod +x` makes a file executable"))
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&folders).filter(|folder| folder.is_absolute());
    let found = candidates.find_map(|folder| Some(folder.join(program)).filter(|path| is_executable(path)));
    found.ok_or_else(|| {
        StageError::input(format!("the program `{program}` is in no folder of PATH"))
            .with_hint("install it, or write its path")
    })
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn programs_by_name_and_by_path() {
        let shell = find("sh").unwrap();
        assert!(shell.is_absolute() && shell.ends_with("sh"));
        assert_eq!(find(shell.to_str().unwrap()).unwrap(), shell);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        std::fs::write(&file, "").unwrap();
        assert!(find(file.to_str().unwrap()).unwrap_err().message.contains("is no executable file"));
        assert!(find("no-such-program-anywhere").unwrap_err().message.contains("is in no folder of PATH"));
    }
}
