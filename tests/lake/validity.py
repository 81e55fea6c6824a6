"""Is a table that the mirror wrote valid, commit by commit? Rules of the Delta protocol and our own promises.

    problems = check_table(path, duck)     # [] when all is well
    problems = check_database([paths], duck)  # also what holds between tables
"""
import datetime
import decimal
import json
import pathlib

from . import canonical, deletion_vectors
from .duck import expression, literal, quoted
from .log import Log, LogError, Snapshot, file_key, loads, read_commit, resolve

HIDDEN = "__tide_ctid"
READER_FEATURES = {"deletionVectors", "columnMapping"}
WRITER_FEATURES = READER_FEATURES | {"inCommitTimestamp", "domainMetadata"}
OPTIONAL_READER = {"timestampNtz"}
OPTIONAL_WRITER = {"timestampNtz", "changeDataFeed"}
PARQUET_TYPES = {"boolean": "BOOLEAN", "byte": "TINYINT", "short": "SMALLINT", "integer": "INTEGER", "long": "BIGINT",
                 "float": "FLOAT", "double": "DOUBLE", "string": "VARCHAR", "binary": "BLOB", "date": "DATE",
                 "timestamp": "TIMESTAMP WITH TIME ZONE", "timestamp_ntz": "TIMESTAMP"}
NO_BOUNDS = {"boolean", "binary", "array", "map"}
SHAPES = {
    "add": {"path": str, "partitionValues": dict, "size": int, "modificationTime": int, "dataChange": bool, "stats": str},
    "remove": {"path": str, "dataChange": bool, "deletionTimestamp": int},
    "metaData": {"id": str, "format": dict, "schemaString": str, "partitionColumns": list, "configuration": dict},
    "protocol": {"minReaderVersion": int, "minWriterVersion": int, "readerFeatures": list, "writerFeatures": list},
    "txn": {"appId": str, "version": int},
    "domainMetadata": {"domain": str, "configuration": str, "removed": bool},
    "commitInfo": {"inCommitTimestamp": int},
}


class Checker:
    """Walks one table's log. Everything wrong goes to `problems`, with the version it is in."""

    def __init__(self, table, duck, ours=True):
        self.table = pathlib.Path(table)
        self.duck = duck
        self.ours = ours  # also our own promises, not only the protocol
        self.problems = []
        self.where = ""
        self.column_ids = {}        # id -> physical name, over the whole history
        self.stamps = {}            # version -> in-commit timestamp
        self.cuts = {}              # version -> {appId: txn version}
        self.row_counts = {}        # path -> rows in the file
        self.checked_stats = set()  # paths whose statistics have been compared with the file
        self.ever_ntz = False

    def wrong(self, text):
        self.problems.append(f"{self.table.name}{self.where}: {text}")

    def run(self):
        try:
            log = Log(self.table, self.duck)
        except LogError as error:
            self.wrong(str(error))
            return self.problems
        first = min(log.commits, default=log.last)
        state = Snapshot(self.table, -1)
        if first > 0:
            if first - 1 not in log.checkpoints and log.base(first) < first:
                self.wrong(f"begins at commit {first} without a checkpoint before it")
                return self.problems
            base = log.base(first)
            state.apply(log.checkpoint_actions(base))
            state.version = base
            first = base + 1
        for version in range(first, log.last + 1):
            self.where = f" version {version}"
            if version not in log.commits:
                self.wrong("commit is missing")
                return self.problems
            try:
                actions = read_commit(log.commits[version])
                self.commit(version, actions, state)
            except (LogError, ValueError, KeyError, TypeError) as error:
                self.wrong(f"cannot be read: {error!r}")
                return self.problems
            state.version = version
            if version in log.checkpoints:
                self.checkpoint(log, version, state)
        self.where = f" at version {log.last}"
        self.files(state)
        self.hint(log)
        return self.problems

    # One commit.

    def commit(self, version, actions, state):
        self.shapes(actions)
        named = {}
        for name, body in actions:
            named.setdefault(name, []).append(body)
        if version == 0 and not ("protocol" in named and "metaData" in named):
            self.wrong("the first commit lacks protocol or metaData")
        for name in ("protocol", "metaData", "commitInfo"):
            if len(named.get(name, ())) > 1:
                self.wrong(f"{len(named[name])} {name} actions")
        for name, key in (("txn", "appId"), ("domainMetadata", "domain"), ("add", "path"), ("remove", "path")):
            keys = [body[key] for body in named.get(name, ())]
            for twice in {key for key in keys if keys.count(key) > 1}:
                self.wrong(f"two {name} actions for {twice}")
        before = state.copy()
        removed = {file_key(body): body for body in named.get("remove", ())}
        added = {file_key(body): body for body in named.get("add", ())}
        for key in removed:
            if key not in state.live:
                self.wrong(f"removes {key}, which is not live")
        live_paths = {path: identity for path, identity in state.live if (path, identity) not in removed}
        for path, identity in added:
            if (path, identity) in removed:
                self.wrong(f"adds and removes {(path, identity)}")
            if path in live_paths and live_paths[path] != identity:
                self.wrong(f"adds {path} with another deletion vector while {live_paths[path]} is live")
        state.apply(actions)
        if state.metadata is None or state.protocol is None:
            raise LogError("no protocol or metaData so far")
        if "protocol" in named or "metaData" in named:
            self.schema(state, before)
        self.stamp(version, actions, state)
        for body in named.get("txn", ()):
            old = before.transactions.get(body["appId"])
            if self.ours and old is not None and body["version"] <= old["version"]:
                self.wrong(f"txn {body['appId']} goes from {old['version']} to {body['version']}")
        self.cuts[version] = {body["appId"]: body["version"] for body in named.get("txn", ())}
        for body in named.get("add", ()):
            self.added(body, before, state)

    def shapes(self, actions):
        for name, body in actions:
            for key, kind in SHAPES.get(name, {}).items():
                value = body.get(key)
                required = self.ours or key not in ("stats", "deletionTimestamp", "readerFeatures", "writerFeatures",
                                                    "inCommitTimestamp")
                if value is None and not required:
                    continue
                if not isinstance(value, kind) or kind is int and isinstance(value, bool):
                    self.wrong(f"{name}.{key} is {value!r:.80}")

    def stamp(self, version, actions, state):
        if state.configuration.get("delta.enableInCommitTimestamps") != "true":
            if self.ours:
                self.wrong("in-commit timestamps are not enabled")
            return
        if actions[0][0] != "commitInfo":
            self.wrong("commitInfo is not the first action")
            return
        now = actions[0][1].get("inCommitTimestamp")
        past = max(self.stamps.values(), default=None)
        if now is None or past is not None and now <= past:
            self.wrong(f"in-commit timestamp {now} after {past}")
        else:
            self.stamps[version] = now

    # Protocol and schema.

    def schema(self, state, before):
        protocol, metadata = state.protocol, state.metadata
        readers, writers = set(protocol.get("readerFeatures") or ()), set(protocol.get("writerFeatures") or ())
        if not readers <= writers:
            self.wrong(f"reader features not among the writer's: {readers - writers}")
        if (protocol["minReaderVersion"] == 3) != (protocol.get("readerFeatures") is not None) or \
           (protocol["minWriterVersion"] == 7) != (protocol.get("writerFeatures") is not None):
            self.wrong(f"features do not go with protocol {protocol['minReaderVersion']}/{protocol['minWriterVersion']}")
        fields = state.fields
        kinds = {name for field in fields for name in names_of(field.kind)}
        self.ever_ntz |= "timestamp_ntz" in kinds
        if "timestamp_ntz" in kinds and "timestampNtz" not in readers:
            self.wrong("a timestamp_ntz column without the feature")
        lowered = [field.name.lower() for field in fields]
        for twice in {name for name in lowered if lowered.count(name) > 1}:
            self.wrong(f"two columns {twice}")
        if before.metadata is not None and before.metadata["id"] != metadata["id"]:
            self.wrong("the table's id changed")
        if metadata["format"].get("provider") != "parquet":
            self.wrong(f"format {metadata['format']}")
        if self.ours:
            self.promises(state, readers, writers)
        if state.configuration.get("delta.columnMapping.mode", "none") != "none":
            self.mapping(state)

    def promises(self, state, readers, writers):
        protocol = state.protocol
        if (protocol["minReaderVersion"], protocol["minWriterVersion"]) != (3, 7):
            self.wrong(f"protocol {protocol['minReaderVersion']}/{protocol['minWriterVersion']}, promised 3/7")
        if not READER_FEATURES <= readers <= READER_FEATURES | OPTIONAL_READER:
            self.wrong(f"reader features {sorted(readers)}")
        if not WRITER_FEATURES <= writers <= WRITER_FEATURES | OPTIONAL_WRITER:
            self.wrong(f"writer features {sorted(writers)}")
        if "timestampNtz" in readers and not self.ever_ntz:
            self.wrong("timestampNtz without such a column")
        wanted = {"delta.columnMapping.mode": "name", "delta.enableDeletionVectors": "true",
                  "delta.enableInCommitTimestamps": "true"}
        for key, value in wanted.items():
            if state.configuration.get(key) != value:
                self.wrong(f"{key} is {state.configuration.get(key)!r}")
        if state.metadata["partitionColumns"]:
            self.wrong(f"partitioned by {state.metadata['partitionColumns']}")

    def mapping(self, state):
        largest = int(state.configuration.get("delta.columnMapping.maxColumnId", -1))
        seen, physical = set(), set()
        for prefix, spec in walk_fields(json.loads(state.metadata["schemaString"])["fields"]):
            metadata = spec.get("metadata", {})
            number = metadata.get("delta.columnMapping.id")
            name = metadata.get("delta.columnMapping.physicalName")
            if not isinstance(number, int) or not isinstance(name, str):
                self.wrong(f"column {spec['name']} has no id or physical name")
                continue
            if number in seen:
                self.wrong(f"column id {number} twice")
            if number > largest:
                self.wrong(f"column id {number} above maxColumnId {largest}")
            if (prefix, name.lower()) in physical:
                self.wrong(f"physical name {name} twice")
            seen.add(number)
            physical.add((prefix, name.lower()))
            known = self.column_ids.setdefault(number, (prefix, name))
            if known != (prefix, name):
                self.wrong(f"column id {number} was {known}, is {(prefix, name)}")

    # Files.

    def added(self, add, before, state):
        if pathlib.PurePath(add["path"]).name.startswith(("_", ".")):
            self.wrong(f"{add['path']} is hidden from readers")
        path = resolve(self.table, add["path"])
        if not path.exists():
            return  # vacuumed since, or missing: files() knows
        if path.stat().st_size != add["size"]:
            self.wrong(f"{add['path']} has {path.stat().st_size} bytes, the log says {add['size']}")
        stats = loads(add["stats"]) if add.get("stats") else None
        rows = self.row_counts.get(add["path"])
        if rows is None:
            rows = self.duck.query(f"SELECT num_rows FROM parquet_file_metadata({literal(path)})")[0][0]
            self.row_counts[add["path"]] = rows
            self.parquet_schema(add["path"], path, state)
        if stats is not None and stats.get("numRecords") != rows:
            self.wrong(f"{add['path']} has {rows} rows, statistics say {stats.get('numRecords')}")
        if stats is not None and add["path"] not in self.checked_stats:
            self.checked_stats.add(add["path"])
            self.statistics(add["path"], path, stats, state, rows)
        if add.get("deletionVector"):
            self.vector(add, stats, rows, before, state)

    def vector(self, add, stats, rows, before, state):
        if state.configuration.get("delta.enableDeletionVectors") != "true":
            self.wrong("a deletion vector on a table that has them switched off")
        if stats is None:
            self.wrong(f"{add['path']}: a deletion vector needs numRecords")
        elif stats.get("tightBounds", True):
            self.wrong(f"{add['path']}: tightBounds with a deletion vector")
        try:
            gone = deletion_vectors.read(add["deletionVector"], self.table)
        except deletion_vectors.Broken as error:
            self.wrong(f"deletion vector of {add['path']}: {error}")
            return
        if not gone:
            self.wrong(f"{add['path']}: an empty deletion vector")
        elif gone[-1] >= rows:
            self.wrong(f"{add['path']}: deletes row {gone[-1]} of {rows}")
        for (path, _), old in before.live.items():
            if path == add["path"] and old.get("deletionVector"):
                try:
                    back = set(deletion_vectors.read(old["deletionVector"], self.table)) - set(gone)
                except deletion_vectors.Broken:
                    continue
                if back and self.ours:  # others restore tables
                    self.wrong(f"{path}: rows {sorted(back)[:5]} come back to life")

    def parquet_schema(self, name, path, state):
        columns = {physical: (kind, number) for physical, kind, number in self.duck.schema(path)}
        if self.ours and columns.get(HIDDEN, ("",))[0] != "BIGINT":
            self.wrong(f"{name}: {HIDDEN} is {columns.get(HIDDEN)}")
        for field in state.physical_fields():
            there = columns.get(field.physical)
            if there is None:
                if not field.nullable:
                    self.wrong(f"{name}: no column {field.physical}, which may not be null")
                continue
            kind, number = there
            expected = PARQUET_TYPES.get(field.kind[0])
            if field.kind[0] == "decimal":
                expected = f"DECIMAL({field.kind[1]},{field.kind[2]})"
            int96 = not self.ours and expected == "TIMESTAMP WITH TIME ZONE" and kind == "TIMESTAMP"
            if expected is not None and kind != expected and not int96:
                self.wrong(f"{name}: {field.physical} is {kind}, the schema says {canonical.spelled(field.kind)}")
            if field.id is not None and number != field.id and self.ours:
                self.wrong(f"{name}: {field.physical} has field id {number}, the schema says {field.id}")

    def statistics(self, name, path, stats, state, rows):
        have = {physical for physical, _, _ in self.duck.schema(path)}
        leaves = [leaf for field in state.physical_fields() if field.physical in have
                  for leaf in leaves_of(field, (), quoted(field.physical))]
        known = {place for place, _, _ in leaves}
        for part in ("minValues", "maxValues", "nullCount"):
            for place, _ in flatten(stats.get(part) or {}):
                if place not in known and place[0] != HIDDEN and not any(place == leaf[:len(place)] for leaf in known):
                    self.wrong(f"{name}: statistics {part} of {'.'.join(place)}, which is no column")
        what = ["count(*)"]
        for _, kind, sql in leaves:
            bounded = kind[0] not in NO_BOUNDS
            text = expression(kind, f"min({sql})"), expression(kind, f"max({sql})")
            what += [f"count({sql})", *(text if bounded else ("NULL", "NULL"))]
        named = ", ".join(f"{sql} AS __judge_{i}" for i, sql in enumerate(what))
        answer = self.duck.query(f"SELECT {named} FROM read_parquet({literal(path)})")[0]
        for position, (place, kind, _) in enumerate(leaves):
            count, low, high = answer[1 + 3 * position:4 + 3 * position]
            nulls = lookup(stats.get("nullCount") or {}, place)
            if nulls is not None and nulls != rows - count and not (
                    stats.get("tightBounds") is False and nulls not in (0, rows)):
                self.wrong(f"{name}: nullCount of {'.'.join(place)} is {nulls}, the file has {rows - count}")
            for part, actual in (("minValues", low), ("maxValues", high)):
                bound = lookup(stats.get(part) or {}, place)
                if bound is None:
                    continue
                if kind[0] in NO_BOUNDS:
                    if self.ours:
                        self.wrong(f"{name}: {part} of {'.'.join(place)}, which is {kind[0]}")
                elif actual is None:
                    self.wrong(f"{name}: {part} of {'.'.join(place)} is {bound}, the file has nulls only")
                elif not holds(part, kind, bound, actual):
                    self.wrong(f"{name}: {part} of {'.'.join(place)} is {bound!r}, the file has {actual!r}")

    def files(self, state):
        """Every file of the last version is there."""
        paths = [path for path, _ in state.live]
        for twice in {path for path in paths if paths.count(path) > 1}:
            self.wrong(f"{twice} is live with two deletion vectors")
        for path, identity in state.live:
            if not resolve(self.table, path).exists():
                self.wrong(f"{path} does not exist")

    # Checkpoints.

    def checkpoint(self, log, version, state):
        other = Snapshot(self.table, version)
        try:
            other.apply(log.checkpoint_actions(version))
        except Exception as error:  # whatever the reader says about a broken file
            self.wrong(f"checkpoint cannot be read: {error}")
            return
        for name in ("protocol", "metadata", "transactions", "live"):
            mine, theirs = comparable(getattr(state, name)), comparable(getattr(other, name))
            if mine != theirs:
                self.wrong(f"checkpoint: {name} is {theirs!r:.400}, the log says {mine!r:.400}")
        domains = {name: body["configuration"] for name, body in state.domains.items() if not body.get("removed")}
        theirs = {name: body["configuration"] for name, body in other.domains.items() if not body.get("removed")}
        if domains != theirs:
            self.wrong(f"checkpoint: domains are {theirs}, the log says {domains}")
        if not set(other.tombstones) <= set(state.tombstones):
            self.wrong(f"checkpoint: tombstones nobody wrote: {set(other.tombstones) - set(state.tombstones)}")

    def hint(self, log):
        path = log.directory / "_last_checkpoint"
        if path.exists():
            try:
                version = json.loads(path.read_text())["version"]
            except (ValueError, KeyError) as error:
                self.wrong(f"_last_checkpoint: {error!r}")
                return
            if version not in log.checkpoints:
                self.wrong(f"_last_checkpoint names {version}, which is not there")


def names_of(kind):
    yield kind[0]
    if kind[0] == "struct":
        for field in kind[1]:
            yield from names_of(field.kind)
    elif kind[0] in ("array", "map"):
        for part in kind[1:]:
            yield from names_of(part)


def walk_fields(specs, prefix=""):
    """(path of the parent, field) of every field on every level."""
    for spec in specs:
        yield prefix, spec
        yield from walk_type(spec["type"], f"{prefix}{spec['name']}.")


def walk_type(spec, prefix):
    if isinstance(spec, dict):
        if spec["type"] == "struct":
            yield from walk_fields(spec["fields"], prefix)
        elif spec["type"] == "array":
            yield from walk_type(spec["elementType"], prefix + "element.")
        elif spec["type"] == "map":
            yield from walk_type(spec["keyType"], prefix + "key.")
            yield from walk_type(spec["valueType"], prefix + "value.")


def leaves_of(field, prefix, sql):
    """(place, kind, SQL) of each leaf that statistics may speak of."""
    place = (*prefix, field.physical)
    if field.kind[0] == "struct":
        for inner in field.kind[1]:
            yield from leaves_of(inner, place, f"({sql}).{quoted(inner.physical)}")
    else:
        yield place, field.kind, sql


def flatten(values, prefix=()):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def lookup(values, place):
    for name in place:
        if not isinstance(values, dict) or name not in values:
            return None
        values = values[name]
    return values


def holds(part, kind, bound, actual):
    """Is `bound` a legal lower or upper bound of a column whose least or greatest value is `actual`?"""
    low = part == "minValues"
    name = kind[0]
    if name == "string":
        return isinstance(bound, str) and (bound <= actual if low else bound >= actual)
    if name in ("timestamp", "timestamp_ntz"):
        value = micros(bound, name == "timestamp")
        # Cut to milliseconds, downwards on both sides: readers add one.
        return value is not None and (value <= actual if low else value + 1000 > actual)
    if name == "date":
        value = micros(bound + "T00:00:00", False)
        return value is not None and (value <= actual * 86_400_000_000 if low else value >= actual * 86_400_000_000)
    if name in ("float", "double"):
        number = float(actual)
        if number != number or isinstance(bound, str):
            return False  # NaN has no place in an order
        return float(bound) <= number if low else float(bound) >= number
    if not isinstance(bound, (int, decimal.Decimal)) or isinstance(bound, bool):
        return False
    return bound <= decimal.Decimal(str(actual)) if low else bound >= decimal.Decimal(str(actual))


def micros(text, zoned):
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if zoned != (moment.tzinfo is not None):
        return None
    moment = moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)


def comparable(value):
    """Without nulls, and without what a checkpoint may add or leave out."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()
                if item is not None and key not in ("stats_parsed", "partitionValues_parsed", "dataChange", "tags") and
                not (key in ("options", "partitionValues", "configuration") and item == {}) and
                not (key == "lastUpdated")}
    if isinstance(value, list):
        return sorted((comparable(item) for item in value), key=repr)
    return value


def check_table(table, duck, ours=True):
    return Checker(table, duck, ours).run()


def check_database(tables, duck):
    """Also across tables: one cut, one in-commit timestamp; later cuts have later ones."""
    problems, stamp_of = [], {}
    for table in tables:
        checker = Checker(table, duck)
        problems += checker.run()
        for version, cuts in checker.cuts.items():
            for app, number in cuts.items():
                stamp = checker.stamps.get(version)
                known = stamp_of.setdefault((app, number), (stamp, f"{checker.table.name} version {version}"))
                if known[0] != stamp:
                    problems.append(f"{checker.table.name} version {version}: cut {number} has timestamp {stamp}, "
                                    f"{known[1]} has {known[0]}")
    for app in {app for app, _ in stamp_of}:
        ordered = sorted((number, stamp) for (other, number), (stamp, _) in stamp_of.items() if other == app)
        for (early, first), (late, second) in zip(ordered, ordered[1:]):
            if first is not None and second is not None and second <= first:
                problems.append(f"cut {late} of {app} has timestamp {second}, not after {first} of cut {early}")
    return problems
