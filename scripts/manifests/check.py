"""Checks what kustomize makes of the overlays, and docker-compose.yml, beyond their schemas.

Prints every problem and exits with 1.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

import generated
import references
import rules
import schemas

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = {
    # What an operator makes by hand before the overlay is applied.
    "minikube": set(),
    "production": {"Secret stores"},
}


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--kustomize", required=True)
    arguments.add_argument("--crds", required=True, type=Path)
    arguments.add_argument("--write", action="store_true")
    arguments = arguments.parse_args()

    if arguments.write:
        generated.write(ROOT)
    custom = schemas.custom(arguments.crds)
    problems = rules.of_the_repository(ROOT) + generated.problems(ROOT)
    for name, made_by_hand in OVERLAYS.items():
        objects = render(arguments.kustomize, ROOT / "k8s/overlays" / name)
        found = [
            *schemas.problems(objects, custom),
            *references.problems(objects, made_by_hand),
            *rules.of_objects(ROOT, objects),
        ]
        problems += [f"k8s/overlays/{name}: {problem}" for problem in found]
        if not found:
            print(f"k8s/overlays/{name}: {len(objects)} objects are as they should be")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def render(kustomize: str, overlay: Path) -> list:
    run = subprocess.run([kustomize, "build", overlay], stdout=subprocess.PIPE)
    if run.returncode != 0:
        sys.exit(f"{overlay} cannot be built")
    return [it for it in yaml.safe_load_all(run.stdout) if it]


if __name__ == "__main__":
    sys.exit(main())
