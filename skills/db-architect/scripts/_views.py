"""cenote's feature views, as its store reads them: JSON -> checked view -> the SQL that `cenote store apply` would run.

One format, end to end: the fields, types and limits are those of the crate's `store::View`, and `fingerprint` is the same SHA-256
over the same text, so a database made from this SQL has nothing left for the store to apply.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TYPES = {"bool": "boolean", "i16": "smallint", "i32": "integer", "i64": "bigint", "f32": "real", "f64": "double precision",
         "text": "text", "timestamp": "timestamp with time zone", "date": "date", "numeric": "numeric", "uuid": "uuid",
         "json": "jsonb"}  # fmt: skip
TYPES |= {f"{item}[]": f"{TYPES[item]}[]" for item in ("bool", "i16", "i32", "i64", "f32", "f64", "text")}
KEY_TYPES = ("bool", "i16", "i32", "i64", "text", "timestamp", "date", "uuid")
OWN = ("event_ts", "written_at", "extra")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
FIELDS = {"name": str, "version": int, "keys": list, "features": list, "ttl_seconds": int, "history": dict, "description": str,
          "owner": str}  # fmt: skip
HISTORY_FIELDS = {"retention_days": int}
KEY_FIELDS = {"name": str, "type": str}
FEATURE_FIELDS = {"name": str, "type": str, "levels": list, "description": str}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a view: a kind that scripts map to their rules, where in the document, and a sentence."""

    kind: str  # form, name, type, key, levels, limits
    where: str
    message: str


def problems(view: Any) -> Iterator[Problem]:
    """Everything for which the store would refuse this view."""
    if not isinstance(view, dict):
        yield Problem("form", "", f"a view is an object, not {kind(view)}.")
        return
    yield from _form(view, FIELDS, ("name", "keys", "features"), "the view")
    for part, fields in (("keys", KEY_FIELDS), ("features", FEATURE_FIELDS)):
        for number, column in enumerate(view.get(part) if isinstance(view.get(part), list) else []):
            where = f"{part}[{number}]"
            if not isinstance(column, dict):
                yield Problem("form", where, f"{where} is an object, not {kind(column)}.")
                continue
            yield from _form(column, fields, ("name", "type"), where)
    name, version = view.get("name"), view.get("version", 1)
    if isinstance(name, str) and not NAME.match(name):
        yield Problem("name", "name", f"{name!r}: a view's name is up to 40 lower-case letters, digits and '_', a letter first.")
    if isinstance(version, int) and not 1 <= version < 1 << 32:
        yield Problem("limits", "version", f"version {version}: versions begin at 1.")
    ttl = view.get("ttl_seconds")
    if isinstance(ttl, int) and not 1 <= ttl < 1 << 63:
        yield Problem("limits", "ttl_seconds", f"ttl_seconds {ttl}: whole seconds, at least one.")
    history = view.get("history")
    if isinstance(history, dict):
        yield from _form(history, HISTORY_FIELDS, (), "history")
        days = history.get("retention_days")
        if isinstance(days, int) and not 0 <= days < 1 << 32:
            yield Problem("limits", "retention_days", f"retention_days {days}: whole days, not negative.")
    for part in ("keys", "features"):
        if view.get(part) == []:
            yield Problem("key", part, f"a view has at least one {part[:-1]}.")
    seen = set(OWN)
    for part, column in columns(view):
        yield from _column(part, column, seen)


def _column(part: str, column: dict[str, Any], seen: set[str]) -> Iterator[Problem]:
    name, ty, levels = column.get("name"), column.get("type"), column.get("levels")
    if isinstance(name, str):
        if not 1 <= len(name.encode("utf-8", "surrogatepass")) <= 63 or "\0" in name:
            yield Problem("name", name, f"column {name!r}: a name is 1 to 63 bytes without NUL.")
        if name in seen:
            yield Problem("name", name, f"column {name!r} stands twice, or is one of the table's own ({', '.join(OWN)}).")
        seen.add(name)
    if isinstance(ty, str) and ty not in TYPES:
        yield Problem("type", str(name), f"column {name!r}: type {ty!r} is none of {', '.join(TYPES)}.")
    if part == "keys" and ty in TYPES and ty not in KEY_TYPES:
        yield Problem("key", str(name), f"column {name!r}: {ty} cannot name an entity: equal ones may be written in two ways.")
    if isinstance(levels, list):
        if ty != "text":
            yield Problem("levels", str(name), f"column {name!r}: levels are for text.")
        if not all(isinstance(level, str) for level in levels):
            yield Problem("levels", str(name), f"column {name!r}: each level is a text.")
        elif len(set(levels)) != len(levels):
            twice = next(level for level in levels if levels.count(level) > 1)
            yield Problem("levels", str(name), f"column {name!r}: level {twice!r} stands twice.")


def _form(value: dict[str, Any], fields: dict[str, type], required: tuple[str, ...], where: str) -> Iterator[Problem]:
    for field in required:
        if field not in value:
            yield Problem("form", where, f"{where} has no {field!r}.")
    for field, given in value.items():
        if field not in fields:
            yield Problem("form", str(field), f"{where} has an unknown field {field!r}; there are: {', '.join(fields)}.")
        elif not isinstance(given, fields[field]) or isinstance(given, bool):
            yield Problem("form", str(field), f"{field!r} of {where} is {kind(given)}, not {fields[field].__name__}.")


def kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(
        type(value), "a number"
    )


def columns(view: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in ("keys", "features"):
        for column in view.get(part) if isinstance(view.get(part), list) else []:
            if isinstance(column, dict):
                yield part, column


def read(text: str) -> list[Any]:
    """The views of a file: one object, or a list of them. A repeated key is refused, since one of the two would be lost."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in pairs:
            if key in out:
                raise ValueError(f"the key {key!r} is given twice")
            out[key] = value
        return out

    document = json.loads(text, object_pairs_hook=once)
    return document if isinstance(document, list) else [document]


def canonical(view: dict[str, Any]) -> str:
    """The view's one JSON text: fields in order, defaults left out, nothing between tokens."""

    def put(source: dict[str, Any], order: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Any]:
        return {f: source[f] for f in order if f in source and not (f in optional and source[f] in ("", None))}

    whole = {"version": 1, **view}
    out = put(whole, ("name", "version"), ())
    out["keys"] = [put(k, ("name", "type"), ()) for k in view["keys"]]
    out["features"] = [put(f, ("name", "type", "levels", "description"), ("description",)) for f in view["features"]]
    out |= put(whole, ("ttl_seconds",), ("ttl_seconds",))
    if whole.get("history") is not None:
        out["history"] = put(whole["history"], ("retention_days",), ("retention_days",))
    out |= put(whole, ("description", "owner"), ("description", "owner"))
    return json.dumps(out, separators=(",", ":"), ensure_ascii=False)


def fingerprint(view: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(view).encode()).hexdigest()


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return " E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in escaped else f"'{escaped}'"


def table(view: dict[str, Any], schema: str, *, history: bool = False) -> str:
    name = f"{view['name']}_v{view.get('version', 1)}" + ("_history" if history else "")
    return f"{identifier(schema)}.{identifier(name)}"


def tables(view: dict[str, Any], schema: str) -> list[str]:
    """The names of the tables that a view has."""
    return [table(view, schema)] + ([table(view, schema, history=True)] if view.get("history") is not None else [])


def statements(view: dict[str, Any], schema: str, *, if_not_exists: str = "") -> Iterator[str]:
    """The SQL of a new view: its tables, their comments, and its entry in the store's list of views."""
    yield _create(view, schema, if_not_exists, history=False)
    if view.get("history") is not None:
        # Reads of the key's index backwards meet the newest event first, and of one event what became known last.
        yield _create(view, schema, if_not_exists, history=True)
        name = table(view, schema, history=True)
        index = f"{view['name']}_v{view.get('version', 1)}_history_event_ts_idx"
        yield f"CREATE INDEX {if_not_exists + identifier(index) + ' ' if if_not_exists else ''}ON {name} USING brin (event_ts)"
    for name in tables(view, schema):
        if view.get("description"):
            yield f"COMMENT ON TABLE {name} IS {literal(view['description'])}"
        for feature in view["features"]:
            if feature.get("description"):
                yield f"COMMENT ON COLUMN {name}.{identifier(feature['name'])} IS {literal(feature['description'])}"
    yield (
        f"INSERT INTO {identifier(schema)}.cenote_views (name, version, definition, fingerprint)\n"
        f"VALUES ({literal(view['name'])}, {view.get('version', 1)}, {literal(canonical(view))}, {literal(fingerprint(view))})\n"
        "ON CONFLICT (name, version) DO UPDATE SET definition = excluded.definition,\n"
        "    fingerprint = excluded.fingerprint, applied_at = excluded.applied_at"
    )


def _create(view: dict[str, Any], schema: str, if_not_exists: str, *, history: bool) -> str:
    lines = []
    for key in view["keys"]:
        collation = ' COLLATE "C"' if key["type"] == "text" else ""
        lines.append(f"{identifier(key['name'])} {TYPES[key['type']]}{collation} NOT NULL")
    lines.append("event_ts timestamp with time zone NOT NULL CHECK (isfinite(event_ts))")
    lines.append("written_at timestamp with time zone NOT NULL DEFAULT now()")
    lines += [f"{identifier(f['name'])} {TYPES[f['type']]}" for f in view["features"]]
    keys = ", ".join(identifier(k["name"]) for k in view["keys"])
    lines.append(f"PRIMARY KEY ({keys}, event_ts, written_at)" if history else f"PRIMARY KEY ({keys})")
    end = "PARTITION BY RANGE (event_ts)" if history else "WITH (fillfactor = 80)"
    return f"CREATE TABLE {if_not_exists}{table(view, schema, history=history)} (\n    " + ",\n    ".join(lines) + f"\n) {end}"


def catalogue(schema: str) -> list[str]:
    """What must be there before the first view."""
    return [
        f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}",
        f"CREATE TABLE IF NOT EXISTS {identifier(schema)}.cenote_views (\n    name text,\n    version integer,\n    definition jsonb NOT NULL,\n"
        "    fingerprint text NOT NULL,\n    applied_at timestamp with time zone NOT NULL DEFAULT now(),\n    PRIMARY KEY (name, version)\n)",
    ]
