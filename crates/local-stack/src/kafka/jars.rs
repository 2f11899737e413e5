//! Where the broker's jars are: fetched by `scripts/install.sh`, or of an unpacked Kafka.

use std::path::PathBuf;

use service_kit::settings::{Env, Settings, Vars};

use crate::{StartError, repository};

pub(super) const INSTALLED_ELSEWHERE: &str =
    "or set KAFKA_HOME to an unpacked Kafka, or KAFKA_BROKERS to a Kafka that runs";

/// The one place that names the version, shared with the script that fetches it.
const POM: &str = include_str!("../../kafka/pom.xml");

/// The folder of jars to run.
pub(super) fn find() -> Result<PathBuf, StartError> {
    // Text of any kind is a valid value, so reading cannot fail unless it is not UTF-8.
    let libs = match Env::from_process().read() {
        // Absolute: the broker runs in another folder.
        Ok(KafkaHome(Some(home))) => {
            std::path::absolute(&home).unwrap_or_else(|_| home.into()).join("libs")
        }
        Ok(KafkaHome(None)) | Err(_) => fetched(),
    };
    if libs.is_dir() {
        return Ok(libs);
    }
    Err(StartError::NotInstalled {
        what: format!("Kafka, expected at {},", libs.display()),
        or_else: INSTALLED_ELSEWHERE,
    })
}

/// Where an unpacked Kafka is, for machines that cannot fetch one.
struct KafkaHome(Option<String>);

impl Settings for KafkaHome {
    fn read(vars: &mut Vars) -> Self {
        Self(vars.optional("KAFKA_HOME", "An unpacked Kafka to run instead of a fetched one"))
    }
}

fn fetched() -> PathBuf {
    repository().join(".local/kafka").join(version()).join("libs")
}

/// The version that is fetched.
pub fn version() -> &'static str {
    let (_, rest) = POM.split_once("<kafka.version>").unwrap_or_default();
    rest.split_once('<').unwrap_or_default().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_the_version() {
        assert!(version().starts_with("4."), "{}", version());
    }
}
