"""SQL DDL -> tables, by PostgreSQL's own parser: columns with types, keys, partitions, indexes and comments, each with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Index:
    name: str
    line: int
    method: str
    columns: list[str]  # "" for an expression
    opclasses: list[str]
    unique: bool = False
    partial: bool = False


@dataclass
class Foreign:
    line: int
    columns: list[str]
    target: str
    target_columns: list[str]
    deferrable: bool = False


@dataclass
class Table:
    name: str
    line: int
    columns: dict[str, tuple[str, int, bool]] = field(default_factory=dict)  # name -> type, line, nullable
    primary: list[str] | None = None
    primary_line: int = 0
    uniques: list[list[str]] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)
    partition: tuple[str, list[str]] | None = None
    partitions: list[str] = field(default_factory=list)
    child: bool = False
    commented: bool = False
    defaults: dict[str, str] = field(default_factory=dict)


def read(pglast: Any, text: str) -> dict[str, Table]:
    """The tables that a script of DDL leaves behind. Raises pglast's ParseError."""
    tables: dict[str, Table] = {}
    raw = text.encode()
    for statement in pglast.parse_sql(text):
        start = statement.stmt_location or 0
        piece = raw[start : start + (statement.stmt_len or len(raw))]
        bare = re.sub(rb"\A(?:\s+|--[^\n]*\n|/\*.*?\*/)+", b"", piece, flags=re.S)
        first = start + len(piece) - len(bare)

        def line_of(node: Any, default: int = first) -> int:
            at = getattr(node, "location", None)
            return 1 + raw[: at if isinstance(at, int) and at > 0 else default].count(b"\n")

        _statement(statement.stmt, tables, line_of)
    return tables


def _name(relation: Any) -> str:
    return f"{relation.schemaname}.{relation.relname}" if relation.schemaname else relation.relname


def _statement(node: Any, tables: dict[str, Table], line_of: Any) -> None:
    kind = type(node).__name__
    if kind == "CreateStmt":
        table = Table(_name(node.relation), line_of(None))
        tables[table.name] = table
        for parent in node.inhRelations or ():
            table.child = True
            if _name(parent) in tables:
                tables[_name(parent)].partitions.append(table.name)
        for item in node.tableElts or ():
            if type(item).__name__ == "ColumnDef":
                _column(table, item, line_of)
            elif type(item).__name__ == "Constraint":
                _constraint(table, item, line_of, None)
        if node.partspec is not None:
            strategy = node.partspec.strategy
            table.partition = (getattr(strategy, "name", str(strategy)), [p.name or "" for p in node.partspec.partParams])
    elif kind == "IndexStmt" and _name(node.relation) in tables:
        table = tables[_name(node.relation)]
        columns = [p.name or "" for p in node.indexParams]
        opclasses = [p.opclass[-1].sval if p.opclass else "" for p in node.indexParams]
        table.indexes.append(
            Index(
                node.idxname or "",
                line_of(None),
                node.accessMethod,
                columns,
                opclasses,
                bool(node.unique),
                node.whereClause is not None,
            )
        )
        if node.unique and node.whereClause is None and "" not in columns:
            table.uniques.append(columns)
    elif kind == "AlterTableStmt" and _name(node.relation) in tables:
        table = tables[_name(node.relation)]
        for command in node.cmds:
            if command.subtype.name == "AT_AddConstraint":
                _constraint(table, command.def_, line_of, None)
            elif command.subtype.name == "AT_AddColumn":
                _column(table, command.def_, line_of)
            elif command.subtype.name == "AT_AttachPartition":
                table.partitions.append(_name(command.def_.name))
                if _name(command.def_.name) in tables:
                    tables[_name(command.def_.name)].child = True
    elif kind == "CommentStmt" and node.objtype.name == "OBJECT_TABLE":
        name = ".".join(s.sval for s in node.object)
        if name in tables:
            tables[name].commented = True


def _column(table: Table, item: Any, line_of: Any) -> None:
    kind = item.typeName.names[-1].sval + ("[]" if item.typeName.arrayBounds else "")
    line = line_of(item)
    nullable = True
    for constraint in item.constraints or ():
        what = constraint.contype.name
        if what in ("CONSTR_NOTNULL", "CONSTR_PRIMARY", "CONSTR_IDENTITY"):
            nullable = False
        if what == "CONSTR_DEFAULT":
            table.defaults[item.colname] = type(constraint.raw_expr).__name__
        _constraint(table, constraint, line_of, item.colname)
    table.columns[item.colname] = (kind, line, nullable)


def _constraint(table: Table, item: Any, line_of: Any, column: str | None) -> None:
    kind = item.contype.name
    keys = [column] if column else [k.sval for k in item.keys or ()]
    if kind == "CONSTR_PRIMARY":
        table.primary, table.primary_line = [k for k in keys if k], line_of(item)
    elif kind == "CONSTR_UNIQUE":
        table.uniques.append([k for k in keys if k])
    elif kind == "CONSTR_FOREIGN":
        own = [column] if column else [k.sval for k in item.fk_attrs or ()]
        table.foreign.append(
            Foreign(line_of(item), own, _name(item.pktable), [k.sval for k in item.pk_attrs or ()], bool(item.deferrable))
        )
