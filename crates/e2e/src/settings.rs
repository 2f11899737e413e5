//! The table of settings as the README has it, from the code that reads them.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use service_kit::{
    settings::{Description, Fallback, describe, groups::Logs},
    traces::Traces,
};

use crate::service::Program;

/// Before the table in the README.
pub const BEGIN: &str = "<!-- settings:begin -->";
/// Behind the table in the README.
pub const END: &str = "<!-- settings:end -->";

/// One setting, and the services that read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    pub description: Description,
    pub used_by: Vec<Program>,
}

impl Setting {
    /// What holds where it is not set, as it is written in the environment.
    pub fn default(&self) -> Option<&'static str> {
        match self.description.fallback {
            Fallback::Value(default) => Some(default),
            Fallback::Required { .. } | Fallback::Unset => None,
        }
    }

    fn is_required(&self) -> bool {
        matches!(self.description.fallback, Fallback::Required { .. })
    }
}

/// Every setting of the three services, once each: shared ones first, of these the required ones,
/// and then in the order in which the services read them.
///
/// # Panics
///
/// Where two services mean different things by one name.
pub fn all() -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut places = BTreeMap::new();
    for program in Program::ALL {
        for description in read_by(program) {
            let place = *places.entry(description.name).or_insert(settings.len());
            match settings.get_mut(place) {
                None => settings.push(Setting { description, used_by: vec![program] }),
                Some(known) => {
                    assert_eq!(known.description, description, "one name has one meaning");
                    known.used_by.push(program);
                }
            }
        }
    }
    // Stable: within each part the order stays.
    settings.sort_by_key(|it| (it.used_by.len() == 1, !it.is_required()));
    settings
}

/// The Markdown table of [`all`].
pub fn table() -> String {
    let mut table = "| Setting | Default | Meaning | Used by |\n|---|---|---|---|\n".to_owned();
    for Setting { description, used_by } in all() {
        let name = match description.file_name() {
            Some(file) => format!("`{}` or `{file}`", description.name),
            None => format!("`{}`", description.name),
        };
        let fallback = match description.fallback {
            Fallback::Value("") => "empty".to_owned(),
            Fallback::Value(default) => format!("`{default}`"),
            Fallback::Required { example } => format!("required, e.g. `{example}`"),
            Fallback::Unset => "unset".to_owned(),
        };
        let used_by = if used_by == Program::ALL {
            "all".to_owned()
        } else {
            used_by.iter().map(|it| short_name(*it)).collect::<Vec<_>>().join(", ")
        };
        let help = description.help.replace('|', "\\|");
        // Writing to a string cannot fail.
        writeln!(table, "| {name} | {fallback} | {help} | {used_by} |").ok();
    }
    table
}

/// Returns `text` with the table of today between the markers; `None` where they are missing.
pub fn with_table(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n{END}{after}", table()))
}

/// Where the README is.
pub fn readme() -> PathBuf {
    local_stack::repository().join("README.md")
}

fn read_by(program: Program) -> Vec<Description> {
    let own = match program {
        Program::Ingest => describe::<ingest_api::Config>(),
        Program::Consumer => describe::<click_consumer::Config>(),
        Program::Analytics => describe::<analytics_api::Config>(),
    };
    own.into_iter().chain(describe::<Logs>()).chain(describe::<Traces>()).collect()
}

fn short_name(program: Program) -> &'static str {
    match program {
        Program::Ingest => "ingest",
        Program::Consumer => "consumer",
        Program::Analytics => "analytics",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_setting_stands_once_with_all_who_use_it() {
        let settings = all();

        let of = |name: &str| {
            let found: Vec<_> = settings.iter().filter(|it| it.description.name == name).collect();
            assert_eq!(found.len(), 1, "{name}");
            found[0].used_by.clone()
        };
        assert_eq!(of("LOG_LEVEL"), Program::ALL);
        assert_eq!(of("DATABASE_URL"), [Program::Consumer, Program::Analytics]);
        assert_eq!(of("INGEST_LISTEN"), [Program::Ingest]);
    }

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("above\n{BEGIN}\nOUTDATED\n{END}\nbelow\n");

        let new = with_table(&text).expect("markers");

        assert!(new.starts_with("above\n") && new.ends_with("\nbelow\n"), "{new}");
        assert!(new.contains("| `KAFKA_BROKERS` |") && !new.contains("OUTDATED"), "{new}");
        assert_eq!(with_table(&new).expect("markers"), new);
        assert_eq!(with_table("no markers"), None);
    }
}
