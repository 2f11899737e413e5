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

/// The selectors of series in an expression, such as `up{job="ingest-api"}`.
pub fn selectors(expression: &str) -> Vec<String> {
    let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | ':');
    let mut selectors = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|it| is_part(it) || matches!(it, '{' | '[')) {
        rest = &rest[start..];
        if let Some(close) = rest.chars().next().and_then(closing) {
            // What stands alone in brackets is a time.
            rest = rest.split_once(close).expect("a closing bracket").1;
            continue;
        }
        let end = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        rest = behind;
        if let Some(matchers) = behind.strip_prefix('{') {
            let (matchers, behind) = matchers.split_once('}').expect("a closing bracket");
            selectors.push(format!("{name}{{{matchers}}}"));
            rest = behind;
        } else if !behind.starts_with('(') && name.contains(['_', ':']) {
            selectors.push(name.to_owned());
        }
    }
    selectors
}

fn closing(bracket: char) -> Option<char> {
    match bracket {
        '{' => Some('}'),
        '[' => Some(']'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_found_among_functions_labels_and_times() {
        let expression = "1 - sum by (le, kind) (rate(a_bucket{le=\"5.0\"}[10m])) / sum(b_total) \
                          > 0.01 and up{job=~\"x|y\"} offset 5m or slo:errors:ratio_rate5m";

        assert_eq!(
            selectors(expression),
            ["a_bucket{le=\"5.0\"}", "b_total", "up{job=~\"x|y\"}", "slo:errors:ratio_rate5m"]
        );
    }
}
