//! The list of metrics as `docs/TELEMETRY.md` has it, from what running services show.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
};

use serde_json::Value;

use crate::{
    pipeline::{Pipeline, Services},
    wait::until,
};

/// Before the list in the document.
pub const BEGIN: &str = "<!-- metrics:begin -->";
/// Behind the list in the document.
pub const END: &str = "<!-- metrics:end -->";

/// Labels whose values are many, though not without end, and what they are.
const IN_WORDS: [(&str, &str); 5] = [
    ("route", "as in the API's contract, or `other`"),
    ("method", "that of the route, or `OTHER`"),
    ("status", "HTTP status"),
    ("partition", "its number on Kafka"),
    ("version", "of this release"),
];

/// A metric as one or more services show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Family {
    /// As Prometheus stores it.
    pub name: String,
    pub kind: String,
    pub unit: String,
    pub help: String,
    pub labels: BTreeMap<String, BTreeSet<String>>,
    pub shown_by: Vec<&'static str>,
}

/// Where the list is written down.
pub fn document() -> PathBuf {
    local_stack::repository().join("docs/TELEMETRY.md")
}

/// Returns `text` with `list` between the markers; `None` where they are missing.
pub fn with_list(text: &str, list: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{list}\n{END}{after}"))
}

/// What the metrics of these services are, parsed by Prometheus' own strict parser.
///
/// # Panics
///
/// Where the parser refuses a page, or two services mean different things by one name.
pub async fn families(pipeline: &Pipeline, services: &Services) -> BTreeMap<String, Family> {
    let Services { ingest, consumer, analytics } = services;
    until("the consumer knows its lag", async || {
        consumer.metrics().await.contains("consumer_lag_events{")
    })
    .await;
    let shown = [
        ("ingest-api", ingest.metrics().await),
        ("click-consumer", consumer.metrics().await),
        ("analytics-api", analytics.metrics().await),
    ];
    let pages = shown.map(|(name, page)| {
        let path = pipeline.artefact(&format!("{name}.openmetrics"));
        std::fs::write(&path, page).expect("a page that can be written");
        (name, path.display().to_string())
    });
    let paths = pages.each_ref().map(|(_, path)| path.as_str());
    let parsed = pipeline.check_by_python("crates/e2e/openmetrics.py", &paths).await;

    let mut families = BTreeMap::<String, Family>::new();
    for ((service, _), page) in pages.iter().zip(parsed.as_array().expect("a page each")) {
        for family in page.as_array().expect("families") {
            let family = Family::read(family, service);
            let known = families.entry(family.name.clone()).or_insert_with(|| family.clone());
            known.merge(family);
        }
    }
    families
}

/// The list: a table for what all services have, for what both APIs have, and for each service.
pub fn list(families: &BTreeMap<String, Family>) -> String {
    let mut parts = BTreeMap::<_, Vec<&Family>>::new();
    for family in families.values() {
        let title = match family.shown_by[..] {
            [one] => one.to_owned(),
            [_, _, _] => "Every service".to_owned(),
            _ => format!("Both {}", family.shown_by.join(" and ")),
        };
        parts.entry((4 - family.shown_by.len(), title)).or_default().push(family);
    }
    let mut list = String::new();
    for ((_, title), families) in parts {
        // Writing to a string cannot fail.
        write!(list, "### {title}\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n")
            .ok();
        for family in families {
            writeln!(list, "{}", family.row()).ok();
        }
        list.push('\n');
    }
    list.trim_end().to_owned() + "\n"
}

impl Family {
    fn read(family: &Value, service: &'static str) -> Self {
        let text = |key: &str| family[key].as_str().expect(key).to_owned();
        let (name, kind) = (text("name"), text("type"));
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels = family["labels"].as_object().expect("labels").iter().map(|(name, values)| {
            let values = values.as_array().expect("values").iter();
            (name.clone(), values.map(|it| it.as_str().expect("a text").to_owned()).collect())
        });
        Self {
            name: name + suffix,
            kind,
            unit: text("unit"),
            help: text("help"),
            labels: labels.collect(),
            shown_by: vec![service],
        }
    }

    fn merge(&mut self, other: Self) {
        if self.shown_by != other.shown_by {
            assert_eq!(
                (&self.kind, &self.unit, &self.help),
                (&other.kind, &other.unit, &other.help),
                "{} means one thing",
                self.name
            );
            self.shown_by.extend(other.shown_by);
        }
        for (name, values) in other.labels {
            self.labels.entry(name).or_default().extend(values);
        }
    }

    fn row(&self) -> String {
        let Self { name, kind, unit, help, .. } = self;
        let kind = if unit.is_empty() { kind.clone() } else { format!("{kind}, {unit}") };
        let labels: Vec<_> = self.labels.iter().map(|(name, values)| label(name, values)).collect();
        let help = help.trim_end_matches('.').replace('|', "\\|");
        format!("| `{name}` | {kind} | {} | {help} |", labels.join("; "))
    }
}

fn label(name: &str, values: &BTreeSet<String>) -> String {
    if let Some((_, words)) = IN_WORDS.iter().find(|it| it.0 == name) {
        return format!("`{name}`: {words}");
    }
    let values: Vec<_> = values.iter().map(|it| format!("`{it}`")).collect();
    format!("`{name}`: {}", values.join(", "))
}
