"""Whether what objects name is there: kustomize and the schemas do not look."""


def problems(objects: list, made_by_hand: set) -> list:
    pods = {called(it): pod_template(it) for it in objects if pod_template(it)}
    names = {called(it) for it in objects} | made_by_hand
    keys = {called(it): it.get("data", {}).keys() for it in objects
            if it["kind"] in ("ConfigMap", "Secret")}
    services = {it["metadata"]["name"]: it["spec"] for it in objects if it["kind"] == "Service"}

    found = []
    for owner, template in pods.items():
        for kind, name, key in used_by(template["spec"]):
            source = f"{kind} {name}"
            if source not in names:
                found.append(f"{owner}: there is no {source}")
            elif key and source in keys and key not in keys[source]:
                found.append(f"{owner}: {source} has no {key}")
        found += [f"{owner}: there is no port {port}" for port in probed(template["spec"])
                  if port not in ports(template["spec"])]
    for name, service in services.items():
        chosen = [it for it in pods.values() if selects(service["selector"], it)]
        if not chosen:
            found.append(f"Service {name}: there is no such pod")
        found += [f"Service {name}: its pods have no port {port['targetPort']}"
                  for port in service["ports"] for it in chosen
                  if port["targetPort"] not in ports(it["spec"])]
    for it in objects:
        found += [f"{called(it)}: {problem}"
                  for problem in dangling(it, names, pods, services)]
    return found


def dangling(it: dict, names: set, pods: dict, services: dict) -> list:
    spec, kind = it.get("spec", {}), it["kind"]
    if kind == "StatefulSet" and spec["serviceName"] not in services:
        return [f"there is no Service {spec['serviceName']}"]
    if kind == "PodDisruptionBudget":
        chosen = [it for it in pods.values() if selects(spec["selector"]["matchLabels"], it)]
        return [] if chosen else ["there is no such pod"]
    if kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        target = spec["scaleTargetRef"]
        target = f"{target.get('kind', 'Deployment')} {target['name']}"
        return [] if target in names else [f"there is no {target}"]
    if "strimzi.io/cluster" in it["metadata"].get("labels", {}):
        cluster = f"Kafka {it['metadata']['labels']['strimzi.io/cluster']}"
        return [] if cluster in names else [f"there is no {cluster}"]
    if kind == "Ingress":
        backends = [path["backend"]["service"] for rule in spec["rules"] for path in rule["http"]["paths"]]
        served = {(name, port["name"]) for name, it in services.items() for port in it["ports"]}
        return [f"there is no Service {it['name']} with port {it['port']['name']}" for it in backends
                if (it["name"], it["port"]["name"]) not in served]
    return []


def pod_template(it: dict) -> dict | None:
    """What pods an object makes."""
    spec = it["spec"]["jobTemplate"]["spec"] if it["kind"] == "CronJob" else it.get("spec", {})
    return spec["template"] if it["kind"] in ("CronJob", "Deployment", "Job", "StatefulSet") else None


def called(it: dict) -> str:
    return f"{it['kind']} {it['metadata']['name']}"


def used_by(pod: dict):
    """Yields kind, name and key (or None) of each ConfigMap and Secret that a pod uses."""
    for container in containers(pod):
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"], None
            if "secretRef" in source:
                yield "Secret", source["secretRef"]["name"], None
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in source:
                    yield kind, source[field]["name"], source[field]["key"]
    mounted = {it["name"]: it.get("subPath") for container in containers(pod)
               for it in container.get("volumeMounts", [])}
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], mounted.get(volume["name"])
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], mounted.get(volume["name"])


def containers(pod: dict) -> list:
    return pod.get("initContainers", []) + pod["containers"]


def ports(pod: dict) -> set:
    return {port["name"] for container in containers(pod) for port in container.get("ports", [])}


def probed(pod: dict) -> set:
    probes = [container[kind] for container in containers(pod)
              for kind in ("startupProbe", "livenessProbe", "readinessProbe") if kind in container]
    return {probe[how]["port"] for probe in probes for how in ("httpGet", "tcpSocket") if how in probe}


def selects(labels: dict, template: dict) -> bool:
    return labels.items() <= template["metadata"]["labels"].items()
