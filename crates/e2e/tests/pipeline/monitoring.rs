//! Alerts and dashboards: well formed, tried, and explained.

use std::{collections::BTreeSet, path::Path, process::Command};

use e2e::monitoring;

#[test]
fn the_rules_and_the_configuration_are_prometheus_own() {
    for rules in monitoring::files("rules", "yml") {
        promtool(&["check", "rules"], &rules);
    }
    for config in monitoring::files(".", "yml") {
        // Only its form: in a container, files are elsewhere.
        promtool(&["check", "config", "--syntax-only"], &config);
    }
}

#[test]
fn every_alert_fires_when_it_should_and_not_when_it_should_not() {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for tests in monitoring::files("tests", "yml") {
        promtool(&["test", "rules"], &tests);
        let text = std::fs::read_to_string(tests).expect("the tests");
        for line in text.lines() {
            if let Some((_, name)) = line.split_once("alertname: ") {
                match name.split_once(", exp_alerts: []") {
                    Some((name, _)) => silent.insert(name.to_owned()),
                    None => firing.insert(name.to_owned()),
                };
            }
        }
    }
    let alerts = monitoring::alerts();
    assert_eq!(firing, alerts, "tried while it fires");
    assert_eq!(silent, alerts, "tried while it does not");
}

#[test]
fn every_alert_leads_to_its_section_of_the_runbook() {
    let repository = local_stack::repository();
    let runbook = std::fs::read_to_string(repository.join("docs/RUNBOOK.md")).expect("a runbook");
    let sections: BTreeSet<_> =
        runbook.lines().filter_map(|it| it.strip_prefix("### ")).map(ToOwned::to_owned).collect();

    assert_eq!(sections, monitoring::alerts());

    let rules = std::fs::read_to_string(repository.join("k8s/monitoring/rules/alerts.yml"));
    let rules = rules.expect("the alerts");
    for (name, section) in sections.iter().map(|it| (it, format!("\n### {it}\n"))) {
        let (_, text) = runbook.split_once(&section).expect("just found");
        let text = text.split("\n### ").next().expect("a part");
        let (_, rule) = rules.split_once(&format!("- alert: {name}\n")).expect("just found");
        let rule = rule.split("- alert: ").next().expect("a part");
        let link = format!("runbook_url: docs/RUNBOOK.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&link), "{name} has another link than {link}");
        let severity = text.trim_start_matches("**").split('.').next().expect("a part");
        assert!(rule.contains(&format!("severity: {severity} }}")), "{name} is no {severity}");
        for part in ["\n- Look: ", "\n- Do: "] {
            assert!(text.contains(part), "{name} has no {part}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_has_a_place_of_its_own() {
    let mut ids = BTreeSet::new();
    for dashboard in monitoring::dashboards() {
        let title = dashboard["title"].as_str().expect("a title");
        assert!(ids.insert(dashboard["uid"].to_string()), "{title}: the uid is another's");
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let at = |key: &str| panel["gridPos"][key].as_u64().expect(key);
            for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
                let free = taken.insert((at("x") + x, at("y") + y));
                assert!(free && at("x") + x < 24, "{title}: {} lies on another", panel["title"]);
            }
        }
        for panel in monitoring::panels(&dashboard) {
            let said = |value: &serde_json::Value| value.as_str().is_some_and(|it| !it.is_empty());
            assert!(said(&panel["title"]) && said(&panel["description"]), "{title}: {panel}");
            assert!(said(&panel["fieldConfig"]["defaults"]["unit"]), "{title}: {panel}");
        }
    }
    assert_eq!(ids.len(), 4, "an overview, and one for each service");
}

/// Runs Prometheus' own checker.
#[track_caller]
fn promtool(args: &[&str], file: &Path) {
    let run = Command::new("promtool").args(args).arg(file).output();
    let run = run.expect("promtool: run scripts/install.sh --tests");
    let said =
        format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{}\n{said}", file.display());
}
