//! A real Prometheus that watches the services of a test, with the rules that operators get.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use local_stack::{
    Place,
    prometheus::{Prometheus, Watched, shared_rules},
};
use serde_json::Value;
use url::Url;

use crate::{client::Client, pipeline::Services};

/// A Prometheus of a test's own. Dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    server: Prometheus,
    http: Client,
}

/// One answer: a series, and its value.
#[derive(Clone, Debug)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A rule as Prometheus has understood it.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    pub expression: String,
    pub is_alert: bool,
    /// Empty where it could be evaluated.
    pub error: String,
}

impl Watcher {
    /// Watches services each second, with the shared rules.
    pub async fn start(services: &Services) -> Self {
        Self::with_rules(services, shared_rules()).await
    }

    /// The same with alerts that hardly wait: their `for` is two seconds, and `thresholds` are replaced
    /// in their expressions.
    pub async fn impatient(
        services: &Services,
        rules: PathBuf,
        thresholds: &[(&str, &str)],
    ) -> Self {
        std::fs::create_dir_all(&rules).expect("a folder for rules");
        for file in crate::monitoring::files("rules", "yml") {
            let mut text = std::fs::read_to_string(&file).expect("rules");
            for (patient, impatient) in thresholds {
                text = text.replace(patient, impatient);
            }
            let lines = text.lines().map(|line| match line.split_once("for: ") {
                Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 2s\n"),
                _ => format!("{line}\n"),
            });
            let name = file.file_name().expect("a file");
            std::fs::write(rules.join(name), lines.collect::<String>()).expect("written");
        }
        Self::with_rules(services, rules).await
    }

    async fn with_rules(services: &Services, rules: PathBuf) -> Self {
        let all = [&services.ingest, &services.consumer, &services.analytics];
        let watched = Watched {
            jobs: all.map(|it| (it.program().name(), vec![it.admin()])).to_vec(),
            rules: Some(rules),
            every: Some(Duration::from_secs(1)),
        };
        let place = Place::temporary().expect("a temporary folder");
        let server = Prometheus::watch(place, &watched).await.expect("prometheus starts");
        Self { server, http: Client::new() }
    }

    /// What Prometheus answers, now.
    ///
    /// # Panics
    ///
    /// Where it does not understand the question.
    pub async fn ask(&self, expression: &str) -> Vec<Sample> {
        let data = self.get("query", &[("query", expression)]).await;
        match data["resultType"].as_str() {
            Some("vector") => {
                let result = data["result"].as_array().expect("samples");
                result.iter().map(|it| Sample::read(&it["metric"], &it["value"])).collect()
            }
            Some("scalar") => vec![Sample::read(&Value::Null, &data["result"])],
            other => unreachable!("{expression} is of type {other:?}"),
        }
    }

    /// Every rule that it has loaded.
    pub async fn rules(&self) -> Vec<Rule> {
        let data = self.get("rules", &[]).await;
        let groups = data["groups"].as_array().expect("groups");
        let rules = groups.iter().flat_map(|it| it["rules"].as_array().expect("rules"));
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        rules
            .map(|it| Rule {
                name: text(&it["name"]),
                expression: text(&it["query"]),
                is_alert: it["type"] == "alerting",
                error: text(&it["lastError"]),
            })
            .collect()
    }

    /// The alerts that fire: each with what sets it apart from another of its name.
    pub async fn firing(&self) -> BTreeSet<String> {
        let all = self.ask(r#"ALERTS{alertstate="firing"}"#).await;
        all.into_iter().map(Sample::alert).collect()
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{path}", self.server.url());
        let url = Url::parse_with_params(&url, parameters).expect("a url");
        let answer = self.http.get(url.as_str()).await;
        assert_eq!(answer.status, 200, "{parameters:?}: {}", answer.body);
        answer.json()["data"].take()
    }
}

impl Sample {
    fn read(labels: &Value, value: &Value) -> Self {
        let labels = labels.as_object().into_iter().flatten();
        let text = |it: &Value| it.as_str().expect("a text").to_owned();
        Self {
            labels: labels.map(|(name, it)| (name.clone(), text(it))).collect(),
            value: text(&value[1]).parse().expect("a number"),
        }
    }

    /// The name of an alert, and the labels that are not the same in every run.
    fn alert(mut self) -> String {
        let name = self.labels.remove("alertname").expect("an alert");
        for same in ["__name__", "alertstate", "severity", "instance"] {
            self.labels.remove(same);
        }
        let labels: Vec<_> = self.labels.into_values().collect();
        format!("{name} {}", labels.join(" ")).trim_end().to_owned()
    }
}
