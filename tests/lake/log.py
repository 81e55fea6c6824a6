"""A Delta log, replayed from the protocol's description: an opinion independent of src/deltalog.

    log = Log(table_path, duck)         # duck reads checkpoints and data files
    snapshot = log.snapshot()           # or snapshot(version)
    for row in snapshot.rows(duck): ...  # tuples of canonical values
"""
import datetime
import decimal
import json
import pathlib
import re
import urllib.parse

from . import canonical, deletion_vectors
from .duck import literal

COMMIT = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\.[^.]+)?\.(parquet|json)")
PART = re.compile(r"(\d{20})\.checkpoint\.(\d{10})\.(\d{10})\.parquet")


class LogError(Exception):
    """The log cannot be read."""


def loads(text):
    """JSON in which numbers stay exact and keys are unique."""
    def pairs(items):
        keys = [key for key, _ in items]
        if len(keys) != len(set(keys)):
            raise LogError(f"a key twice in one object: {sorted(keys)}")
        return dict(items)
    return json.loads(text, parse_float=decimal.Decimal, object_pairs_hook=pairs)


def read_commit(path):
    """[(action's name, its body)] of a file of JSON lines."""
    actions = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        action = loads(line)
        if not isinstance(action, dict) or len(action) != 1:
            raise LogError(f"{path.name} line {number}: not one action")
        actions.extend(action.items())
    return actions


class Snapshot:
    """A table at one version."""

    def __init__(self, table, version):
        self.table = pathlib.Path(table)
        self.version = version
        self.protocol = self.metadata = None
        self.transactions = {}  # appId -> txn
        self.domains = {}       # domain -> domainMetadata, removed ones too
        self.live = {}          # (path, dv id) -> add
        self.tombstones = {}    # (path, dv id) -> remove

    def copy(self):
        other = Snapshot(self.table, self.version)
        other.protocol, other.metadata = self.protocol, self.metadata
        for name in ("transactions", "domains", "live", "tombstones"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    def apply(self, actions):
        """Actions of one commit or checkpoint. Removes first: a path may come back with another vector."""
        for name, body in actions:
            if name == "remove":
                key = file_key(body)
                self.live.pop(key, None)
                self.tombstones[key] = body
        for name, body in actions:
            if name == "add":
                key = file_key(body)
                self.tombstones.pop(key, None)
                self.live[key] = body
            elif name == "protocol":
                self.protocol = body
            elif name == "metaData":
                self.metadata = body
            elif name == "txn":
                self.transactions[body["appId"]] = body
            elif name == "domainMetadata":
                self.domains[body["domain"]] = body

    @property
    def fields(self):
        return canonical.parse_schema(self.metadata["schemaString"])

    @property
    def configuration(self):
        return self.metadata.get("configuration") or {}

    def file_of(self, path):
        return resolve(self.table, path)

    def physical_fields(self):
        """Fields whose physical names hold only if the mapping is switched on."""
        fields = self.fields
        if self.configuration.get("delta.columnMapping.mode", "none") == "none":
            fields = [unmapped(field) for field in fields]
        return fields

    def rows(self, duck):
        """Tuples of canonical values in the schema's order."""
        fields = self.physical_fields()
        partition = self.metadata.get("partitionColumns") or []
        for add in self.live.values():
            gone = set(deletion_vectors.read(add["deletionVector"], self.table) if add.get("deletionVector") else ())
            fixed = {}
            for position, field in enumerate(fields):
                if field.name in partition:
                    fixed[position] = partition_value(field.kind, (add.get("partitionValues") or {}).get(field.physical))
            for number, row in duck.file_rows(self.file_of(add["path"]), fields):
                if number not in gone:
                    yield tuple(fixed.get(i, value) for i, value in enumerate(row)) if fixed else row


def unmapped(field):
    def kind(of):
        if of[0] == "struct":
            return ("struct", tuple(unmapped(inner) for inner in of[1]))
        return (of[0], *(kind(part) if isinstance(part, tuple) else part for part in of[1:]))
    return field._replace(physical=field.name, kind=kind(field.kind))


def file_key(action):
    return action["path"], deletion_vectors.identity(action.get("deletionVector"))


def resolve(table, path):
    parsed = urllib.parse.urlparse(path)
    if parsed.scheme not in ("", "file"):
        raise LogError(f"cannot open {path}")
    text = urllib.parse.unquote(parsed.path if parsed.scheme else path)
    return pathlib.Path(text) if text.startswith("/") else pathlib.Path(table) / text


def partition_value(kind, text):
    if text is None or text == "":
        return None
    name = kind[0]
    if name == "boolean":
        return text == "true"
    if name == "date":
        return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days
    if name in ("timestamp", "timestamp_ntz"):
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        moment = moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc)
        return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)
    if name == "binary":
        return text.encode().hex()
    return canonical.from_json(kind, text)


class Log:
    def __init__(self, table, duck):
        self.table = pathlib.Path(table)
        self.directory = self.table / "_delta_log"
        self.duck = duck
        if not self.directory.is_dir():
            raise LogError(f"{self.directory} does not exist")
        names = [path.name for path in self.directory.iterdir()]
        self.commits = {int(match[1]): self.directory / name for name in names if (match := COMMIT.fullmatch(name))}
        self.checkpoints = self._checkpoints(names)
        if not self.commits and not self.checkpoints:
            raise LogError(f"{self.table} has no commits")
        self.last = max([*self.commits, *self.checkpoints])

    @staticmethod
    def _checkpoints(names):
        """version -> names of a complete checkpoint."""
        found, parts = {}, {}
        for name in names:
            if match := PART.fullmatch(name):
                parts.setdefault((int(match[1]), int(match[3])), {})[int(match[2])] = name
            elif match := CHECKPOINT.fullmatch(name):
                found[int(match[1])] = [name]
        for (version, count), some in parts.items():
            if len(some) == count:
                found.setdefault(version, list(some.values()))
        return found

    def checkpoint_actions(self, version):
        actions = []
        for name in self.checkpoints[version]:
            actions += self._file_actions(self.directory / name)
        for name, body in list(actions):
            if name == "sidecar":
                path = body["path"]
                actions += self._file_actions(pathlib.Path(path) if path.startswith("/")
                                              else self.directory / "_sidecars" / path)
        return [(name, body) for name, body in actions if name not in ("sidecar", "checkpointMetadata")]

    def _file_actions(self, path):
        if path.suffix == ".json":
            return read_commit(path)
        columns = [name for name, _, _ in self.duck.schema(path)]
        actions = []
        for column in columns:
            if column not in ("add", "remove", "protocol", "metaData", "txn", "domainMetadata", "sidecar"):
                continue
            for (body,) in self.duck.query(f'SELECT CAST(to_json("{column}") AS VARCHAR) AS body FROM '
                                           f'read_parquet({literal(path)}) WHERE "{column}" IS NOT NULL'):
                # A null member is an absent one.
                actions.append((column, {key: value for key, value in loads(body).items() if value is not None}))
        return actions

    def base(self, version):
        """The newest checkpoint not after `version`, or -1."""
        return max((at for at in self.checkpoints if at <= version), default=-1)

    def snapshot(self, version=None, use_checkpoint=True):
        version = self.last if version is None else version
        start = self.base(version) if use_checkpoint else -1
        found = Snapshot(self.table, start)
        if start >= 0:
            found.apply(self.checkpoint_actions(start))
        for at in range(start + 1, version + 1):
            if at not in self.commits:
                raise LogError(f"{self.table.name}: commit {at} is missing")
            found.apply(read_commit(self.commits[at]))
        found.version = version
        if found.protocol is None or found.metadata is None:
            raise LogError(f"{self.table.name}: no protocol or no metaData")
        return found
