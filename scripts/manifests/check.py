"""Checks what kustomize makes of the overlays, and docker-compose.yml, beyond their schemas.

Prints every problem and exits with 1.
"""

import argparse
import json
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
    "production": {"Secret stores", "Secret stores-ca"},
}


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tools", required=True, type=Path)
    arguments.add_argument("--write", action="store_true")
    arguments = arguments.parse_args()

    if arguments.write:
        generated.write(ROOT)
    tools = arguments.tools
    compose = json.loads(run([tools / "bin/compose-go", "-format", "json", "docker-compose.yml"]))
    problems = rules.of_the_repository(ROOT, compose) + generated.problems(ROOT)
    custom = schemas.custom(tools / "crds")
    for name, made_by_hand in OVERLAYS.items():
        built = run([tools / "bin/kustomize", "build", f"k8s/overlays/{name}"])
        objects = [it for it in yaml.safe_load_all(built) if it]
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


def run(command: list) -> bytes:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"\n{command[-1]} cannot be read")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
