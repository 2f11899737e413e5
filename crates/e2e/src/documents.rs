//! What the documents show of the APIs: commands with their answers, and pieces of programs.

use std::path::PathBuf;

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{process::binary, service::Service, wait::LIMIT};

/// Stands for more of the same.
const MORE: char = '…';

/// A document that shows how to use the APIs.
#[derive(Debug)]
pub struct Document {
    pub name: &'static str,
    text: String,
}

/// A command, and the answer that is written behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Example {
    pub command: String,
    pub answer: String,
}

impl Document {
    /// Reads a document, and puts the addresses of the services that run in the place of those that
    /// it shows.
    pub fn read(name: &'static str, ingest: &Service, analytics: &Service) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
        let text = std::fs::read_to_string(path).expect(name);
        let text = text
            .replace("http://127.0.0.1:8081", &ingest.url(""))
            .replace("http://127.0.0.1:8082", &analytics.url(""));
        Self { name, text }
    }

    /// The commands that ask the APIs for something.
    pub fn examples(&self) -> Vec<Example> {
        let blocks = self.blocks().into_iter().filter(|it| it.contains("curl "));
        blocks.flat_map(|block| examples(&block)).collect()
    }

    /// The pieces of a programming language.
    pub fn code(&self, language: &str) -> Vec<String> {
        let blocks = self.blocks().into_iter();
        let code =
            blocks.filter_map(|it| Some(it.strip_prefix(language)?.strip_prefix('\n')?.to_owned()));
        code.collect()
    }

    pub fn says(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// What stands between fences, each with the name of its language before it.
    fn blocks(&self) -> Vec<String> {
        self.text.split("```").skip(1).step_by(2).map(ToOwned::to_owned).collect()
    }
}

/// A command ends where the shell would not ask for more; what follows up to a blank line is its answer.
fn examples(block: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = block.lines().skip(1).peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let mut command = line.to_owned();
        while is_begun(&command) {
            command.push('\n');
            command.push_str(lines.next().expect("the end of a command"));
        }
        let mut answer = Vec::new();
        while let Some(line) = lines.next_if(|it| !it.trim().is_empty()) {
            answer.push(line);
        }
        examples.push(Example { command, answer: answer.join("\n") });
    }
    examples
}

fn is_begun(command: &str) -> bool {
    let within_quotes = command.matches('\'').count() % 2 == 1;
    within_quotes || command.trim_end().ends_with(['\\', '|'])
}

impl Example {
    /// Runs the command, with this workspace's binaries, and returns what it prints.
    pub async fn run(&self) -> String {
        let binaries = binary("adctl").parent().expect("a folder").display().to_string();
        run("bash", &["-c", &format!("PATH=\"{binaries}:$PATH\"\n{}", self.command)]).await
    }

    /// Tells whether an answer is what the document says.
    ///
    /// It is the same, letter by letter; but where the document has left something out, only its form is
    /// compared where it is JSON, and otherwise whether what is there comes in this order.
    pub fn is_answered_by(&self, answer: &str) -> bool {
        if !self.answer.contains(MORE) {
            return self.answer == answer.trim_end();
        }
        let shown = self.answer.replace(&format!(", {MORE}"), "");
        if let (Ok(shown), Ok(answer)) =
            (serde_json::from_str(&shown), serde_json::from_str(answer))
        {
            return has_form(&shown, &answer);
        }
        let mut rest = answer;
        self.answer.split(MORE).all(|part| {
            let found = rest.split_once(part);
            rest = found.map_or("", |(_, rest)| rest);
            found.is_some()
        })
    }
}

/// Runs a program to its end, and returns what it prints.
pub async fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(args).kill_on_drop(true).output();
    let output = timeout(LIMIT, output).await.expect("ends in time").expect(program);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn has_form(shown: &Value, answer: &Value) -> bool {
    match (shown, answer) {
        (Value::Object(shown), Value::Object(answer)) => {
            shown.len() == answer.len()
                && shown
                    .iter()
                    .all(|(name, it)| answer.get(name).is_some_and(|its| has_form(it, its)))
        }
        (Value::Array(shown), Value::Array(answer)) => {
            shown.len() <= answer.len()
                && shown.iter().zip(answer).all(|(it, its)| has_form(it, its))
        }
        _ => std::mem::discriminant(shown) == std::mem::discriminant(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(shown: &str, answer: &str) -> bool {
        let shown = Example { command: String::new(), answer: shown.to_owned() };
        shown.is_answered_by(answer)
    }

    #[test]
    fn commands_are_told_from_their_answers() {
        let block = "sh\ncurl a -d '{\n  \"b\": 1\n}'\n{\"c\":2}\n\nprintf x |\n  curl \\\n  d\n\ncurl e\nf\ng\n";
        let example = |command: &str, answer: &str| Example {
            command: command.to_owned(),
            answer: answer.to_owned(),
        };

        assert_eq!(
            examples(block),
            [
                example("curl a -d '{\n  \"b\": 1\n}'", "{\"c\":2}"),
                example("printf x |\n  curl \\\n  d", ""),
                example("curl e", "f\ng"),
            ]
        );
    }

    #[test]
    fn an_answer_is_the_same_but_for_what_is_left_out() {
        assert!(answered("{\"a\":1}", "{\"a\":1}\n"));
        assert!(!answered("{\"a\":1}", "{\"a\":2}"));
        assert!(answered("[{\"a\":1}, …]", "[{\"a\":2},{\"b\":3}]"));
        assert!(!answered("[{\"a\":1}, …]", "[{\"a\":\"2\"}]"));
        assert!(!answered("[{\"a\":1}, …]", "[{\"a\":1,\"b\":2}]"));
        assert!(answered("<a>…</a>", "<a><b/></a>"));
        assert!(!answered("<a>…</a>", "</a><a>"));
    }
}
