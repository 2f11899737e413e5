//! What Prometheus and Grafana are given: the rules and dashboards of `k8s/monitoring`, as the files have
//! them.

use std::{collections::BTreeSet, path::PathBuf};

use local_stack::prometheus::shared_rules;
use serde_json::Value;

/// One question to Prometheus, and who asks it.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where it stands: the dashboard and the panel.
    pub place: String,
    pub expression: String,
}

/// The folder of everything that is here.
fn folder() -> PathBuf {
    local_stack::repository().join("k8s/monitoring")
}

/// The files of a folder of `k8s/monitoring` that end like this.
pub fn files(of: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join(of)).expect("the folder");
    let mut files: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
    files.retain(|it| it.extension().is_some_and(|its| its == extension));
    files.sort();
    assert!(!files.is_empty(), "{of} has files of {extension}");
    files
}

/// Every dashboard.
pub fn dashboards() -> Vec<Value> {
    let text = |it: &PathBuf| std::fs::read_to_string(it).expect("a dashboard");
    let parsed = |it: PathBuf| serde_json::from_str(&text(&it)).expect("JSON");
    files("dashboards", "json").into_iter().map(parsed).collect()
}

/// The panels of a dashboard that ask something.
pub fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let all = dashboard["panels"].as_array().expect("panels").iter();
    all.filter(|it| it["type"] != "row")
}

/// What every panel of every dashboard asks.
pub fn questions_of_panels() -> Vec<Question> {
    let mut questions = Vec::new();
    for dashboard in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().expect("targets") {
                questions.push(Question {
                    place: format!("{}, {}", text(&dashboard["title"]), text(&panel["title"])),
                    expression: text(&target["expr"]).to_owned(),
                });
            }
        }
    }
    questions
}

/// The names of all alerts.
pub fn alerts() -> BTreeSet<String> {
    let mut alerts = BTreeSet::new();
    for file in files("rules", "yml") {
        assert_eq!(file.parent(), Some(shared_rules().as_path()));
        let text = std::fs::read_to_string(file).expect("rules");
        let names = text.lines().filter_map(|it| it.trim().strip_prefix("- alert: "));
        alerts.extend(names.map(ToOwned::to_owned));
    }
    alerts
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
