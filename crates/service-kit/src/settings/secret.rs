//! Secrets that stand in a file, as Docker, Kubernetes and systemd hand them out.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use super::Env;

/// How long a secret may be, in bytes: a guard against a path that names something else.
const MAX_BYTES: u64 = 64 * 1024;

/// The environment variable that names the file of a secret setting.
pub(super) fn file_name(name: &str) -> String {
    format!("{name}_FILE")
}

/// What the operator wrote for a secret setting, in the environment or in a file; `None` where
/// neither is named.
///
/// # Errors
///
/// A reason that can follow the setting's name. It holds nothing of the secret.
pub(super) fn given(env: &Env, name: &str) -> Result<Option<OsString>, String> {
    let file = file_name(name);
    match (env.get(name), env.get(&file)) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(text.to_owned())),
        (Some(_), Some(_)) => Err(format!("and {file} are both set: take one away")),
        (None, Some(path)) => {
            let path = Path::new(path);
            let wrong = |reason| format!("({file}={}) {reason}", path.display());
            let text = read(path).map_err(wrong)?;
            Ok(Some(text.into()))
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|it| it.take(MAX_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > MAX_BYTES => Err(format!("is longer than {MAX_BYTES} bytes")),
        Ok(_) => match text.trim_end_matches(['\r', '\n']) {
            "" => Err("is empty".to_owned()),
            secret => Ok(secret.to_owned()),
        },
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err("is not UTF-8".to_owned()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}
