"""Parses pages of metrics as strictly as OpenMetrics asks, and prints their families as JSON."""

import json
import sys
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

# Not what a metric is told apart by, but the bounds of its buckets.
BOUND = "le"


def family(it) -> dict:
    labels = {}
    for sample in it.samples:
        for name, value in sample.labels.items():
            if name != BOUND:
                labels.setdefault(name, set()).add(value)
    return {
        "name": it.name,
        "type": it.type,
        "unit": it.unit,
        "help": it.documentation,
        "labels": {name: sorted(values) for name, values in labels.items()},
    }


def main() -> None:
    pages = [Path(it).read_text() for it in sys.argv[1:]]
    print(json.dumps([[family(it) for it in text_string_to_metric_families(page)] for page in pages]))


main()
