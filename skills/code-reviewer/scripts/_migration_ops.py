"""Migrations, Alembic revisions or plain SQL -> one list of operations, so that each rule is written once.

PostgreSQL's own parser (pglast) reads the SQL; Python's reads the revisions, of which only `upgrade()` is followed and nothing is
executed. An operation says what it does to which table, in what order; what cannot be known statically is left out.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _pysource import Module, own_nodes

BIND = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")


@dataclass
class Column:
    name: str
    type: str
    nullable: bool = True
    default: str | None = None  # None: none; "volatile": a call evaluated for each row; "constant" otherwise
    primary: bool = False
    foreign: bool = False
    generic_json: bool = False


@dataclass
class Op:
    kind: str
    line: int
    table: str = ""
    columns: list[Column] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    detail: str = ""


@dataclass
class Migration:
    path: Path
    ops: list[Op] = field(default_factory=list)
    revision: str | None = None
    parents: list[str] = field(default_factory=list)
    downgrade_empty: bool = False
    flags: set[str] = field(default_factory=set)
    broken: list[tuple[int, str, bool]] = field(default_factory=list)  # line, why, certain
    upgrade_line: int = 1
    formatted: list[int] = field(default_factory=list)


VOLATILE = frozenset({"random", "gen_random_uuid", "uuid_generate_v4", "clock_timestamp", "nextval", "timeofday"})


def from_sql(pglast: Any, text: str, line: int = 1) -> list[Op]:
    """The operations of SQL text whose first line is `line`. Raises pglast's ParseError."""
    ops: list[Op] = []
    raw = text.encode()
    for statement in pglast.parse_sql(text):
        start = statement.stmt_location or 0
        piece = raw[start : start + (statement.stmt_len or len(raw))]
        blank = len(piece) - len(_uncommented(piece))
        at = line + raw[: start + blank].count(b"\n")
        ops += _statement(pglast, statement.stmt, at)
    return ops


def _uncommented(piece: bytes) -> bytes:
    """The statement without the blanks and comments that the parser counts into it."""
    return re.sub(rb"\A(?:\s+|--[^\n]*\n|/\*.*?\*/)+", b"", piece, flags=re.S)


def _statement(pglast: Any, node: Any, line: int) -> list[Op]:
    kind = type(node).__name__
    ops = _filters(pglast, node, line)
    table = _relation(getattr(node, "relation", None))
    if kind == "CreateStmt":
        ops.append(_create(node, table, line))
    elif kind == "IndexStmt":
        names = [p.name for p in node.indexParams if p.name]
        flags = {f"using:{node.accessMethod}"} | ({"concurrently"} if node.concurrent else set())
        flags |= {f"opclass:{p.opclass[-1].sval}" for p in node.indexParams if p.opclass}
        for part in node.indexParams:
            if part.expr is not None:
                names += [f"{c}->>{k}" for c, op, k in _operators(pglast, part.expr) if op == "->>"]
        ops.append(Op("create_index", line, table, names=names, flags=flags, detail=node.idxname or ""))
    elif kind == "AlterTableStmt" and node.objtype.name == "OBJECT_TABLE":
        ops += [op for cmd in node.cmds for op in [_alter(cmd, table, line)] if op]
    elif kind == "DropStmt":
        for item in node.objects:
            name = ".".join(s.sval for s in item) if isinstance(item, tuple) else getattr(item, "sval", "")
            what = {"OBJECT_TABLE": "drop_table", "OBJECT_INDEX": "drop_index"}.get(node.removeType.name)
            if what:
                ops.append(
                    Op(
                        what,
                        line,
                        name if what == "drop_table" else "",
                        flags={"concurrently"} if node.concurrent else set(),
                        detail=name,
                    )
                )
    elif kind == "RenameStmt" and node.renameType.name in ("OBJECT_TABLE", "OBJECT_COLUMN"):
        what = "rename_table" if node.renameType.name == "OBJECT_TABLE" else "rename_column"
        ops.append(Op(what, line, table, names=[node.subname] if node.subname else []))
    elif kind in ("UpdateStmt", "DeleteStmt"):
        ops.append(Op(kind[:6].lower(), line, table, flags=set() if node.whereClause is None else {"where"}))
    elif kind == "TruncateStmt":
        ops += [Op("truncate", line, _relation(r)) for r in node.relations]
    elif kind == "VacuumStmt" and any(o.defname == "full" for o in node.options or ()):
        ops.append(Op("vacuum_full", line))
    elif kind == "VariableSetStmt" and node.name == "lock_timeout":
        ops.append(Op("lock_timeout", line))
    elif kind == "AlterEnumStmt":
        ops.append(Op("alter_enum", line, detail=".".join(s.sval for s in node.typeName)))
    elif kind == "TransactionStmt":
        ops.append(Op({"TRANS_STMT_BEGIN": "begin", "TRANS_STMT_START": "begin"}.get(node.kind.name, "commit"), line))
    return ops


def _create(node: Any, table: str, line: int) -> Op:
    op = Op("create_table", line, table)
    for item in node.tableElts or ():
        if type(item).__name__ == "ColumnDef":
            column = _column(item)
            op.columns.append(column)
            if column.primary:
                op.names.append(column.name)
        elif type(item).__name__ == "Constraint":
            keys = [k.sval for k in item.keys or ()]
            if item.contype.name == "CONSTR_PRIMARY":
                op.names += keys
                op.flags |= {f"index:{keys[0]}"} if keys else set()
            elif item.contype.name == "CONSTR_FOREIGN":
                op.flags |= {f"fk:{k.sval}" for k in item.fk_attrs or ()}
            elif item.contype.name == "CONSTR_UNIQUE":
                op.flags |= {f"unique:{','.join(keys)}"}
    if node.partspec is not None:
        op.flags |= {f"partition:{p.name}" for p in node.partspec.partParams if p.name}
    if node.inhRelations:
        op.flags.add("child")
    return op


def _column(item: Any) -> Column:
    column = Column(item.colname, item.typeName.names[-1].sval if item.typeName else "")
    for constraint in item.constraints or ():
        name = constraint.contype.name
        if name == "CONSTR_NOTNULL":
            column.nullable = False
        elif name == "CONSTR_PRIMARY":
            column.primary, column.nullable = True, False
        elif name == "CONSTR_FOREIGN":
            column.foreign = True
        elif name == "CONSTR_DEFAULT":
            called = constraint.raw_expr
            function = called.funcname[-1].sval if type(called).__name__ == "FuncCall" else ""
            column.default = "volatile" if function in VOLATILE else "constant"
        elif name in ("CONSTR_IDENTITY", "CONSTR_GENERATED"):
            column.default = "volatile"
    if column.type in ("serial", "bigserial", "smallserial"):
        column.default = "volatile"
    return column


def _alter(cmd: Any, table: str, line: int) -> Op | None:
    what = cmd.subtype.name
    if what == "AT_AddColumn":
        return Op("add_column", line, table, [_column(cmd.def_)])
    if what == "AT_DropColumn":
        return Op("drop_column", line, table, names=[cmd.name])
    if what == "AT_AlterColumnType":
        return Op("alter_type", line, table, names=[cmd.name], detail=cmd.def_.typeName.names[-1].sval)
    if what == "AT_SetNotNull":
        return Op("set_not_null", line, table, names=[cmd.name])
    if what == "AT_AddConstraint":
        kind = {"CONSTR_FOREIGN": "add_fk", "CONSTR_CHECK": "add_check"}.get(cmd.def_.contype.name)
        names = [k.sval for k in (cmd.def_.fk_attrs or ())] if kind == "add_fk" else []
        return Op(kind, line, table, names=names, flags={"not_valid"} if cmd.def_.skip_validation else set()) if kind else None
    if what == "AT_DetachPartition":
        return Op("detach", line, table, flags={"concurrently"} if cmd.def_.concurrent else set())
    return None


def _relation(node: Any) -> str:
    if node is None or type(node).__name__ != "RangeVar":
        return ""
    return f"{node.schemaname}.{node.relname}" if node.schemaname else node.relname


def _operators(pglast: Any, root: Any) -> list[tuple[str, str, str]]:
    """Each (column, operator, constant key) of an expression tree."""
    found: list[tuple[str, str, str]] = []

    class Walk(pglast.visitors.Visitor):  # type: ignore[misc, name-defined]
        def visit_A_Expr(self, _: Any, node: Any) -> None:
            if type(node.lexpr).__name__ == "ColumnRef" and type(node.lexpr.fields[-1]).__name__ == "String":
                key = getattr(getattr(node.rexpr, "val", None), "sval", "") or ""
                found.append((node.lexpr.fields[-1].sval, node.name[-1].sval, key))

    Walk()(root)
    return found


def _filters(pglast: Any, statement: Any, line: int) -> list[Op]:
    """The JSONB operators that a statement's WHERE clauses use."""
    found: list[Op] = []

    class Walk(pglast.visitors.Visitor):  # type: ignore[misc, name-defined]
        def visit(self, _: Any, node: Any) -> None:
            where = getattr(node, "whereClause", None)
            if where is not None:
                for column, operator, key in _operators(pglast, where):
                    if operator in ("@>", "?", "?|", "?&", "@?", "@@", "->>"):
                        found.append(Op("filter", line, names=[column], detail=operator, flags={f"key:{key}"}))

    Walk()(statement)
    return found


JSON_TYPES = {"sqlalchemy.JSON", "sqlalchemy.types.JSON", "sqlalchemy.sql.sqltypes.JSON"}
PG_JSON = {"sqlalchemy.dialects.postgresql.JSON", "sqlalchemy.dialects.postgresql.json.JSON"}


def from_revision(pglast: Any, module: Module) -> Migration:
    """An Alembic revision: its identifiers and what `upgrade()` does, read without running it."""
    out = Migration(module.path)
    upgrade = downgrade = None
    for node in module.tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id in ("revision", "down_revision"):
                value = _literal(node.value)
                if target.id == "revision":
                    out.revision = value if isinstance(value, str) else None
                else:
                    out.parents = [value] if isinstance(value, str) else list(value or ())
        elif isinstance(node, ast.FunctionDef) and node.name in ("upgrade", "downgrade"):
            upgrade, downgrade = (node, downgrade) if node.name == "upgrade" else (upgrade, node)
    if upgrade is None:
        return out
    out.upgrade_line = upgrade.lineno
    if any(
        isinstance(n, ast.Call) and (module.qualify(n.func) or "").endswith((".get_bind", ".Session")) for n in ast.walk(upgrade)
    ):
        out.flags.add("data")
    out.downgrade_empty = downgrade is None or all(_says_nothing(s) for s in downgrade.body)
    autocommit = {
        id(n)
        for w in ast.walk(upgrade)
        if isinstance(w, ast.With) and "autocommit_block" in ast.dump(w.items[0])
        for n in ast.walk(w)
    }
    for node in own_nodes(upgrade):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = module.qualify(node.func.value)
            batch = _batch_table(module, node.func.value, upgrade)
            if owner == "alembic.op" or batch:
                before = len(out.ops)
                _operation(pglast, module, node, batch, out)
                if id(node) in autocommit:
                    for op in out.ops[before:]:
                        op.flags.add("autocommit")
    return out


def _batch_table(module: Module, owner: ast.expr, upgrade: ast.FunctionDef) -> str:
    """The table of the innermost `with op.batch_alter_table(...) as owner` around a call."""
    if isinstance(owner, ast.Name):
        node: ast.AST | None = owner
        while (node := module.parents.get(node)) is not None and node is not upgrade:  # type: ignore[arg-type]
            if isinstance(node, ast.With):
                for item in node.items:
                    call = item.context_expr
                    if isinstance(item.optional_vars, ast.Name) and item.optional_vars.id == owner.id and isinstance(call, ast.Call) \
                            and isinstance(call.func, ast.Attribute) and call.func.attr == "batch_alter_table" and call.args:  # fmt: skip
                        return str(_literal(call.args[0]) or "")
    return ""


def _says_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))


def _literal(node: ast.AST | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError, SyntaxError):
        return None


def _operation(pglast: Any, module: Module, call: ast.Call, batch: str, out: Migration) -> None:
    assert isinstance(call.func, ast.Attribute)
    what = call.func.attr
    args = [*([ast.Constant(batch)] if batch and what != "create_index" else []), *call.args]
    if batch and what == "create_index":
        args = [*call.args[:1], ast.Constant(batch), *call.args[1:]]
    words = {k.arg: k.value for k in call.keywords if k.arg}
    line = call.lineno
    schema = _literal(words.get("schema"))

    def name(index: int, word: str) -> str:
        text = str(_literal(args[index] if len(args) > index else words.get(word)) or "")
        return f"{schema}.{text}" if schema and word.endswith("table_name") and text else text

    if what == "execute":
        _execute(pglast, module, args[0] if args else words.get("sqltext"), line, out)
    elif what == "create_table":
        op = Op("create_table", line, name(0, "table_name"))
        for item in args[1:]:
            if not isinstance(item, ast.Call):
                continue
            kind = (module.qualify(item.func) or "").rpartition(".")[2]
            if kind == "Column":
                column = _sa_column(module, item)
                op.columns.append(column)
                op.names += [column.name] if column.primary else []
            elif kind == "PrimaryKeyConstraint":
                op.names += [str(_literal(a)) for a in item.args]
            elif kind == "ForeignKeyConstraint" and item.args:
                op.flags |= {f"fk:{c}" for c in _literal(item.args[0]) or ()}
        out.ops.append(op)
    elif what == "add_column" and len(args) > 1 and isinstance(args[1], ast.Call):
        out.ops.append(Op("add_column", line, name(0, "table_name"), [_sa_column(module, args[1])]))
    elif what == "create_index":
        columns = _literal(args[2] if len(args) > 2 else words.get("columns")) or []
        flags = {f"using:{_literal(words.get('postgresql_using')) or 'btree'}"}
        flags |= {"concurrently"} if _literal(words.get("postgresql_concurrently")) else set()
        flags |= {f"opclass:{v}" for v in (_literal(words.get("postgresql_ops")) or {}).values()}
        out.ops.append(
            Op(
                "create_index",
                line,
                name(1, "table_name"),
                names=[str(c) for c in columns],
                flags=flags,
                detail=name(0, "index_name"),
            )
        )
    elif what == "alter_column":
        table, column = name(0, "table_name"), name(1, "column_name")
        if "new_column_name" in words:
            out.ops.append(Op("rename_column", line, table, names=[column]))
        if "type_" in words:
            out.ops.append(
                Op(
                    "alter_type",
                    line,
                    table,
                    names=[column],
                    detail=_sa_type(module, words["type_"])[0],
                    flags=_widening(module, words),
                )
            )
        if _literal(words.get("nullable")) is False and _literal(words.get("existing_nullable")) is not False:
            out.ops.append(Op("set_not_null", line, table, names=[column]))
    elif what in ("drop_column", "drop_table"):
        out.ops.append(Op(what, line, name(0, "table_name"), names=[name(1, "column_name")] if what == "drop_column" else []))
    elif what == "drop_index":
        out.ops.append(Op("drop_index", line, name(1, "table_name"), detail=name(0, "index_name")))
    elif what == "rename_table":
        out.ops.append(Op("rename_table", line, name(0, "old_table_name")))
    elif what in ("create_foreign_key", "create_check_constraint"):
        fk = what == "create_foreign_key"
        flags = {"not_valid"} if _literal(words.get("postgresql_not_valid")) else set()
        source = (name(0, "") if batch else name(1, "source_table")) if fk else (name(0, "") if batch else name(1, "table_name"))
        out.ops.append(
            Op(
                "add_fk" if fk else "add_check",
                line,
                source,
                names=[str(c) for c in _literal(args[3] if len(args) > 3 else None) or ()],
                flags=flags,
            )
        )


def _widening(module: Module, words: dict[str, ast.expr]) -> set[str]:
    """varchar to a longer varchar or to text is a catalogue change only."""
    old, new = (_sa_type(module, words.get(w)) for w in ("existing_type", "type_"))
    texts = ("varchar", "text")
    if old[0] == new[0] == "enum":
        return {"widening"}  # the type keeps its name; what it gains or loses is another statement
    if old[0] in texts and new[0] == "text":
        return {"widening"}
    if old[0] == new[0] == "varchar" and (new[1] is None or (old[1] is not None and old[1] <= new[1])):
        return {"widening"}
    return set()


def _sa_type(module: Module, node: ast.expr | None) -> tuple[str, int | None]:
    length = None
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "with_variant":
            inner = _sa_type(module, node.args[0] if node.args else None)
            return inner if inner[0] == "jsonb" else _sa_type(module, node.func.value)
        words = {k.arg: k.value for k in node.keywords}
        length = _literal(node.args[0] if node.args else words.get("length"))
        node = node.func
    name = module.qualify(node) if node is not None else None
    short = (name or "").rpartition(".")[2]
    if name in PG_JSON:
        return "json", None
    if name in JSON_TYPES:
        return "generic json", None
    names = {
        "JSONB": "jsonb",
        "String": "varchar",
        "Unicode": "varchar",
        "VARCHAR": "varchar",
        "Text": "text",
        "TEXT": "text",
        "UnicodeText": "text",
        "AutoString": "varchar",
    }
    return names.get(short, short.lower()), length if isinstance(length, int) else None


def _sa_column(module: Module, call: ast.Call) -> Column:
    words = {k.arg: k.value for k in call.keywords}
    kind, _ = _sa_type(module, call.args[1] if len(call.args) > 1 else words.get("type_"))
    column = Column(
        str(_literal(call.args[0]) if call.args else ""),
        "json" if kind == "generic json" else kind,
        generic_json=kind == "generic json",
    )
    column.primary = bool(_literal(words.get("primary_key")))
    column.nullable = _literal(words.get("nullable")) is not False and not column.primary
    if "server_default" in words:
        column.default = "volatile" if any(f in ast.dump(words["server_default"]) for f in VOLATILE) else "constant"
    if "Identity" in ast.dump(call) or "Computed" in ast.dump(call):
        column.default = "volatile"
    column.foreign = any((module.qualify(a.func) or "").endswith(".ForeignKey") for a in call.args if isinstance(a, ast.Call))
    return column


def _execute(pglast: Any, module: Module, node: ast.expr | None, line: int, out: Migration) -> None:
    if isinstance(node, ast.Call) and (module.qualify(node.func) or "").endswith((".text", ".DDL")) and node.args:
        node = node.args[0]
    if isinstance(node, ast.Name):
        values = [
            module.parents[b].value
            for b in module.scope_of(node).names.get(node.id, [])
            if isinstance(module.parents.get(b), ast.Assign)
        ]  # type: ignore[attr-defined]
        node = values[0] if len(values) == 1 else node
    if (
        isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.Add)))
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format")
    ):
        if any(isinstance(n, ast.Name) and not _is_constant(module, n) for n in ast.walk(node)):
            out.formatted.append(line)
        return
    text = _literal(node)
    if not isinstance(text, str):
        return
    start = node.lineno if node is not None and "\n" in text else line
    for attempt in (text, BIND.sub("NULL", text)):
        try:
            out.ops += from_sql(pglast, attempt, start)
            return
        except pglast.parser.ParseError as error:
            why = str(error)
    out.broken.append((line, why.splitlines()[0], False))


def _is_constant(module: Module, name: ast.Name) -> bool:
    """A name whose value is written in the file: a module constant, or a loop variable over literals."""
    scope: Any = module.scope_of(name)
    while scope is not None and name.id not in scope.names:
        scope = scope.parent
    if scope is None:
        return True
    for binding in scope.names[name.id]:
        holder = module.parents.get(binding)
        if isinstance(holder, ast.Tuple):
            holder = module.parents.get(holder)
        if isinstance(holder, ast.Assign | ast.For | ast.comprehension):
            source = holder.value if isinstance(holder, ast.Assign) else holder.iter
            if any(isinstance(n, ast.Call) for n in ast.walk(source)):
                return False
            if any(isinstance(n, ast.Name) and n.id != name.id and not _is_constant(module, n) for n in ast.walk(source)):
                return False
            continue
        return False
    return True
