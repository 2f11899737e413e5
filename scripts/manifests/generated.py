"""The one manifest that is generated: Prometheus' rules in the form that its operator wants."""

from pathlib import Path

import yaml

RULES = "k8s/monitoring/rules"
TARGET = "k8s/overlays/production/prometheus-rule.yaml"
HEAD = f"# Made from {RULES} by scripts/check-manifests --write: change those instead.\n"


def write(root: Path) -> None:
    (root / TARGET).write_text(text(root))


def problems(root: Path) -> list:
    current = (root / TARGET).read_text() if (root / TARGET).exists() else ""
    return [] if current == text(root) else [f"{TARGET}: is older than {RULES}: run scripts/check-manifests --write"]


def text(root: Path) -> str:
    groups = []
    for path in sorted((root / RULES).glob("*.yml")):
        groups += yaml.safe_load(path.read_text())["groups"]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "video-ads"},
        "spec": {"groups": groups},
    }
    return HEAD + yaml.safe_dump(rule, sort_keys=False, allow_unicode=True, width=120)
