//! What the settings are, told by the code that reads them.

use std::fmt::Write as _;

use super::{Env, Settings, Vars, secret};

/// One setting as an operator knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Description {
    /// The environment variable.
    pub name: &'static str,
    /// Whether it may stand in a file instead, which [`file_name`](Self::file_name) then names.
    pub secret: bool,
    /// What holds where it is not set.
    pub fallback: Fallback,
    /// What it does.
    pub help: &'static str,
}

impl Description {
    /// The environment variable that names a file with this setting in it, where it is a secret.
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| secret::file_name(self.name))
    }
}

/// What holds where a setting is not set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fallback {
    /// This value, written as in the environment.
    Value(&'static str),
    /// Nothing: the service refuses to start.
    Required {
        /// A value that would do.
        example: &'static str,
    },
    /// The service goes without.
    Unset,
}

/// Lists the settings of `C` in the order in which they are read.
pub fn describe<C: Settings>() -> Vec<Description> {
    let mut vars = Vars::new(Env::default());
    // Only what was asked for matters here; that required settings are missing does not.
    drop(C::read(&mut vars));
    vars.descriptions
}

/// Returns what `--help` prints for a service with the settings of `C`.
pub fn help_text<C: Settings>(binary: &str, about: &str) -> String {
    let mut text = format!(
        "{about}\n\nUsage: {binary} [--help | --version | --ready]\n\n\
         --ready asks the {binary} that runs with the same settings, and exits with 0 where it is ready.\n\n\
         Settings are environment variables:\n"
    );
    for setting in describe::<C>() {
        let name = match setting.file_name() {
            Some(file) => format!("{}, or in the file that {file} names", setting.name),
            None => setting.name.to_owned(),
        };
        let help = setting.help;
        let fallback = match setting.fallback {
            Fallback::Value("") => "default: empty".to_owned(),
            Fallback::Value(default) => format!("default: {default}"),
            Fallback::Required { example } => format!("required, for example {example}"),
            Fallback::Unset => "default: unset".to_owned(),
        };
        // Writing to a string cannot fail.
        write!(text, "\n  {name}  ({fallback})\n      {help}\n").ok();
    }
    text
}
