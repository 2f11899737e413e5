"""What must agree between files that do not know of each other."""

import re
from pathlib import Path

import yaml

from references import called, containers, pod_template

OURS = "video-ads/"
DEFAULT_SHUTDOWN_TIMEOUT = "25s"


def of_the_repository(root: Path, compose: dict) -> list:
    """Versions and names that stand in more than one file."""
    found = []
    dockerfile = (root / "Dockerfile").read_text()
    toolchain = value(root / "rust-toolchain.toml", r'^channel = "(.*)"')
    if any(it not in dockerfile for it in (f"FROM rust:{toolchain}-", f"RUSTUP_TOOLCHAIN={toolchain}\n")):
        found.append(f"Dockerfile: not the compiler of rust-toolchain.toml, {toolchain}")

    services, settings = compose["services"], known_settings(root)
    for name, service in services.items():
        if service["image"].startswith(OURS):
            found += unknown(f"docker-compose.yml: {name}", service["environment"], settings)
        wanted = set(service.get("depends_on", {})) - set(services)
        wanted |= {it["source"] for it in service.get("volumes", [])
                   if it["type"] == "volume" and it["source"] not in compose["volumes"]}
        wanted |= {it["source"] for it in service.get("volumes", [])
                   if it["type"] == "bind" and not Path(it["source"]).exists()}
        found += [f"docker-compose.yml: {name} wants {it}, which is not there" for it in sorted(wanted)]
    kafka = value(root / "crates/local-stack/kafka/pom.xml", r"<kafka.version>(.*)</kafka.version>")
    if services["kafka"]["image"] != f"apache/kafka:{kafka}":
        found.append(f"docker-compose.yml: not the Kafka of the local stack, {kafka}")

    minikube = "".join(it.read_text() for it in (root / "k8s/overlays/minikube").glob("*.yaml"))
    images = {service["image"] for service in services.values()}
    found += [f"k8s/overlays/minikube: {image} is not in docker-compose.yml"
              for image in re.findall(r"image: (\S+)", minikube)
              if image not in images and not image.startswith(OURS)]

    for folder, pattern in (("dashboards", "*.json"), ("rules", "*.yml")):
        folder = root / "k8s/monitoring" / folder
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())
        listed = set(listed["configMapGenerator"][0]["files"])
        found += [f"{folder / 'kustomization.yaml'}: does not list {it.name}"
                  for it in sorted(folder.glob(pattern)) if it.name not in listed]
    return found


def of_objects(root: Path, objects: list) -> list:
    """What our pods are told, and how long they may take to stop."""
    settings = known_settings(root)
    maps = {it["metadata"]["name"]: it.get("data", {}) for it in objects if it["kind"] == "ConfigMap"}
    found = []
    for it in objects:
        if not pod_template(it):
            continue
        pod = pod_template(it)["spec"]
        for container in containers(pod):
            if OURS not in container["image"]:
                continue
            name = called(it)
            told = {}
            for source in container.get("envFrom", []):
                told |= maps[source["configMapRef"]["name"]]
            told |= {variable["name"]: variable.get("value") for variable in container.get("env", [])}
            found += unknown(name, told, settings)
            if it["kind"] in ("Deployment", "StatefulSet"):
                timeout = seconds(told.get("SHUTDOWN_TIMEOUT", DEFAULT_SHUTDOWN_TIMEOUT))
                if pod["terminationGracePeriodSeconds"] <= timeout:
                    found.append(f"{name}: is killed before SHUTDOWN_TIMEOUT is over")
    return found


def known_settings(root: Path) -> set:
    """Those of .env.example, and the files of secrets that the README's table names; tests compare both
    with what the services read."""
    settings = re.findall(r"^#?([A-Z_]+)=", (root / ".env.example").read_text(), re.MULTILINE)
    files = re.findall(r"^\| `[A-Z_]+` or `([A-Z_]+_FILE)` \|", (root / "README.md").read_text(), re.MULTILINE)
    return {*settings, *files}


def unknown(who: str, told, settings: set) -> list:
    return [f"{who}: no service reads {name}" for name in sorted(set(told) - settings)]


def seconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def value(path: Path, pattern: str) -> str:
    return re.search(pattern, path.read_text(), re.MULTILINE).group(1)
