"""Which calls block an event loop, and where async code reaches one: directly, or through sync functions of the project.

In goes a `Project`, out come `Block` records; the rule ids are the scripts' own affair. A call is named here only when its function
is known for certain. Awaited calls, and functions handed over to a thread (`to_thread`, `run_in_executor`), never block.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from _engines import ruff
from _pysource import FUNCTIONS, Function, Module, Project, own_nodes
from _report import Report

HTTP_VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "request", "send", "stream")
FILE_METHODS = (
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "open",
    "unlink",
    "rename",
    "mkdir",
    "rmdir",
    "touch",
    "glob",
    "iterdir",
)
DB_METHODS = ("execute", "executemany", "executescript", "commit", "rollback", "fetchone", "fetchall", "fetchmany", "connect", "begin",
              "scalar", "scalars", "query", "cursor", "close", "flush", "get", "merge", "refresh", "add_all", "first", "all", "one")  # fmt: skip
# kind -> (rule suffix, what to use instead, severity)
KINDS: dict[str, tuple[str, str, str]] = {
    "sleep": ("001", "Use `await asyncio.sleep(...)`.", "error"),
    "http": ("002", "Use httpx.AsyncClient or aiohttp, made once in the lifespan.", "error"),
    "database": ("003", "Use asyncpg, psycopg.AsyncConnection or SQLAlchemy's AsyncSession.", "error"),
    "service": ("004", "Use the async client (redis.asyncio, aiokafka, aioboto3), or asyncio.to_thread.", "error"),
    "file": ("005", "Read it before serving, or wrap it in asyncio.to_thread.", "warning"),
    "process": ("006", "Use asyncio.create_subprocess_exec.", "error"),
    "cpu": ("007", "Move it off the loop: asyncio.to_thread where the call releases the GIL, else a process pool.", "warning"),
    "thread": ("008", "Use asyncio's own primitive, or wait in asyncio.to_thread.", "error"),
    "unpickle": ("009", "Load models once, in the lifespan, by asyncio.to_thread; and prefer MOJO to pickle.", "warning"),
    "nested loop": ("010", "Await the coroutine: a second loop cannot run inside a running one.", "error"),
}
EXACT: dict[str, str] = {"time.sleep": "sleep", "builtins.open": "file", "io.open": "file", "builtins.input": "thread"}
for _module in ("requests", "httpx"):
    EXACT |= {f"{_module}.{verb}": "http" for verb in HTTP_VERBS if verb != "send"}
    EXACT |= {f"{_module}.{client}().{verb}": "http" for client in ("Session", "session", "Client") for verb in HTTP_VERBS}
EXACT |= {"urllib.request.urlopen": "http", "urllib.request.urlretrieve": "http", "urllib3.PoolManager().request": "http",
          "urllib3.request": "http", "socket.getaddrinfo": "http", "socket.gethostbyname": "http", "socket.create_connection": "http"}  # fmt: skip
for _driver in ("psycopg2", "psycopg", "sqlite3", "pymysql", "MySQLdb", "cx_Oracle", "oracledb", "pyodbc", "psycopg.Connection"):
    EXACT[f"{_driver}.connect"] = "database"
    for _verb in DB_METHODS:
        EXACT[f"{_driver}.connect().{_verb}"] = EXACT[f"{_driver}.connect().cursor().{_verb}"] = "database"
for _verb in DB_METHODS:
    for _class in ("sqlalchemy.orm.Session()", "sqlmodel.Session()", "sqlalchemy.orm.sessionmaker()()", "sqlalchemy.create_engine()",
                   "sqlalchemy.create_engine().connect()", "sqlalchemy.create_engine().begin()", "sqlalchemy.orm.scoped_session()"):  # fmt: skip
        if _verb not in ("close", "cursor"):
            EXACT[f"{_class}.{_verb}"] = "database"
    EXACT[f"sqlmodel.Session().exec"] = "database"  # noqa: F541
for _verb in (
    "insert_one",
    "insert_many",
    "find_one",
    "update_one",
    "update_many",
    "delete_one",
    "delete_many",
    "count_documents",
):
    EXACT[f"pymongo.MongoClient().{_verb}"] = "database"
EXACT |= {
    f"subprocess.{name}": "process" for name in ("run", "call", "check_call", "check_output", "getoutput", "getstatusoutput")
}
EXACT |= {f"os.{name}": "process" for name in ("system", "popen", "wait", "waitpid", "spawnl", "spawnv")}
EXACT |= {f"subprocess.Popen().{name}": "process" for name in ("wait", "communicate")}
for _class in ("pathlib.Path()", "pathlib.PurePath()"):
    EXACT |= {f"{_class}.{name}": "file" for name in FILE_METHODS}
EXACT |= {f"shutil.{name}": "file" for name in ("copy", "copy2", "copyfile", "copytree", "move", "rmtree", "make_archive")}
EXACT |= {
    f"pandas.{name}": "cpu"
    for name in ("read_csv", "read_parquet", "read_json", "read_excel", "read_sql", "read_sql_query", "read_sql_table")
}
EXACT |= {f"polars.{name}": "cpu" for name in ("read_csv", "read_parquet", "read_json", "read_database")}
EXACT |= {"bcrypt.hashpw": "cpu", "bcrypt.checkpw": "cpu", "argon2.PasswordHasher().hash": "cpu", "argon2.PasswordHasher().verify": "cpu",
          "passlib.context.CryptContext().hash": "cpu", "passlib.context.CryptContext().verify": "cpu", "hashlib.scrypt": "cpu",
          "hashlib.pbkdf2_hmac": "cpu", "h2o.load_model().predict": "cpu", "h2o.import_mojo().predict": "cpu", "h2o.upload_mojo().predict": "cpu",
          "cenote.load().predict": "cpu", "cenote.load().predict_contributions": "cpu", "joblib.load().predict": "cpu",
          "joblib.load().predict_proba": "cpu", "pickle.load().predict": "cpu", "h2o.init": "http", "h2o.load_model": "http",
          "h2o.import_mojo": "http"}  # fmt: skip
EXACT |= dict.fromkeys(("pickle.load", "joblib.load", "cloudpickle.load", "dill.load", "torch.load", "cenote.load"), "unpickle")
EXACT |= {"threading.Thread().join": "thread", "multiprocessing.Process().join": "thread", "queue.Queue().get": "thread",
          "queue.Queue().put": "thread", "queue.Queue().join": "thread", "queue.SimpleQueue().get": "thread", "threading.Event().wait": "thread",
          "threading.Condition().wait": "thread", "threading.Barrier().wait": "thread", "threading.Semaphore().acquire": "thread",
          "threading.Lock().acquire": "thread", "threading.RLock().acquire": "thread", "concurrent.futures.wait": "thread",
          "concurrent.futures.Future().result": "thread", "asyncio.run_coroutine_threadsafe().result": "thread"}  # fmt: skip
for _pool in ("ThreadPoolExecutor", "ProcessPoolExecutor"):
    EXACT[f"concurrent.futures.{_pool}().submit().result"] = "thread"
    EXACT[f"concurrent.futures.{_pool}().map"] = "thread"
    EXACT[f"concurrent.futures.{_pool}().shutdown"] = "thread"
EXACT |= {"asyncio.run": "nested loop", "asyncio.get_event_loop().run_until_complete": "nested loop",
          "asyncio.new_event_loop().run_until_complete": "nested loop", "asyncio.get_running_loop().run_until_complete": "nested loop"}  # fmt: skip
REDIS = (
    "redis.Redis()",
    "redis.StrictRedis()",
    "redis.from_url()",
    "redis.Redis.from_url()",
    "redis.client.Redis()",
    "redis.cluster.RedisCluster()",
)
REDIS_LAZY = frozenset({"pipeline", "register_script", "pubsub", "lock", "from_url", "close", "get_connection_kwargs"})
SERVICES = ("boto3.client()", "boto3.resource()", "boto3.Session().client()", "boto3.session.Session().client()", "kafka.KafkaProducer()",
            "kafka.KafkaConsumer()", "confluent_kafka.Consumer()", "google.cloud.storage.Client()")  # fmt: skip
SERVICE_LAZY = frozenset({"meta", "exceptions", "get_paginator", "generate_presigned_url", "generate_presigned_post", "Bucket", "Object", "Table",
                          "subscribe", "bucket", "blob"})  # fmt: skip
THREADS = frozenset({"asyncio.to_thread", "anyio.to_thread.run_sync", "starlette.concurrency.run_in_threadpool",
                     "fastapi.concurrency.run_in_threadpool", "asgiref.sync.sync_to_async"})  # fmt: skip


# Ruff's rules -> kinds. Not taken: ASYNC220 (starting a process waits for nothing) and what only asks a path's state.
RUFF = {"ASYNC210": "http", "ASYNC212": "http", "ASYNC221": "process", "ASYNC222": "process", "ASYNC230": "file", "ASYNC240": "file",
        "ASYNC250": "thread", "ASYNC251": "sleep"}  # fmt: skip
QUICK = frozenset({"exists", "is_file", "is_dir", "is_symlink", "is_absolute", "stat", "lstat", "resolve", "absolute", "expanduser", "isfile", "isdir",
                   "islink", "getsize", "getmtime", "realpath", "abspath", "samefile", "cwd", "home", "join", "owner", "group"})  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A place where async code blocks: `kind` of KINDS, the call's true name, and the chain of sync functions that led to it."""

    module: Module
    node: ast.Call
    function: Function
    kind: str
    name: str
    chain: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        return KINDS[self.kind][0]

    @property
    def fix(self) -> str:
        return KINDS[self.kind][1]

    @property
    def severity(self) -> str:
        # Before the first request and after the last one the loop keeps nobody waiting.
        return "info" if "lifespan" in self.function.name else KINDS[self.kind][2]


def kind_of(module: Module, call: ast.Call) -> tuple[str, str] | None:
    """The kind and true name of a blocking call; None for a call that does not block or is not known."""
    if module.awaited(call) or call in module.type_checking:
        return None
    name = module.qualify(call.func)
    if name is None:
        return None
    kind = EXACT.get(name)
    if kind is None:
        owner, _, method = name.rpartition(".")
        if (owner in REDIS and method not in REDIS_LAZY) or (owner in SERVICES and method not in SERVICE_LAZY):
            kind = "service"
        elif owner.startswith("pymongo.MongoClient()"):
            kind = "database" if method in DB_METHODS or method.endswith(("_one", "_many", "_documents")) else None
    if kind == "thread" and _does_not_wait(name, call):
        return None
    return (kind, name) if kind else None


def _does_not_wait(name: str, call: ast.Call) -> bool:
    words = {k.arg: k.value for k in call.keywords}
    first = call.args[0] if call.args else None
    if name.endswith(("acquire", ".get")):
        flag = words.get("blocking", words.get("block", first))
        return isinstance(flag, ast.Constant) and flag.value is False
    if name.endswith(".put"):
        return "block" in words
    if name.endswith(".shutdown"):
        flag = words.get("wait", first)
        return isinstance(flag, ast.Constant) and flag.value is False
    return (
        name.endswith((".wait", ".join"))
        and isinstance(words.get("timeout", first), ast.Constant)
        and not words.get("timeout", first).value
    )  # type: ignore[union-attr]


def find(project: Project) -> list[Block]:
    """Every place where an `async def` of the project blocks."""
    found = []
    memo: dict[str, tuple[str, str, tuple[str, ...]] | None] = {}
    for module in project.modules:
        for function in module.nodes:
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            for node in own_nodes(function):
                if not isinstance(node, ast.Call):
                    continue
                direct = kind_of(module, node)
                if direct:
                    found.append(Block(module, node, function, *direct))
                    continue
                reached = _through(project, module, node, memo, ())
                if reached:
                    kind, name, chain = reached
                    found.append(Block(module, node, function, kind, name, chain))
    return found


def second_opinion(report: Report, project: Project, known: list[Block]) -> list[Block]:
    """What ruff finds on lines where `known` has nothing."""
    modules = {str(m.path.resolve()): m for m in project.modules}
    told = {(b.module, b.node.lineno) for b in known}
    found = []
    for hit in ruff(report, ",".join(RUFF), [m.path for m in project.modules]):
        module, kind = modules.get(hit["filename"]), RUFF.get(hit["code"] or "")
        if module is None or kind is None:
            continue
        place = (hit["location"]["row"], hit["location"]["column"] - 1)
        for node in module.nodes:
            if not isinstance(node, ast.Call) or (node.lineno, node.col_offset) != place or (module, place[0]) in told:
                continue
            function = module.function_of(node)
            name = ast.unparse(node.func)
            if isinstance(function, ast.AsyncFunctionDef) and name.rpartition(".")[2] not in QUICK:
                told.add((module, place[0]))
                found.append(Block(module, node, function, kind, name))
    return found


def _through(
    project: Project,
    module: Module,
    call: ast.Call,
    memo: dict[str, tuple[str, str, tuple[str, ...]] | None],
    above: tuple[str, ...],
) -> tuple[str, str, tuple[str, ...]] | None:
    """The worst blocking call that a call of a sync function of the project runs into."""
    if module.awaited(call) or len(above) > 12:
        return None
    name = module.qualify(call.func)
    if name is None or name in above:
        return None
    if name in project.classes:
        name = f"{name}.__init__"
    target = project.functions.get(name) or project.functions.get(name.replace("()", ""))
    if target is None:
        return None
    if name not in memo:
        memo[name] = None
        home, function = target
        if isinstance(function, ast.FunctionDef) and not _is_wrapped(function, home) and not _yields(function):
            hits = []
            for node in own_nodes(function):
                if isinstance(node, ast.Call):
                    direct = kind_of(home, node)
                    if direct:
                        hits.append((*direct, (home.path_of(function),)))
                        continue
                    deeper = _through(project, home, node, memo, (*above, name))
                    if deeper:
                        hits.append((deeper[0], deeper[1], (home.path_of(function), *deeper[2])))
            hits.sort(key=lambda h: (KINDS[h[0]][2] != "error", len(h[2])))
            memo[name] = hits[0] if hits else None
    return memo[name]


def _is_wrapped(function: ast.FunctionDef, module: Module) -> bool:
    """A decorator may run the body elsewhere (a task queue, a thread), so only a plain function is followed."""
    plain = {"builtins.staticmethod", "builtins.classmethod", "builtins.property", "functools.wraps()"}
    return any(module.qualify(d) not in plain for d in function.decorator_list)


def _yields(function: ast.FunctionDef) -> bool:
    return any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in own_nodes(function))


def in_function(module: Module, node: ast.AST) -> Function | None:
    function = module.function_of(node)
    return function if isinstance(function, FUNCTIONS) else None
