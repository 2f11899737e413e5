//! `adctl dead`: looks at dead letters, and puts them back on their topics.

use std::process::ExitCode;

use clap::{Args, Subcommand, builder::PossibleValuesParser};

use crate::until_interrupted;

mod letter;
mod list;
mod reader;
mod replay;
mod seen;

use letter::{Letter, Origin};

/// The reasons for which the consumer gives a record up.
const REASONS: [&str; 6] =
    ["undecodable", "wrong_topic", "too_old", "too_far_ahead", "unknown_ad", "refused"];

/// Look at dead letters, and replay them once what killed them is mended
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(list::List),
    Replay(replay::Replay),
}

/// Which dead letters are meant.
#[derive(Args, Clone, Debug)]
struct Filter {
    /// Only letters that died for this reason; may be given several times
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(REASONS))]
    reason: Vec<String>,
    /// Only the letter of this origin; may be given several times
    #[arg(long, value_name = "TOPIC/PARTITION/OFFSET")]
    origin: Vec<Origin>,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => until_interrupted(async |stop| list.run(stop).await).await,
            Self::Replay(replay) => until_interrupted(async |stop| replay.run(stop).await).await,
        }
    }
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.reason.is_empty() && self.origin.is_empty()
    }

    fn matches(&self, letter: &Letter) -> bool {
        (self.reason.is_empty() || self.reason.contains(&letter.reason))
            && (self.origin.is_empty() || self.origin.contains(&letter.origin))
    }
}
