"""Whether objects are what the API server would take: Kubernetes' own, and custom resources."""

from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

from references import called

# The oldest release that is supported, and the newest that there are schemas of.
KUBERNETES = ["1.32", "1.37"]


def custom(folder: Path) -> dict:
    """Reads definitions of custom resources; returns the schema of each apiVersion and kind."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            api_version = f"{spec['group']}/{version['name']}"
            schema = version["schema"]["openAPIV3Schema"]
            found[api_version, spec["names"]["kind"]] = strict(schema)
    return found


def strict(schema: dict) -> dict:
    """Turns the structural schema of a definition into JSON Schema that allows no unknown field."""
    schema = dict(schema)
    if schema.pop("x-kubernetes-int-or-string", False):
        schema["type"] = ["integer", "string"]
    if schema.pop("nullable", False) and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if "properties" in schema:
        schema["properties"] = {name: strict(it) for name, it in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            schema[name] = strict(schema[name])
    return schema


def problems(objects: list, custom: dict) -> list:
    found = []
    for it in objects:
        name = called(it)
        schema = custom.get((it["apiVersion"], it["kind"]))
        if schema:
            errors = jsonschema.Draft202012Validator(schema).iter_errors(it)
            found += [f"{name}: {error.json_path}: {error.message}" for error in errors]
            continue
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(it, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                found.append(f"{name}, Kubernetes {version}: {error.json_path}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError as error:
                found.append(f"{name}: {error.message}, nor a definition of it")
    return found
