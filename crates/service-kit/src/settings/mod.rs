//! Settings from the environment, read once, with every problem reported at once.

mod describe;
pub mod groups;
mod kafka;
mod secret;
mod value;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

pub use describe::{Description, Fallback, describe, help_text};
pub use value::{Bytes, CaFile, Cidrs, Value};

/// What a service can be told from outside, as one value.
///
/// [`Settings::read`] must read the same settings whatever their values are, because the help and
/// the README's table come from reading an empty environment.
pub trait Settings: Sized {
    /// Takes the settings from `vars`, which notes what is missing or malformed.
    fn read(vars: &mut Vars) -> Self;
}

/// The environment as a value, so that a test never touches that of its process.
///
/// A variable that is set to nothing counts as unset, because that is what compose files and `.env`
/// files make of a variable nobody filled in.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<OsString, OsString>);

impl Env {
    /// Takes the variables of this process as they are now.
    pub fn from_process() -> Self {
        Self(std::env::vars_os().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Makes an environment of `pairs` of name and value; of a repeated name the last one counts.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (OsString::from(name.as_ref()), OsString::from(value.as_ref())));
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Reads all settings of `C`.
    ///
    /// # Errors
    ///
    /// Lists every missing or malformed variable, not just the first.
    pub fn read<C: Settings>(&self) -> Result<C, Invalid> {
        let mut vars = Vars::new(self.clone());
        let settings = C::read(&mut vars);
        if vars.problems.is_empty() { Ok(settings) } else { Err(Invalid(vars.problems)) }
    }

    fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }
}

impl fmt::Debug for Env {
    // Names only: some of the values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Every problem of the settings. Its text has one line for each, and no secret.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Invalid(Vec<Problem>);

impl Invalid {
    /// Returns what is wrong, in the order in which the settings are read.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

/// What is wrong with one setting.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct Problem {
    /// The environment variable.
    pub name: &'static str,
    /// What is wrong, and, unless it is a secret, the value that was given.
    pub reason: String,
}

/// Hands out settings, and notes each one's name, default and meaning on the way.
///
/// A problem never stops the reading: a placeholder is returned and [`Env::read`] fails at the end.
#[derive(Debug)]
pub struct Vars {
    env: Env,
    problems: Vec<Problem>,
    descriptions: Vec<Description>,
}

impl Vars {
    fn new(env: Env) -> Self {
        Self { env, problems: Vec::new(), descriptions: Vec::new() }
    }

    /// Returns the setting, or its default, which is written as an operator would write it.
    ///
    /// # Panics
    ///
    /// If the default cannot be parsed, which is a mistake in the program and not of its operator.
    pub fn or<T: Value>(
        &mut self,
        name: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> T {
        self.note::<T>(name, Fallback::Value(default), help);
        let given = self.given::<T>(name);
        self.parsed(name, given).unwrap_or_else(|| own(name, default))
    }

    /// Returns the setting, without which the service cannot run.
    ///
    /// `example` is shown where the setting is missing, and stands in for it until all problems
    /// are known.
    ///
    /// # Panics
    ///
    /// If the example cannot be parsed, which is a mistake in the program and not of its operator.
    pub fn required<T: Value>(
        &mut self,
        name: &'static str,
        example: &'static str,
        help: &'static str,
    ) -> T {
        self.required_if(true, name, example, help)
    }

    /// Returns the setting, without which the service cannot run where it is `needed` because of
    /// another one. Otherwise the example is returned where it is missing.
    ///
    /// # Panics
    ///
    /// If the example cannot be parsed, which is a mistake in the program and not of its operator.
    pub fn required_if<T: Value>(
        &mut self,
        needed: bool,
        name: &'static str,
        example: &'static str,
        help: &'static str,
    ) -> T {
        self.note::<T>(name, Fallback::Required { example }, help);
        let given = self.given::<T>(name);
        if needed && matches!(given, Ok(None)) {
            self.problem(name, format!("is required, for example {example}"));
        }
        self.parsed(name, given).unwrap_or_else(|| own(name, example))
    }

    /// Returns the setting if there is one.
    pub fn optional<T: Value>(&mut self, name: &'static str, help: &'static str) -> Option<T> {
        self.note::<T>(name, Fallback::Unset, help);
        let given = self.given::<T>(name);
        self.parsed(name, given)
    }

    /// Notes a problem with `name` unless `ok`: a sentence that begins with "must".
    ///
    /// Does nothing where `name` has a problem already, so that no placeholder is complained about.
    pub fn check(&mut self, name: &'static str, ok: bool, must: impl Into<String>) {
        if !ok && !self.problems.iter().any(|problem| problem.name == name) {
            self.problem(name, must.into());
        }
    }

    /// What the operator wrote, in the environment or, where it is a secret, in a file.
    fn given<T: Value>(&self, name: &str) -> Result<Option<OsString>, String> {
        if T::SECRET {
            secret::given(&self.env, name)
        } else {
            Ok(self.env.get(name).map(OsStr::to_owned))
        }
    }

    fn parsed<T: Value>(
        &mut self,
        name: &'static str,
        given: Result<Option<OsString>, String>,
    ) -> Option<T> {
        let parsed = given.and_then(|raw| match raw.as_ref().map(|it| it.to_str()) {
            None => Ok(None),
            Some(None) => Err("is not UTF-8".to_owned()),
            Some(Some(text)) => T::parse(text)
                .map(Some)
                .map_err(|reason| if T::SECRET { reason } else { format!("{text:?} {reason}") }),
        });
        parsed.unwrap_or_else(|reason| {
            self.problem(name, reason);
            None
        })
    }

    fn problem(&mut self, name: &'static str, reason: String) {
        self.problems.push(Problem { name, reason });
    }

    fn note<T: Value>(&mut self, name: &'static str, fallback: Fallback, help: &'static str) {
        let description = Description { name, secret: T::SECRET, fallback, help };
        match self.descriptions.iter().find(|it| it.name == name) {
            None => self.descriptions.push(description),
            Some(noted) => assert_eq!(*noted, description, "one name has one meaning"),
        }
    }
}

#[expect(clippy::panic, reason = "any test that describes the settings finds it")]
fn own<T: Value>(name: &str, text: &str) -> T {
    T::parse(text).unwrap_or_else(|reason| panic!("the program's own {name}={text:?} {reason}"))
}
