"""cenote's feature views, as its store reads them: JSON -> checked view -> the SQL that `cenote store apply` would run.

One format, end to end: the fields, types and limits are those of the crate's `store::View`, and `fingerprint` is the same SHA-256
over the same text, so a database made from this SQL has nothing left for the store to apply.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

TYPES = {"bool": "boolean", "i16": "smallint", "i32": "integer", "i64": "bigint", "f32": "real", "f64": "double precision",
         "text": "text", "timestamp": "timestamp with time zone", "date": "date", "numeric": "numeric", "uuid": "uuid",
         "json": "jsonb"}  # fmt: skip
TYPES |= {f"{item}[]": f"{TYPES[item]}[]" for item in ("bool", "i16", "i32", "i64", "f32", "f64", "text")}
TYPES["vector"] = "vector"
KEY_TYPES = ("bool", "i16", "i32", "i64", "text", "timestamp", "date", "uuid")
OWN = ("event_ts", "written_at", "written_xid", "extra")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
# Each object's fields in the order of the store's JSON. A field of OPTIONAL may be null, which says nothing; one of QUIET is
# left out of that JSON where it is empty.
FIELDS = {"name": str, "version": int, "keys": list, "features": list, "ttl_seconds": int, "history": dict, "raw": dict, "event_time": str,
          "description": str, "owner": str, "tags": dict}  # fmt: skip
KEY_FIELDS = {"name": str, "type": str, "entity": str}
FEATURE_FIELDS = {"name": str, "type": str, "levels": list, "default": object, "description": str}
HISTORY_FIELDS = {"retention_days": int}
RAW_FIELDS = {"gin": bool, "paths": list}
OPTIONAL = frozenset({"ttl_seconds", "history", "raw", "event_time", "entity", "levels", "default", "retention_days"})
QUIET = frozenset({"description", "owner", "tags", "gin", "paths"})
MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?(?:[Zz]|[+-](\d\d):?(\d\d)?)?)?\Z", re.A)
DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?\Z", re.A)
UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\Z|[0-9a-fA-F]{32}\Z")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a view: a kind that scripts map to their rules, where in the document, and a sentence."""

    kind: str  # form, name, type, key, levels, default, limits
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
    for part, fields in (("history", HISTORY_FIELDS), ("raw", RAW_FIELDS)):
        if isinstance(view.get(part), dict):
            yield from _form(view[part], fields, (), part)
    yield from _more(view)
    for part in ("keys", "features"):
        if view.get(part) == []:
            yield Problem("key", part, f"a view has at least one {part[:-1]}.")
    seen, event = set(OWN), view.get("event_time")
    if isinstance(event, str) and event != "event_ts":
        if not event or event in seen:
            yield Problem("name", "event_time", f"event time {event!r}: the tables have a column of that name.")
        seen.add(event)
    for part, column in columns(view):
        yield from _column(part, column, seen)


def _more(view: dict[str, Any]) -> Iterator[Problem]:
    """The history, the raw documents and the tags."""
    history, raw, tags = view.get("history"), view.get("raw"), view.get("tags")
    days = history.get("retention_days") if isinstance(history, dict) else None
    if isinstance(days, int) and not 0 <= days < 1 << 32:
        yield Problem("limits", "retention_days", f"retention_days {days}: whole days, not negative.")
    paths = raw.get("paths") if isinstance(raw, dict) else None
    for path in paths if isinstance(paths, list) else ():
        if not (isinstance(path, list) and path and all(isinstance(step, str) for step in path)):
            yield Problem("form", "paths", "a path of raw documents is a list of at least one member's name.")
    if isinstance(tags, dict) and not all(isinstance(value, str) for value in tags.values()):
        yield Problem("form", "tags", "the value of each tag is a text.")


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
    default = column.get("default")
    if default is not None and isinstance(ty, str) and ty in TYPES:
        found = unfit(default, ty)
        if found:
            yield Problem("default", str(name), f"column {name!r}: the default is {found}, not {TYPES[ty]}.")
        elif isinstance(levels, list) and isinstance(default, str) and default not in levels:
            yield Problem("default", str(name), f"column {name!r}: the default {default!r} is no level.")
    if isinstance(levels, list):
        if ty != "text":
            yield Problem("levels", str(name), f"column {name!r}: levels are for text.")
        if not all(isinstance(level, str) for level in levels):
            yield Problem("levels", str(name), f"column {name!r}: each level is a text.")
        elif len(set(levels)) != len(levels):
            twice = next(level for level in levels if levels.count(level) > 1)
            yield Problem("levels", str(name), f"column {name!r}: level {twice!r} stands twice.")


def unfit(default: Any, ty: str) -> str | None:
    """What a default is instead of a value of its feature's type; None where it is one."""
    if ty in ("json", "vector") or ty.endswith("[]"):
        return "a default of a list or a document"
    if isinstance(default, bool):
        return None if ty == "bool" else "a boolean"
    if isinstance(default, (int, float)):
        return _unfit_number(default, ty)
    if not isinstance(default, str):
        return "no boolean, number or text"
    if ty in ("bool", "i16", "i32", "i64", "f32", "f64"):
        return "text"
    if ty == "text":
        return "text with a NUL" if "\0" in default else None
    if ty in ("date", "timestamp"):
        return None if _is_moment(default, ty) else f"text that is no {'day' if ty == 'date' else 'moment'}"
    right = UUID if ty == "uuid" else DECIMAL
    return None if right.match(default) else f"text that is no {'uuid' if ty == 'uuid' else 'decimal'}"


def _unfit_number(default: float, ty: str) -> str | None:
    if ty not in ("i16", "i32", "i64", "f32", "f64", "numeric"):
        return "a number"
    if ty == "numeric":
        return None
    if ty in ("f32", "f64"):
        if not math.isfinite(default):
            return "a number out of range"
        narrow = _narrow(default) if ty == "f32" else float(default)
        if isinstance(default, int) and narrow != default:
            return "a whole number that a floating one cannot hold"
        return None if math.isfinite(narrow) else "a number out of range"
    if int(default) != default:
        return "a number that is not whole"
    bits = int(ty[1:]) - 1
    return None if -(1 << bits) <= default < 1 << bits else "a number out of range"


def _narrow(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.inf


def _is_moment(text: str, ty: str) -> bool:
    match = MOMENT.match(text)
    if not match or (ty == "date" and len(text) != 10):
        return False
    try:
        datetime.date.fromisoformat(match[1])
    except ValueError:
        return False
    hour, minute, second, hours, minutes = (int(part or 0) for part in match.groups()[1:])
    return hour < 24 and minute < 60 and second <= 60 and hours < 24 and minutes < 60


def _form(value: dict[str, Any], fields: dict[str, type], required: tuple[str, ...], where: str) -> Iterator[Problem]:
    for field in required:
        if field not in value:
            yield Problem("form", where, f"{where} has no {field!r}.")
    for field, given in value.items():
        if field not in fields:
            yield Problem("form", str(field), f"{where} has an unknown field {field!r}; there are: {', '.join(fields)}.")
        elif given is None and field in OPTIONAL:
            continue
        elif not isinstance(given, fields[field]) or (isinstance(given, bool) and fields[field] is int):
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

    def never(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    document = json.loads(text, object_pairs_hook=once, parse_constant=never)
    return document if isinstance(document, list) else [document]


def canonical(view: dict[str, Any]) -> str:
    """The view's one JSON text: fields in order, what says nothing left out, nothing between tokens."""

    def put(source: dict[str, Any], fields: dict[str, type]) -> dict[str, Any]:
        said = {f: source[f] for f in fields if source.get(f) is not None}
        return {f: value for f, value in said.items() if value or f not in QUIET}

    whole = put({"version": 1, **view}, FIELDS)
    whole["keys"] = [put(k, KEY_FIELDS) for k in view["keys"]]
    whole["features"] = [put(f, FEATURE_FIELDS) for f in view["features"]]
    for part, fields in (("history", HISTORY_FIELDS), ("raw", RAW_FIELDS)):
        if part in whole:
            whole[part] = put(whole[part], fields)
    if "tags" in whole:
        whole["tags"] = dict(sorted(whole["tags"].items()))
    return _json(whole)


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(k)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return (
        number(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else json.dumps(value, ensure_ascii=False)
    )


def number(value: float) -> str:
    """A number as the store's JSON has it: the shortest digits, an exponent only below 0.00001 and from 1e16 on."""
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 64:
            return str(value)
        value = float(value)
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, place = "".join(map(str, digits)), len(digits) + int(exponent)
    if len(text) <= place <= 16:
        text = text.ljust(place, "0") + ".0"
    elif 0 < place <= 16:
        text = f"{text[:place]}.{text[place:]}"
    elif -5 < place <= 0:
        text = "0." + "0" * -place + text
    else:
        text = text[0] + ("." + text[1:] if text[1:] else "") + f"e{place - 1:+d}"
    return ("-" if sign else "") + text


def fingerprint(view: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(view).encode()).hexdigest()


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return " E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in escaped else f"'{escaped}'"


def table(view: dict[str, Any], schema: str, part: str = "") -> str:
    return f"{identifier(schema)}.{identifier(_bare(view, part))}"


def _bare(view: dict[str, Any], part: str = "") -> str:
    return f"{view['name']}_v{view.get('version', 1)}" + (f"_{part}" if part else "")


def tables(view: dict[str, Any], schema: str) -> list[str]:
    """The names of the tables that a view has: the newest rows, and where it asks for them all rows, and the raw documents."""
    return [table(view, schema, part) for part in _parts(view)]


def _parts(view: dict[str, Any]) -> list[str]:
    return ["", *(part for part in ("history", "raw") if view.get(part) is not None)]


def statements(view: dict[str, Any], schema: str, *, if_not_exists: str = "") -> Iterator[str]:
    """The SQL of a new view: its tables, their indexes and comments, and its entry in the store's list of views."""
    for part in _parts(view):
        name = table(view, schema, part)
        yield (
            f"CREATE TABLE {if_not_exists}{name} (\n    "
            + ",\n    ".join(_columns(view, part))
            + f"\n) {_storage(part)}".rstrip()
        )
        for place, index in enumerate(_indexes(view, part)):
            # Only an index with a name can be asked for; without IF NOT EXISTS the server names it, as it does for the store.
            called = identifier(_index_name(view, part, place)) + " " if if_not_exists else ""
            yield f"CREATE INDEX {if_not_exists}{called}ON {name} {index}"
        if view.get("description"):
            yield f"COMMENT ON TABLE {name} IS {literal(view['description'])}"
        for feature in view["features"] if part != "raw" else ():
            if feature.get("description"):
                yield f"COMMENT ON COLUMN {name}.{identifier(feature['name'])} IS {literal(feature['description'])}"
    yield (
        f"INSERT INTO {identifier(schema)}.cenote_views (name, version, definition, fingerprint)\n"
        f"VALUES ({literal(view['name'])}, {view.get('version', 1)}, {literal(canonical(view))}, {literal(fingerprint(view))})\n"
        "ON CONFLICT (name, version) DO UPDATE SET definition = excluded.definition,\n"
        "    fingerprint = excluded.fingerprint, applied_at = excluded.applied_at"
    )


def _columns(view: dict[str, Any], part: str) -> Iterator[str]:
    for key in view["keys"]:
        collation = ' COLLATE "C"' if key["type"] == "text" else ""
        yield f"{identifier(key['name'])} {TYPES[key['type']]}{collation} NOT NULL"
    yield "event_ts timestamp with time zone NOT NULL CHECK (isfinite(event_ts))"
    yield "written_at timestamp with time zone NOT NULL DEFAULT now()"
    if part == "history":  # which transaction wrote a row says in what order rows came in
        yield "written_xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint)"
    if part == "raw":
        yield "document jsonb NOT NULL"
    for feature in view["features"] if part != "raw" else ():
        default = feature.get("default")
        said = f" DEFAULT {literal(default if isinstance(default, str) else _json(default))}" if default is not None else ""
        yield f"{identifier(feature['name'])} {TYPES[feature['type']]}{said}"
    keys = ", ".join(identifier(k["name"]) for k in view["keys"])
    yield f"PRIMARY KEY ({keys}, event_ts, written_at)" if part else f"PRIMARY KEY ({keys})"


def _storage(part: str) -> str:
    return {"": "WITH (fillfactor = 80)", "history": "PARTITION BY RANGE (event_ts)"}.get(part, "")


def _indexes(view: dict[str, Any], part: str) -> Iterator[str]:
    if part == "history":
        yield "USING brin (event_ts)"
        yield "USING brin (written_xid)"
    elif part == "raw":
        if view["raw"].get("gin"):
            yield "USING gin (document jsonb_path_ops)"
        for *way, last in view["raw"].get("paths", ()):
            yield f"((document{''.join(f'->{literal(step)}' for step in way)}->>{literal(last)}))"


def _index_name(view: dict[str, Any], part: str, place: int) -> str:
    name = _bare(view, part)
    return f"{name[: 63 - len(part) - 8]}_{part}_idx{place}" if len(name) > 50 else f"{name}_idx{place}"


def catalogue(schema: str) -> list[str]:
    """What must be there before the first view."""
    return [
        f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}",
        f"CREATE TABLE IF NOT EXISTS {identifier(schema)}.cenote_views (\n    name text,\n    version integer,\n    definition jsonb NOT NULL,\n"
        "    fingerprint text NOT NULL,\n    applied_at timestamp with time zone NOT NULL DEFAULT now(),\n    PRIMARY KEY (name, version)\n)",
    ]
