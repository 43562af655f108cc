# /// script
# requires-python = ">=3.11"
# dependencies = ["packaging>=24", "PyYAML>=6,<7"]
# ///
"""Matches pinned requirements and Cargo.lock against a local copy of advisories in OSV form; without such a copy nothing is claimed."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _report import NotChecked, Report, Rule, Tool, Unusable, files, main, need

RULES = (
    Rule("DEP001", "error", "a known vulnerability", "Move to a fixed version."),
    Rule("DEP002", "warning", "a requirement that is not pinned, so it could not be matched", "Pin it with ==, best with hashes (pip-compile --generate-hashes)."),
    Rule("DEP003", "error", "the advisory data is absent or too old (exit code 3)", "Clone github.com/pypa/advisory-database and github.com/rustsec/advisory-db, and pull daily."),
    Rule("DEP004", "warning", "a package that is withdrawn or no longer maintained", "Replace it."),
    Rule("DEP005", "warning", "a licence that is not on the list of those allowed, or that the package does not name", "Replace the package, or have the licence allowed by those who may."),
)  # fmt: skip
TOOL = Tool("scan_dependencies", "1.0.0", __doc__ or "", RULES)
SPDX = {"MIT License": "MIT", "Apache Software License": "Apache-2.0", "BSD License": "BSD-3-Clause", "Python Software Foundation License": "PSF-2.0",
        "ISC License (ISCL)": "ISC", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "The Unlicense (Unlicense)": "Unlicense"}  # fmt: skip
PIN = re.compile(r"\A([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*===?\s*([^\s;*]+)")


@dataclass(frozen=True)
class Package:
    ecosystem: str
    name: str
    version: str
    path: Path
    line: int


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", help="requirements*.txt, output of pip freeze, Cargo.lock, or folders of them")
    parser.add_argument(
        "--advisories",
        action="append",
        default=[],
        required=True,
        metavar="DIR",
        help="a folder of OSV records (.json, .yaml), may be given again",
    )
    parser.add_argument("--max-age", type=float, default=7, metavar="DAYS", help="the newest record may be this old (default: 7)")
    parser.add_argument(
        "--licence",
        action="append",
        default=[],
        metavar="SPDX",
        help="a licence that is allowed, may be given again; with --environment",
    )
    parser.add_argument(
        "--environment", metavar="DIR", help="the site-packages where the pinned packages are installed: licences are read there"
    )
    parser.add_argument("--sbom", metavar="FILE", help="write a CycloneDX 1.6 list of the packages there")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    version: Any = need("packaging.version", "packaging>=24")
    packages = list(wanted(report, args))
    if not packages:
        return
    if bool(args.licence) != bool(args.environment):
        raise Unusable("--licence and --environment go together")
    if args.sbom:
        bill(Path(args.sbom), packages)
    if args.environment:
        licences(report, packages, Path(args.environment), {word.lower() for word in args.licence})
    records = advisories(report, args)
    for package in packages:
        for record, fixed in matching(version, records.get((package.ecosystem, normal(package.name)), []), package):
            name = record.get("id", "?")
            also = f" ({', '.join(record.get('aliases') or [])})" if record.get("aliases") else ""
            informational = any((a.get("database_specific") or {}).get("informational") for a in record.get("affected", []))
            summary = str(record.get("summary") or record.get("details") or "").splitlines()
            report.add("DEP004" if informational else "DEP001", package.path, package.line, f"{package.name} {package.version}: {name}{also}{': ' + summary[0][:160] if summary else ''}",
                       fix=f"Move to {fixed} or later." if fixed else None)  # fmt: skip


def wanted(report: Report, args: argparse.Namespace) -> Iterator[Package]:
    for path in files(
        report, args.paths, ["requirements*.txt", "constraints*.txt", "Cargo.lock", "uv.lock", "poetry.lock"], args.exclude
    ):
        text = report.read(path)
        if text is None:
            continue
        found = 0
        if path.suffix == ".lock":
            try:
                entries = tomllib.loads(text).get("package", [])
            except tomllib.TOMLDecodeError as error:
                report.skip(path, f"not TOML: {error}")
                continue
            ecosystem = "crates.io" if path.name == "Cargo.lock" else "PyPI"
            for entry in entries:
                # Without a registry it is the project itself; poetry.lock names only other registries than PyPI.
                source = entry.get("source", "" if path.name == "poetry.lock" else None)
                local = source is None or (isinstance(source, dict) and not {"registry", "url"} & set(source))
                if not local and "version" in entry:
                    line = 1 + text[: max(0, text.find(f'name = "{entry["name"]}"\nversion = "{entry["version"]}"'))].count("\n")
                    found += 1
                    yield Package(ecosystem, entry["name"], entry["version"], path, line)
        else:
            for number, line in enumerate(text.splitlines(), 1):
                item = re.sub(r"\s+#.*|^#.*", "", line).strip().rstrip("\\").strip()
                if not item or item.startswith("-"):
                    continue
                found += 1
                if match := PIN.match(item):
                    yield Package("PyPI", match[1], match[2], path, number)
                elif re.match(r"[A-Za-z0-9]", item):
                    report.add("DEP002", path, number, f"{item.split(';')[0].strip()} is not pinned.")
                else:
                    report.skip(path, f"line {number} is no requirement")
        if found:
            report.scanned += 1
        else:
            report.skip(path, "no package is named in it")


def bill(path: Path, packages: list[Package]) -> None:
    """The bill of materials: each package once, without a date, so that the same packages give the same bytes."""
    kinds = {"PyPI": "pypi", "crates.io": "cargo"}
    urls = sorted(
        {
            (f"pkg:{kinds[p.ecosystem]}/{normal(p.name) if p.ecosystem == 'PyPI' else p.name}@{p.version}", p.name, p.version)
            for p in packages
        }
    )
    components = [
        {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url} for url, name, version in urls
    ]
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise Unusable(f"--sbom: {error}") from None


def licences(report: Report, packages: list[Package], environment: Path, allowed: set[str]) -> None:
    """Compare what installed packages say of their licence: an SPDX expression, else the old field or its classifiers."""
    if not environment.is_dir():
        raise NotChecked(f"--environment: {environment} is no folder")
    found = {
        normal(d.metadata["Name"]): d for d in importlib.metadata.distributions(path=[str(environment)]) if d.metadata["Name"]
    }
    for package in (p for p in packages if p.ecosystem == "PyPI"):
        installed = found.get(normal(package.name))
        if installed is None:
            report.skip(package.path, f"{package.name} is not installed in {environment}, so its licence is not known")
            continue
        words = named(installed.metadata)
        if not words:
            report.add("DEP005", package.path, package.line, f"{package.name} names no licence.")
        elif not any(all(part.strip("() ").lower() in allowed for part in choice.split(" AND ")) for choice in words):
            report.add("DEP005", package.path, package.line, f"{package.name} is under {' / '.join(words)}.")


def named(metadata: Any) -> list[str]:
    """The choices of licence that a package gives."""
    if expression := metadata.get("License-Expression"):
        return [choice.strip("() ") for choice in re.split(r"\bOR\b", expression)]
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or () if c.startswith("License :: ")]
    short = (metadata.get("License") or "").strip()
    choices = [short] if short and len(short) < 60 else []
    return choices + [SPDX.get(c, c) for c in classifiers if c != "OSI Approved"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def advisories(report: Report, args: argparse.Namespace) -> dict[tuple[str, str], list[dict[str, Any]]]:
    yaml: Any = need("yaml", "PyYAML>=6,<7")
    load = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    out: dict[tuple[str, str], list[dict[str, Any]]] = {}
    newest, count = 0.0, 0
    for folder in args.advisories:
        root = Path(folder)
        if not root.is_dir():
            raise NotChecked(f"DEP003: no advisory data at {root}")
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".json", ".yaml", ".yml", ".md") and ".git" not in p.parts):
            try:
                record = (
                    rustsec(path.read_text("utf-8"))
                    if path.suffix == ".md"
                    else json.loads(path.read_text("utf-8"))
                    if path.suffix == ".json"
                    else yaml.load(path.read_text("utf-8"), Loader=load)
                )
            except (OSError, ValueError, yaml.YAMLError):
                continue
            if not isinstance(record, dict) or "affected" not in record or record.get("withdrawn"):
                continue
            count += 1
            newest = max(newest, stamp(str(record.get("modified") or "")))
            for affected in record["affected"]:
                package = affected.get("package") or {}
                out.setdefault((str(package.get("ecosystem")), normal(str(package.get("name")))), []).append(record)
    if not count:
        raise NotChecked("DEP003: the advisory folders hold no OSV record")
    age = (time.time() - newest) / 86400
    if age > args.max_age:
        raise NotChecked(f"DEP003: the newest advisory is {age:.0f} days old; at most {args.max_age:g} are allowed")
    report.engines.append(f"{count} OSV records, the newest {age:.0f} days old")
    return out


def rustsec(text: str) -> dict[str, Any]:
    """RustSec's own form: a TOML block at the head of a Markdown file."""
    block = re.match(r"```toml\n(.*?)```", text, re.S)
    if not block:
        return {}
    data = tomllib.loads(block[1])
    advisory, versions = data.get("advisory", {}), data.get("versions", {})
    return {"id": advisory.get("id"), "modified": str(advisory.get("date", "")), "aliases": advisory.get("aliases", []), "summary": "",
            "affected": [{"package": {"ecosystem": "crates.io", "name": advisory.get("package")}, "rustsec": versions,
                          "database_specific": {"informational": advisory.get("informational")}}]}  # fmt: skip


def stamp(text: str) -> float:
    try:
        return time.mktime(time.strptime(text[:10], "%Y-%m-%d"))
    except ValueError:
        return 0.0


def matching(version: Any, records: list[dict[str, Any]], package: Package) -> Iterator[tuple[dict[str, Any], str | None]]:
    try:
        own = version.Version(package.version)
    except version.InvalidVersion:
        return
    for record in records:
        for affected in record["affected"]:
            named = affected.get("package") or {}
            if (str(named.get("ecosystem")), normal(str(named.get("name")))) != (package.ecosystem, normal(package.name)):
                continue
            if "rustsec" in affected:
                hit, fixed = in_rustsec(version, affected["rustsec"], own)
            else:
                hit, fixed = in_ranges(version, affected, own)
                hit = hit or package.version in (affected.get("versions") or [])
            if hit:
                yield record, fixed
                break


def in_ranges(version: Any, affected: dict[str, Any], own: Any) -> tuple[bool, str | None]:
    fixed_at: list[str] = []
    hit = False
    for part in affected.get("ranges") or []:
        if part.get("type") not in ("ECOSYSTEM", "SEMVER"):
            continue
        inside = False
        for event in sorted(part.get("events") or [], key=lambda e: version.Version(parsed(version, next(iter(e.values()))))):
            word, value = next(iter(event.items()))
            at = version.Version(parsed(version, value))
            if word == "introduced" and own >= at:
                inside = True
            elif word == "fixed" and own >= at:
                inside = False
            elif word == "fixed" and inside:
                fixed_at.append(str(value))
            elif word == "last_affected" and own > at:
                inside = False
        hit = hit or inside
    return hit, fixed_at[0] if fixed_at else None


def parsed(version: Any, text: Any) -> str:
    try:
        version.Version(str(text))
    except version.InvalidVersion:
        return "0"
    return str(text)


def in_rustsec(version: Any, versions: dict[str, Any], own: Any) -> tuple[bool, str | None]:
    def fits(requirement: str) -> bool:
        for clause in requirement.split(","):
            match = re.match(r"\s*(>=|<=|>|<|=|\^|~)?\s*([\w.+-]+)", clause)
            if not match:
                return False
            sign, base = match[1] or "^", version.Version(parsed(version, match[2]))
            upper = base.release[0] if base.release[0] else None
            good = {">=": own >= base, ">": own > base, "<=": own <= base, "<": own < base, "=": own == base}.get(sign)
            if good is None:
                same = own.release[0] == upper if upper else own.release[:2] == (*base.release, 0)[:2]
                good = own >= base and same
            if not good:
                return False
        return True

    patched = versions.get("patched") or []
    safe = any(fits(r) for r in [*patched, *(versions.get("unaffected") or [])])
    return not safe, next((re.sub(r"[^\d.].*$", "", re.sub(r"^[^\d]+", "", p)) for p in patched), None)


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
