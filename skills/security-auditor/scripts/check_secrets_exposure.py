# /// script
# requires-python = ">=3.11"
# dependencies = ["detect-secrets>=1.5,<2", "PyYAML>=6,<7"]
# ///
"""Looks for secrets in a tree: keys and tokens in any file, files that hold credentials, and .env files that git would take."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path
from typing import Any

from _report import PRUNED, Report, Rule, Tool, Unusable, files, main, need

ROTATE = "Revoke it first, then move it to a secret store or the environment; a secret that was once pushed is known."
RULES = (
    Rule("KEY001", "error", "a cloud provider's key", ROTATE),
    Rule("KEY002", "error", "a token of a code host or package registry", ROTATE),
    Rule("KEY003", "error", "a token of a chat, mail or messaging service", ROTATE),
    Rule("KEY004", "error", "a payment provider's key", ROTATE),
    Rule("KEY005", "error", "a private key", ROTATE),
    Rule("KEY006", "error", "a password in a URL", ROTATE),
    Rule("KEY007", "warning", "a JSON web token", "If it is still valid, revoke it; tests make theirs when they run."),
    Rule("KEY008", "warning", "a secret-like name is given a literal value", "Read it from the environment, without a default."),
    Rule("KEY009", "error", "a .env file with values is tracked by git", "git rm --cached it, ignore it, keep a .env.example without values, and rotate what it held."),
    Rule("KEY010", "warning", "a manifest gives a secret as a literal", "valueFrom.secretKeyRef (compose: secrets, or ${VARIABLE})."),
    Rule("KEY011", "error", "a file that exists to hold credentials", "Keep it outside the repository."),
    Rule("KEY012", "warning", "a .env file that git would take with the next `add .`", "Add .env to .gitignore."),
    Rule("KEY013", "error", "a secret in the history", ROTATE),
)  # fmt: skip
TOOL = Tool("check_secrets_exposure", "1.0.0", __doc__ or "", RULES)
PLUGINS = {
    "AWSKeyDetector": "KEY001", "AzureStorageKeyDetector": "KEY001", "IbmCloudIamDetector": "KEY001", "SoftlayerDetector": "KEY001", "CloudantDetector": "KEY001",
    "GitHubTokenDetector": "KEY002", "GitLabTokenDetector": "KEY002", "NpmDetector": "KEY002", "PypiTokenDetector": "KEY002", "ArtifactoryDetector": "KEY002",
    "SlackDetector": "KEY003", "DiscordBotTokenDetector": "KEY003", "TelegramBotTokenDetector": "KEY003", "TwilioKeyDetector": "KEY003",
    "MailchimpDetector": "KEY003", "SendGridDetector": "KEY003", "OpenAIDetector": "KEY001", "StripeDetector": "KEY004", "SquareOAuthDetector": "KEY004",
    "PrivateKeyDetector": "KEY005", "BasicAuthDetector": "KEY006", "JwtTokenDetector": "KEY007", "KeywordDetector": "KEY008",
}  # fmt: skip
FILTERS = [f"detect_secrets.filters.{name}" for name in (
    "allowlist.is_line_allowlisted", "heuristic.is_sequential_string", "heuristic.is_potential_uuid", "heuristic.is_likely_id_string",
    "heuristic.is_templated_secret", "heuristic.is_prefixed_with_dollar_sign", "heuristic.is_indirect_reference", "heuristic.is_lock_file",
    "heuristic.is_not_alphanumeric_string", "heuristic.is_swagger_file")]  # fmt: skip
CREDENTIALS = {
    "kubeconfig": None,
    ".npmrc": "_authToken=",
    ".pypirc": "password",
    ".pgpass": None,
    "credentials": "aws_secret_access_key",
    ".netrc": "password",
    ".htpasswd": None,
}
# `NAME: value` or `NAME=value` of a manifest, where detect-secrets asks for quotes.
LITERAL = re.compile(
    r"""^\s*(?:-\s*)?["']?\w*(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY|ACCESS_KEY)["']?\s*[:=]\s*["']?([^\s"'#${<]{8,})["']?\s*(?:#.*)?$""",
    re.I,
)
BORING = re.compile(
    r"change.?(me|this)|example|placeholder|dummy|your|xxx|<|\*\*|todo|replace|test|fake|sample|insert|password|passwd|secret|postgres|guest|admin|user|minioadmin|none|null|foo|bar",
    re.I,
)
BINARY = {".png", ".jpg", ".jpeg", ".gif", ".ico", ".pdf", ".zip", ".gz", ".whl", ".so", ".pyc", ".parquet", ".pkl", ".woff", ".woff2", ".ttf", ".mp4", ".jar", ".svg", ".bin", ".db", ".sqlite", ".webp"}  # fmt: skip
LOCKS = frozenset(
    {"package-lock.json", "yarn.lock", "pnpm-lock.yaml", "poetry.lock", "uv.lock", "Cargo.lock", "pdm.lock", "bun.lock"}
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", help="files or folders")
    parser.add_argument("--source-dir", action="append", default=[], metavar="DIR", help="a folder to scan (may be given again)")
    parser.add_argument("--history", action="store_true", help="also scan the lines that were ever added in git")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    need("detect_secrets", "detect-secrets>=1.5,<2")
    scan: Any = need("detect_secrets.core.scan", "detect-secrets>=1.5,<2")
    settings: Any = need("detect_secrets.settings", "detect-secrets>=1.5,<2")
    usage: Any = need("detect_secrets.core.plugins.util", "detect-secrets>=1.5,<2")
    report.engines.append("detect-secrets")
    known = {c.__name__: c.secret_type for c in usage.get_mapping_from_secret_type_to_class().values()}
    kinds = {known[name]: rule for name, rule in PLUGINS.items() if name in known}
    targets = [*args.paths, *args.source_dir]
    with settings.transient_settings(
        {"plugins_used": [{"name": n} for n in PLUGINS if n in known], "filters_used": [{"path": f} for f in FILTERS]}
    ):
        for path in files(report, targets, ["*"], [*args.exclude, *PRUNED]):
            if path.suffix.lower() in BINARY or path.name in LOCKS:
                continue
            one_file(report, scan, kinds, path)
        if args.history:
            for target in targets:
                history(report, scan, kinds, Path(target))


def one_file(report: Report, scan: Any, kinds: dict[str, str], path: Path) -> None:
    try:
        raw = path.read_bytes() if path.is_file() and path.stat().st_size <= 4 << 20 else None
    except OSError as error:
        report.skip(path, f"unreadable: {error}")
        return
    if raw is None:
        report.skip(path, "larger than 4 MiB, or not a regular file")
        return
    if b"\0" in raw[:8192]:
        return  # a binary file of an unusual name
    report.scanned += 1
    text = raw.decode("utf-8", "replace")
    name = path.name
    if name in CREDENTIALS and text.strip():
        word = CREDENTIALS[name]
        held = [
            line
            for line in text.splitlines()
            if word is None or (word in line and not re.search(re.escape(word) + r"\s*[=:]?\s*[\"']?(\$|<|\{\{)", line))
        ]
        if [line for line in held if line.strip() and not line.lstrip().startswith("#")]:
            report.add("KEY011", path, 0, f"{name} holds credentials.", severity="warning" if report.staged(path) else None)
    if (name == ".env" or name.startswith(".env.")) and not name.endswith((".example", ".sample", ".template", ".dist")):
        environment(report, path, text)
    told: set[tuple[int, str]] = set()
    manifest = path.suffix in (".yaml", ".yml") and re.search(r"^(?:services|kind):", text, re.M) is not None
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > 4000:
            continue
        literal = LITERAL.match(line) if manifest else None
        if literal and (number, "KEY010") not in told and worth("KEY010", literal[1], line, path):
            told.add((number, "KEY010"))
            severity = "info" if report.staged(path) else None
            report.add("KEY010", path, number, "a secret-like name.", evidence=redacted(literal[1]), severity=severity)
        for secret in scan.scan_line(line):
            rule = kinds.get(secret.type)
            rule = "KEY010" if rule == "KEY008" and manifest else rule
            if rule and (number, rule) not in told and worth(rule, secret.secret_value or "", line, path):
                told.add((number, rule))
                testing = report.staged(path) or path.suffix in (".md", ".rst")
                report.add(
                    rule,
                    path,
                    number,
                    f"{secret.type}.",
                    evidence=redacted(secret.secret_value or ""),
                    severity="warning" if testing and rule not in ("KEY008", "KEY010") else "info" if testing else None,
                )


def worth(rule: str, value: str, line: str, path: Path) -> bool:
    """Whether a hit is more than a placeholder. detect-secrets' own filters have already dropped templates and references."""
    if rule in ("KEY006", "KEY008", "KEY010") and (BORING.search(value) or len(value) < 6):
        return False
    if rule == "KEY006":
        return not re.search(r"@(localhost|127\.0\.0\.1|db|postgres|redis|host|example)", line) or len(value) >= 16
    if rule in ("KEY008", "KEY010"):
        code = path.suffix in (".py", ".js", ".ts", ".go", ".rs", ".java")
        quoted = re.search(r"[=:]\s*[rbuf]?[\"']" + re.escape(value), line) is not None
        return (
            (quoted or not code)
            and bool(re.search(r"\d", value))
            and not re.search(r"\s|\(|^[a-z_.-]+$|^https?:|^/", value)
            and not re.search(r"description|help|title|label", line, re.I)
        )
    return True


def redacted(value: str) -> str:
    return f"{value[:2]}{'*' * 6} ({len(value)} characters)"


def environment(report: Report, path: Path, text: str) -> None:
    values = [
        line for line in text.splitlines() if re.match(r"\s*(export\s+)?\w*(PASSWORD|SECRET|TOKEN|KEY|DSN|URL)\w*\s*=\s*\S", line)
    ]
    if not values:
        return
    tracked = git(path.parent, "ls-files", "--error-unmatch", path.name)
    if tracked is None:
        return
    if tracked.returncode == 0:
        real = [v for v in values if not BORING.search(v.partition("=")[2])]
        report.add(
            "KEY009", path, 0, f"{path.name} is tracked and sets {len(values)} secret(s).", severity=None if real else "warning"
        )
    elif (ignored := git(path.parent, "check-ignore", "-q", path.name)) is not None and ignored.returncode == 1:
        report.add("KEY012", path, 0, f"{path.name} is neither tracked nor ignored.")


def git(folder: Path, *words: str) -> subprocess.CompletedProcess[str] | None:
    """A git command's outcome; None where there is no git or no repository."""
    try:
        inside = subprocess.run(
            ["git", "rev-parse", "--is-inside-work-tree"], cwd=folder, capture_output=True, text=True, timeout=20
        )
        if inside.returncode != 0:
            return None
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, errors="replace", timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return None


def history(report: Report, scan: Any, kinds: dict[str, str], root: Path) -> None:
    log = git(
        root if root.is_dir() else root.parent, "log", "--all", "-p", "-U0", "--no-color", "--no-ext-diff", "--format=commit %h"
    )
    if log is None or log.returncode != 0:
        raise Unusable(f"--history: {root} is not in a git repository")
    commit = path = ""
    seen: set[tuple[str, str]] = set()
    for line in log.stdout.splitlines():
        if line.startswith("commit "):
            commit = line[7:]
        elif line.startswith("+++ "):
            path = line[6:] if line.startswith("+++ b/") else ""
        elif line.startswith("+") and path and Path(path).name not in LOCKS and len(line) < 4000:
            for secret in scan.scan_line(line[1:]):
                rule = kinds.get(secret.type)
                if (
                    rule
                    and rule not in ("KEY007", "KEY008")
                    and (path, secret.secret_hash) not in seen
                    and worth(rule, secret.secret_value or "", line, Path(path))
                ):
                    seen.add((path, secret.secret_hash))
                    report.add(
                        "KEY013", path, 0, f"{secret.type} in commit {commit}.", evidence=redacted(secret.secret_value or "")
                    )


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
