# /// script
# requires-python = ">=3.11"
# dependencies = ["PyYAML>=6,<7", "kubernetes-validate>=1.37", "check-jsonschema>=0.39,<1"]
# ///
"""Validates Kubernetes manifests and compose files: strictly against their schemas, then for what keeps a service up and closed."""

from __future__ import annotations

import argparse
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _manifests import POD_KINDS, SERVING_KINDS, Container, Document, child, containers, documents, image_name, items, pod
from _report import NotChecked, Report, Rule, Tool, Unusable, main, need

RULES = (
    Rule("MAN001", "error", "the manifest does not fit its schema", "Mend the field named: Kubernetes drops what it does not know, silently."),
    Rule("MAN002", "error", "a kind or API version that this Kubernetes does not have", "Move to the API version that replaced it (kubectl explain), or give --kubernetes."),
    Rule("MAN003", "error", "no resource requests and limits", "resources.requests and limits for memory, requests for cpu."),
    Rule("MAN005", "error", "the container may do more than it needs", "runAsNonRoot, readOnlyRootFilesystem, allowPrivilegeEscalation: false, capabilities.drop: [ALL], seccompProfile RuntimeDefault."),
    Rule("MAN006", "error", "a server without readiness or liveness probe", "readinessProbe on a route that asks the dependencies, livenessProbe on one that does not."),
    Rule("MAN007", "error", "an image without a tag, or latest", "Name the version or, best, the digest."),
    Rule("MAN008", "error", "a selector that fits no pod", "Use the same labels in selector and template, and in the Service."),
    Rule("MAN009", "warning", "several replicas without a disruption budget or spread", "PodDisruptionBudget, and topologySpreadConstraints by host."),
    Rule("MAN010", "error", "a secret as a literal value", "valueFrom.secretKeyRef (compose: secrets, or ${VARIABLE})."),
    Rule("MAN011", "error", "a database or cache is published to the host", "Drop ports:, or bind 127.0.0.1; services reach it by its name."),
    Rule("MAN012", "error", "a database without a volume of its own", "A named volume or a volume claim: the data dies with the container otherwise."),
    Rule("MAN013", "warning", "pods end while requests are still routed to them", "preStop: sleep 5, and terminationGracePeriodSeconds above it plus the drain time."),
    Rule("MAN014", "warning", "a service starts before what it needs is ready", "depends_on: {db: {condition: service_healthy}} and a healthcheck on it."),
    Rule("MAN015", "warning", "no NetworkPolicy: every pod may speak to every other", "Deny all by default, then allow API to database, cache and collector."),
)  # fmt: skip
TOOL = Tool("validate_manifests", "1.0.0", __doc__ or "", RULES)
SECRET = re.compile(r"(?:^|_)(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY|ACCESS_KEY)$", re.I)
PLACEHOLDER = re.compile(
    r"^(?:admin|root|guest|pass(?:word|wd)?|secret|postgres|mysql|example|test|changeme|minioadmin|token)?\d{0,4}$|change.?(?:me|this|it)|your|example|placeholder|dummy|<|(?-i:^[A-Z][A-Z0-9_]+$)",
    re.I,
)
STORES = {
    "postgres": 5432,
    "postgis": 5432,
    "timescaledb": 5432,
    "redis": 6379,
    "valkey": 6379,
    "mysql": 3306,
    "mariadb": 3306,
    "mongo": 27017,
}
DATABASES = frozenset(STORES) - {"redis", "valkey"}
GROUPS = frozenset({"apps", "batch", "autoscaling", "policy", "extensions", "networking", "rbac.authorization", "storage", "admissionregistration",
                    "apiextensions", "apiregistration", "authentication", "authorization", "certificates", "coordination", "discovery", "events",
                    "flowcontrol.apiserver", "internal.apiserver", "node", "resource", "scheduling", "storagemigration"})  # fmt: skip
REMOVED = {"extensions/v1beta1": "apps/v1 or networking.k8s.io/v1", "apps/v1beta1": "apps/v1", "apps/v1beta2": "apps/v1", "policy/v1beta1": "policy/v1",
           "networking.k8s.io/v1beta1": "networking.k8s.io/v1", "batch/v1beta1": "batch/v1", "autoscaling/v2beta1": "autoscaling/v2",
           "autoscaling/v2beta2": "autoscaling/v2", "rbac.authorization.k8s.io/v1beta1": "rbac.authorization.k8s.io/v1"}  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", help="manifests, compose files, or folders of them")
    parser.add_argument("--kubernetes", default="1.31", metavar="VERSION", help="the cluster's version (default: 1.31)")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    found = documents(report, args.paths, args.exclude)
    set_by_build = {
        str(i.get("name")) for d in found if d.kind == "Kustomization" for i in items(d.data.get("images")) if isinstance(i, dict)
    }
    wrong = compose_errors(report, sorted({d.path for d in found if d.kind == "compose"}))
    for document in found:
        if document.kind == "compose":
            compose(report, document, wrong.get(str(document.path.resolve()), []))
        else:
            schema(report, document, args.kubernetes)
            kubernetes(report, document, found)
        for container in containers(document):
            for key, value in container.env.items():
                if SECRET.search(key) and value and not value.startswith("$") and not re.fullmatch(r"/\S*", value):
                    at = child(container.raw, "environment").at(key) if document.kind == "compose" else container.line
                    # A password that everybody knows is no secret that got out; it is a door that nobody has locked yet.
                    known = PLACEHOLDER.search(value) or value.lower() in (
                        container.name.lower(),
                        *map(str.lower, others(container, key)),
                    )
                    report.add(
                        "MAN010",
                        document.path,
                        at or container.line,
                        f"{container.name}: {key} is written in the file.",
                        severity="warning" if known or (document.kind == "compose" and stores_alone(document)) else None,
                    )
            _name, tag = image_name(container.image)
            if (
                container.image
                and "build" not in container.raw
                and "@" not in container.image
                and "$" not in container.image
                and tag in ("", "latest")
            ):
                # A bare name that is no official image, and one that a kustomization sets, are put in their place by the build.
                filled = container.image.startswith("ko://") or _name in set_by_build
                mild = "warning" if document.kind == "compose" or filled or not re.search(r"[/:]", container.image) else None
                report.add(
                    "MAN007", document.path, container.raw.at("image"), f"{container.name}: {container.image}.", severity=mild
                )
    workloads = [d for d in found if d.kind in SERVING_KINDS]
    if workloads and len({d.kind for d in found}) > 2 and not any(d.kind == "NetworkPolicy" for d in found):
        report.add("MAN015", workloads[0].path, workloads[0].data.line)
    report.soften("MAN003", "MAN005", "MAN006", "MAN007", "MAN010", "MAN011", "MAN012")


def others(container: Container, key: str) -> list[str]:
    """The other values of a container's environment: a password that is also the user's name or the database's."""
    return [v for k, v in container.env.items() if k != key]


def schema(report: Report, document: Document, version: str) -> None:
    api, kind = str(document.data.get("apiVersion", "")), document.kind
    if api in REMOVED:
        report.add("MAN002", document.path, document.data.at("apiVersion"), f"{api} {kind} was removed; use {REMOVED[api]}.")
        return
    group = api.partition("/")[0] if "/" in api else ""
    if group and group.removesuffix(".k8s.io") not in GROUPS:
        return  # a custom resource, whose schema is in the cluster, or another tool's file
    if not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)?", api) or not re.fullmatch(r"\w+", str(document.data.get("kind", ""))):
        report.add("MAN001", document.path, document.data.line, f"{kind} {document.name}: apiVersion and kind are not names.")
        return
    engine: Any = need("kubernetes_validate", "kubernetes-validate>=1.37")
    if not hasattr(engine.utils.schema_contents, "cache_info"):  # it reads megabytes of definitions anew for each object
        engine.utils.schema_contents = functools.lru_cache(maxsize=64)(engine.utils.schema_contents)
    if "kubernetes-validate" not in report.engines:
        report.engines.append("kubernetes-validate")
    try:
        engine.validate(plain(document.data), version, strict=True)
    except engine.ValidationError as error:
        where = ".".join(str(p) for p in error.path)
        report.add(
            "MAN001",
            document.path,
            line_at(document, list(error.path)),
            f"{kind} {document.name}: {where + ': ' if where else ''}{error.message[:300]}",
        )
    except (engine.InvalidSchemaError, engine.SchemaNotFoundError):
        report.add("MAN002", document.path, document.data.at("apiVersion"), f"Kubernetes {version} has no {api} {kind}.")
    except engine.utils.VersionNotSupportedError:
        raise Unusable(f"--kubernetes {version}: no schemas for this version") from None


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def line_at(document: Document, path: list[Any]) -> int:
    at: Any = document.data
    line = document.data.line
    for key in path:
        if isinstance(at, dict):
            line = getattr(at, "lines", {}).get(key) or line
            at = at.get(key)
        elif isinstance(at, list) and isinstance(key, int) and key < len(at):
            at = at[key]
            line = getattr(at, "line", line)
    return line


def kubernetes(report: Report, document: Document, found: list[Document]) -> None:
    path, spec = document.path, pod(document)
    top = child(document.data, "spec")
    if document.kind in SERVING_KINDS:
        wanted = child(top, "selector", "matchLabels")
        labels = child(top, "template", "metadata", "labels")
        if wanted and any(labels.get(k) != v for k, v in wanted.items()):
            report.add(
                "MAN008",
                path,
                top.at("selector"),
                f"{document.kind} {document.name}: the template lacks {', '.join(f'{k}={v}' for k, v in wanted.items() if labels.get(k) != v)}.",
            )
        replicas = top.get("replicas", 1)
        if document.kind == "Deployment" and isinstance(replicas, int) and replicas > 1:
            budget = any(
                d.kind == "PodDisruptionBudget" and covers(child(d.data, "spec", "selector", "matchLabels"), labels)
                for d in found
            )
            lacking = [
                w
                for w, there in (
                    ("PodDisruptionBudget", budget),
                    ("topologySpreadConstraints", "topologySpreadConstraints" in spec or "affinity" in spec),
                )
                if not there
            ]
            if lacking:
                report.add(
                    "MAN009",
                    path,
                    top.at("replicas"),
                    f"{document.name} has {replicas} replicas and no {' and no '.join(lacking)}.",
                )
    if document.kind == "Service":
        wanted = child(top, "selector")
        pods = [child(d.data, "spec", "template", "metadata", "labels") for d in found if d.kind in POD_KINDS]
        if wanted and pods and not any(covers(wanted, labels) for labels in pods):
            report.add(
                "MAN008", path, top.at("selector"), f"Service {document.name} selects none of the pods given.", severity="warning"
            )
    for container in containers(document):
        for rule, message, severity in of_container(document, container):
            report.add(rule, path, container.line, f"{container.name}: {message}", severity=severity)


def covers(wanted: dict[Any, Any], labels: dict[Any, Any]) -> bool:
    return bool(wanted) and all(labels.get(k) == v for k, v in wanted.items())


def of_container(document: Document, c: Container) -> Iterator[tuple[str, str, str | None]]:
    resources = child(c.raw, "resources")
    lacking = [w for w in ("requests", "limits") if "memory" not in child(resources, w)]
    if lacking:
        yield "MAN003", f"no memory {' or '.join(lacking)}.", "warning" if c.init else None
    own, whole = child(c.raw, "securityContext"), child(c.pod, "securityContext")
    open_ = [w for w, good in (
        ("runAsNonRoot", own.get("runAsNonRoot", whole.get("runAsNonRoot")) is True or bool(own.get("runAsUser", whole.get("runAsUser")))),
        ("allowPrivilegeEscalation: false", own.get("allowPrivilegeEscalation") is False),
        ("capabilities.drop: [ALL]", "ALL" in items(child(own, "capabilities").get("drop"))),
        ("readOnlyRootFilesystem", own.get("readOnlyRootFilesystem") is True),
        ("seccompProfile", bool(child(own, "seccompProfile") or child(whole, "seccompProfile"))),
    ) if not good]  # fmt: skip
    if own.get("privileged") is True:
        yield "MAN005", "privileged.", None
    elif open_:
        yield "MAN005", f"lacks {', '.join(open_)}.", None if len(open_) > 2 else "warning"
    if document.kind in ("Deployment", "StatefulSet") and not c.init and items(c.raw.get("ports")):
        missing = [p for p in ("readinessProbe", "livenessProbe") if p not in c.raw]
        if missing:
            yield "MAN006", f"no {' and no '.join(missing)}.", None if "readinessProbe" in missing else "warning"
        live = str(child(c.raw, "livenessProbe", "httpGet").get("path", ""))
        if re.search(r"ready|db|deep", live):
            yield "MAN006", f"liveness asks {live}: a dead database would restart every pod.", None
        grace = c.pod.get("terminationGracePeriodSeconds", 30)
        if document.kind == "Deployment" and "preStop" not in child(c.raw, "lifecycle"):
            yield "MAN013", "no preStop: the pod ends before its endpoint is gone.", None
        elif isinstance(grace, int) and grace < 10:
            yield "MAN013", f"terminationGracePeriodSeconds is {grace}.", None


def stores_alone(document: Document) -> str | None:
    """A compose file that builds nothing sets up what programs on a developer's host talk to: its faults are warnings."""
    services = [s for s in child(document.data, "services").values() if isinstance(s, dict)]
    return "warning" if not any("build" in s for s in services) else None


def compose_errors(report: Report, paths: list[Path]) -> dict[str, list[dict[str, str]]]:
    """What the compose specification's schema says, of all files by one process, by file."""
    out: dict[str, list[dict[str, str]]] = {}
    if not paths:
        return out
    need("check_jsonschema", "check-jsonschema>=0.39,<1")
    report.engines.append("check-jsonschema")
    command = [sys.executable, "-P", "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "-o", "json"]
    done = subprocess.run([*command, *(str(p.resolve()) for p in paths)], capture_output=True, text=True, timeout=300)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        raise NotChecked(f"check-jsonschema failed: {done.stderr.strip()[:200]}") from None
    for error in document.get("errors", []):
        out.setdefault(error["filename"], []).append(error)
    for error in document.get("parse_errors", []):
        report.skip(error["filename"], "check-jsonschema cannot read it")
    return out


def compose(report: Report, document: Document, wrong: list[dict[str, str]]) -> None:
    path = document.path
    for error in wrong:
        report.add(
            "MAN001",
            path,
            line_at(document, [p for p in re.split(r"[.\[\]]+", error["path"].removeprefix("$")) if p]),
            f"{error['path']}: {error['message'][:200]}",
        )
    services = child(document.data, "services")
    volumes = child(document.data, "volumes")
    mild = stores_alone(document)
    for name, service in services.items():
        if not isinstance(service, dict):
            continue
        kind = image_name(str(service.get("image", "")))[0]
        if kind in STORES:
            for port in items(service.get("ports")):
                host = port.get("host_ip", "") if isinstance(port, dict) else str(port).rpartition(":")[0].rpartition(":")[0]
                published = isinstance(port, dict) or ":" in str(port)
                if published and host not in ("127.0.0.1", "localhost", "[::1]"):
                    report.add(
                        "MAN011",
                        path,
                        service.at("ports"),
                        f"{name} is reachable from outside at {port.get('published') if isinstance(port, dict) else port}.",
                        severity=mild,
                    )  # type: ignore[attr-defined]
        if kind in DATABASES:
            mounted = [
                str(v.get("source", "")) if isinstance(v, dict) else str(v).partition(":")[0]
                for v in items(service.get("volumes"))
            ]
            if not any(m in volumes or m.startswith(("/", ".", "$")) for m in mounted) and not service.get("tmpfs"):
                report.add("MAN012", path, services.at(name), f"{name} keeps its data in the container.", severity=mild)
        needs = service.get("depends_on")
        for other in needs if isinstance(needs, list) else []:
            if image_name(str(child(services, str(other)).get("image", "")))[0] in STORES:
                report.add("MAN014", path, service.at("depends_on"), f"{name} does not wait until {other} is healthy.")  # type: ignore[attr-defined]


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
