#include "mirror/branch_worker.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "mirror/catalog_json.h"
#include "obs/log.h"

namespace tide::mirror {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// Records that are applied under one lock, before others may look.
constexpr int kRecordsPerTurn = 512;
/// Cuts come at least this often while WAL goes on, even if no table changed: so that a restart
/// has little to read again.
constexpr std::chrono::seconds kIdleCut{30};
constexpr milliseconds kLongestCutInterval{5000};
/// Rows in memory beyond this do not wait for the interval.
constexpr uint64_t kFreshBytes = uint64_t{256} << 20;

int64_t now_ms() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

BranchWorker::BranchWorker(Options options, objectstore::ObjectStore& store, duck::Engine& engine)
    : options_(std::move(options)), store_(store), engine_(engine), thread_([this] { run(); }) {}

BranchWorker::~BranchWorker() {
  stopping_ = true;
  progressed_.notify_all();
  thread_.join();
}

void BranchWorker::run() {
  milliseconds pause(200);
  while (!stopping_) {
    Clock::time_point begin = Clock::now();
    Status ended = follow();
    {
      std::lock_guard lock(mutex_);
      mirror_ = nullptr;
      snapshots_.clear();
      last_error_ = ended.ok() ? "" : ended.to_string();
    }
    progressed_.notify_all();
    if (stopping_) return;
    if (ended.code() == Code::kNotFound) {
      obs::info("{} is gone", options_.timeline);
      gone_ = true;
      return;
    }
    // Storage is being started again, say. What lies in the lake stays as it is.
    if (ended.code() == Code::kUnavailable || ended.code() == Code::kRetry) {
      obs::info("{} of {}: {}; begins anew", options_.branch, options_.timeline, ended.to_string());
    } else {
      obs::error("{} of {}: {}", options_.branch, options_.timeline, ended.to_string());
    }
    if (Clock::now() - begin > std::chrono::seconds(30)) pause = milliseconds(200);
    std::unique_lock lock(mutex_);
    progressed_.wait_for(lock, pause, [&] { return stopping_.load(); });
    pause = std::min(pause * 2, milliseconds(10'000));
  }
}

Status BranchWorker::restore(const CutState& state, TimelineMirror& mirror) {
  uint64_t rows = 0;
  for (const auto& [key, saved] : state.tables) {
    auto table = std::make_unique<LakeTable>(saved, mirror.next_segment());
    std::map<uint32_t, RelFork> heaps;
    for (const auto& [relation, heap] : saved.heaps) {
      heaps[relation] = heap.file;
      HeapRows& into = table->heaps().at(relation).rows;
      for (const auto& [name, file] : heap.files) {
        std::vector<int64_t> ids =
            TIDE_TRY(writer_->read_tuple_ids(saved.publication.directory, file));
        columns::RowSet deleted =
            TIDE_TRY(writer_->read_deleted(saved.publication.directory, file));
        into.load_file(file, ids, std::move(deleted));
      }
      rows += into.live_rows();
    }
    mirror.restore_database(saved.database).restore_table(std::move(table), std::move(heaps));
  }
  obs::info("{}: {} tables with {} rows as of cut {} at {}", options_.branch, state.tables.size(),
            rows, state.number, state.lsn);
  return {};
}

Status BranchWorker::start(std::unique_ptr<TimelineMirror>& mirror, Lsn& from) {
  auto identity = TIDE_TRY(asking_->describe());
  writer_ = TIDE_TRY(LakeWriter::create(
      store_, options_.local_root, engine_,
      {fmt::format("tidewater-{}-t{}", identity.system_id, options_.timeline.value),
       options_.version}));
  cut_log_ =
      TIDE_TRY(CutLog::open(store_, fmt::format("lake/_mirror/t{}", options_.timeline.value)));
  for (const CutLog::Commit& commit : cut_log_->unpublished()) {
    TIDE_TRY(writer_->publish(commit.key, commit.bytes));
  }
  auto excluded = TIDE_TRY(read_exclusions());
  mirror->exclude(excluded);
  if (const std::optional<CutState>& state = cut_log_->state()) {
    TIDE_TRY(restore(*state, *mirror));
    TIDE_TRY(mirror->resume(state->lsn, state->restart_lsn));
    from = state->restart_lsn;
    cuts_ = state->number;
    cut_lsn_ = state->lsn;
    cut_timestamp_ms_ = state->timestamp_ms;
  } else {
    from = identity.ingested_lsn;
    TIDE_TRY(mirror->load(from));
    obs::info("{}: {} in the lake from {} on", options_.branch, options_.timeline, from);
  }
  return {};
}

Status BranchWorker::follow() {
  auto stream_source = TIDE_TRY(learner::Learner::connect(options_.page_socket, options_.timeline));
  auto pages = TIDE_TRY(learner::Learner::connect(options_.page_socket, options_.timeline));
  confirming_ = TIDE_TRY(learner::Learner::connect(options_.page_socket, options_.timeline));
  {
    auto asking = TIDE_TRY(learner::Learner::connect(options_.page_socket, options_.timeline));
    std::lock_guard lock(asking_mutex_);
    asking_ = std::move(asking);
  }
  auto fresh = std::make_unique<TimelineMirror>(
      TimelineMirror::Options{options_.timeline, options_.spill_directory}, *pages);
  Lsn from;
  TIDE_TRY(start(fresh, from));
  learner::WalStream stream(*stream_source, from);
  {
    std::lock_guard lock(mutex_);
    mirror_ = std::move(fresh);
    caught_up_ = Lsn();
    last_error_.clear();
    last_cut_ = Clock::now();
    ending_cuts_ = false;
    cutting_ = false;
  }
  std::thread cutter([this] { cut_loop(); });
  Status outcome;
  bool waits = false;
  while (!stopping_ && outcome.ok()) {
    // Waits without the lock; what comes is applied under it.
    auto event = stream.next(waits ? 200 : 0);
    std::unique_lock lock(mutex_);
    for (int i = 0;; ++i) {
      if (!event.ok()) {
        outcome = std::move(event).status();
        break;
      }
      flushed_ = std::max(flushed_, stream.flushed());
      waits = *event == learner::WalStream::Event::kNothing;
      if (waits) {
        caught_up_ = std::max(caught_up_, stream.flushed());
        break;
      }
      if (*event == learner::WalStream::Event::kWriter) {
        if (stream.writer().start == stream.position()) mirror_->new_writer();
      } else if (outcome = mirror_->apply(stream.record()); !outcome.ok()) {
        break;
      }
      if (i == kRecordsPerTurn) break;
      event = stream.next(0);
    }
    progressed_.notify_all();
    lock.unlock();
    if (waiting_ > 0) std::this_thread::yield();
  }
  {
    std::lock_guard lock(mutex_);
    ending_cuts_ = true;
  }
  cut_wake_.notify_all();
  cutter.join();
  // An orderly end leaves little to read again.
  if (outcome.ok()) {
    if (auto last = make_cut(true); !last.ok()) {
      obs::warn("{}: no last cut: {}", options_.branch, last.status().to_string());
    }
  }
  return outcome;
}

void BranchWorker::cut_loop() {
  milliseconds pause(0);
  std::unique_lock lock(mutex_);
  while (!ending_cuts_) {
    cut_wake_.wait_for(lock, std::max(pause, milliseconds(20)), [&] { return ending_cuts_; });
    if (ending_cuts_) return;
    lock.unlock();
    auto made = make_cut(false);
    if (!made.ok()) {
      obs::warn("{}: cut {} failed: {}", options_.branch, cuts_ + 1, made.status().to_string());
      pause = std::clamp(pause * 2, milliseconds(500), milliseconds(10'000));
    } else {
      pause = milliseconds(0);
    }
    lock.lock();
    if (!made.ok()) {
      last_error_ = made.status().to_string();
    } else if (*made) {
      last_error_.clear();
    }
  }
}

bool BranchWorker::wants_cut(bool force) {
  uint64_t fresh = 0;
  bool dirty = mirror_->has_dropped();
  for (const auto& [oid, database] : mirror_->databases()) {
    for (const auto& [table_oid, table] : database->tables()) {
      dirty = dirty || table->is_dirty();
      fresh += table->fresh_bytes();
    }
  }
  if (mirror_->applied() <= cut_lsn_ && !dirty) return false;
  if (force) return true;
  auto since = Clock::now() - last_cut_;
  if (!dirty) return since >= kIdleCut;
  milliseconds interval =
      std::min(std::max(options_.cut_interval, last_cut_took_ * 5), kLongestCutInterval);
  return since >= interval || fresh >= kFreshBytes;
}

Cut BranchWorker::begin_cut() {
  Cut cut;
  cut.number = cuts_ + 1;
  cut.lsn = mirror_->applied();
  cut.restart_lsn = mirror_->restart_lsn();
  cut.commit_time_us = mirror_->commit_time_us();
  cut.timestamp_ms = std::max(now_ms(), cut_timestamp_ms_ + 1);
  for (auto& [oid, database] : mirror_->databases()) {
    for (auto& [table_oid, table] : database->tables()) {
      if (!table->is_dirty()) continue;
      Publication& publication = table->publication();
      if (publication.directory.empty()) {
        publication.directory = claim_directory(*database, *table);
        publication.id = LakeWriter::random_id();
        publication.created_ms = cut.timestamp_ms;
      }
      cut.tables.push_back(table->begin_cut(false));
    }
  }
  for (LakeTable* table : mirror_->dropped()) {
    if (table->publication().directory.empty()) continue;
    cut.tables.push_back(table->begin_cut(true));
  }
  return cut;
}

std::string BranchWorker::claim_directory(const DatabaseMirror& database, const LakeTable& table) {
  std::string plain = LakeWriter::directory_for(options_.branch, database.database().name,
                                                table.schema(), table.name());
  // Names are used again, and files of a dropped table stay until nobody can ask for them.
  return writer_->is_free(plain) && !directories_.contains(plain)
             ? *directories_.insert(plain).first
             : *directories_.insert(fmt::format("{}.{}", plain, table.oid())).first;
}

Result<bool> BranchWorker::make_cut(bool force) {
  Cut cut;
  Clock::time_point begin = Clock::now();
  {
    std::lock_guard lock(mutex_);
    if (mirror_ == nullptr || !wants_cut(force)) return false;
    cut = begin_cut();
    cutting_ = true;
    cut_transactions_ = mirror_->transactions();
  }
  Status done;
  for (TableCut& table : cut.tables) {
    done = writer_->write(cut, table);
    if (!done.ok()) {
      done = std::move(done).with_context(fmt::format("write {}.{}", table.schema, table.name));
      break;
    }
  }
  if (!done.ok()) {
    std::lock_guard lock(mutex_);
    for (const TableCut& table : cut.tables) {
      if (LakeTable* found = mirror_->find_table(table)) found->abandon_cut(table);
    }
    cutting_ = false;
    return done;
  }
  // From here on the cut may be durable: it must not be made again with other content.
  auto insist = [&](auto&& step) -> Status {
    milliseconds pause(100);
    while (true) {
      Status tried = step();
      if (tried.ok() || tried.code() == Code::kConflict || tried.code() == Code::kCorrupt)
        return tried;
      {
        std::unique_lock lock(mutex_);
        last_error_ = tried.to_string();
        if (stopping_ || ending_cuts_) return tried;
        cut_wake_.wait_for(lock, pause, [&] { return ending_cuts_; });
      }
      pause = std::min(pause * 2, milliseconds(10'000));
    }
  };
  TIDE_TRY(insist([&] { return cut_log_->append(cut); }));
  for (const TableCut& table : cut.tables) {
    if (table.commit.empty()) continue;
    std::string key = commit_key(table.publication, table.publication.version + 1);
    TIDE_TRY(insist([&] { return writer_->publish(key, table.commit); }));
  }
  {
    std::lock_guard lock(mutex_);
    for (const TableCut& table : cut.tables) {
      LakeTable* found = mirror_->find_table(table);
      if (found != nullptr) found->finish_cut(table);
      if (auto database = mirror_->databases().find(table.database);
          database != mirror_->databases().end()) {
        database->second->touch();
      }
      if (table.dropped) mirror_->forget_dropped(table);
    }
    mirror_->forget_unpublished_drops();
    cutting_ = false;
    cuts_ = cut.number;
    cut_lsn_ = cut.lsn;
    cut_timestamp_ms_ = cut.timestamp_ms;
    cut_commit_time_us_ = cut.commit_time_us;
    last_cut_ = Clock::now();
    last_cut_took_ = std::chrono::duration_cast<milliseconds>(last_cut_ - begin);
  }
  for (const TableCut& table : cut.tables) {
    if (table.commit.empty() || table.dropped) continue;
    Status tended = writer_->tend(table.publication.directory, table.publication.version + 1);
    if (!tended.ok()) {
      obs::warn("{}: {}", table.publication.directory, tended.to_string());
    }
  }
  auto confirmed = confirming_->confirm(cut.restart_lsn);
  if (!confirmed.ok())
    obs::debug("confirm {}: {}", cut.restart_lsn, confirmed.status().to_string());
  return true;
}

std::shared_ptr<const DatabaseSnapshot> BranchWorker::take_snapshot(DatabaseMirror& database) {
  std::shared_ptr<const DatabaseSnapshot>& newest = snapshots_[database.database().oid];
  auto snapshot = std::make_shared<DatabaseSnapshot>();
  bool touched = database.take_touched() || newest == nullptr;
  snapshot->lsn = std::max(mirror_->applied(), newest != nullptr ? newest->lsn : Lsn());
  snapshot->commit_time_us = mirror_->commit_time_us();
  snapshot->catalog_version = database.catalog_version();
  if (!touched) {
    snapshot->tables = newest->tables;
  } else {
    auto tables = std::make_shared<DatabaseSnapshot::Tables>();
    for (const auto& [oid, table] : database.tables()) (*tables)[oid] = table->snapshot();
    snapshot->tables = std::move(tables);
  }
  if (newest != nullptr && newest->catalog_version == snapshot->catalog_version) {
    snapshot->catalog = newest->catalog;
  } else {
    snapshot->catalog = std::make_shared<const std::string>(catalog_json(*mirror_, database));
  }
  newest = snapshot;
  return newest;
}

Result<std::shared_ptr<const DatabaseSnapshot>> BranchWorker::snapshot(const Wanted& wanted) {
  Clock::time_point deadline = Clock::now() + wanted.patience;
  Lsn needed = wanted.min_lsn.value_or(Lsn());
  if (wanted.strict) {
    std::lock_guard lock(asking_mutex_);
    if (asking_ == nullptr) return Status(Code::kRetry, "the mirror is starting");
    needed = std::max(needed, TIDE_TRY(asking_->flushed()));
  }
  ++waiting_;
  std::unique_lock lock(mutex_);
  auto is_there = [&] {
    if (stopping_ || gone_) return true;
    if (mirror_ == nullptr) return false;
    if (mirror_->applied() >= needed || caught_up_ >= needed) {
      // After a restart what is restored may be older than what the last life has shown.
      return mirror_->applied() >= cut_lsn_;
    }
    if (wanted.strict || wanted.min_lsn || wanted.bound.count() == 0) return false;
    int64_t age_ms = now_ms() - mirror_->commit_time_us() / 1000;
    return age_ms <= wanted.bound.count();
  };
  bool there = progressed_.wait_until(lock, deadline, is_there);
  --waiting_;
  if (stopping_ || gone_) return Status(Code::kUnavailable, "the mirror of this branch ends");
  if (!there) {
    return Status(Code::kRetry, fmt::format("the lake has not reached {} within {} ms", needed,
                                            wanted.patience.count()))
        .with_detail(mirror_ == nullptr ? fmt::format("It is starting. {}", last_error_)
                                        : fmt::format("It is at {}.", mirror_->applied()));
  }
  DatabaseMirror* database = mirror_->database(wanted.database);
  if (database == nullptr) {
    return Status(Code::kNotFound, fmt::format("the lake has no database {} on branch {}",
                                               wanted.database, options_.branch));
  }
  return take_snapshot(*database);
}

std::string BranchWorker::exclusions_key() const {
  return fmt::format("lake/_mirror/t{}/excluded.json", options_.timeline.value);
}

Result<std::map<std::string, std::set<std::string>>> BranchWorker::read_exclusions() {
  std::map<std::string, std::set<std::string>> excluded;
  auto bytes = store_.get(exclusions_key());
  if (bytes.status().code() == Code::kNotFound) return excluded;
  json parsed = json::parse(TIDE_TRY(std::move(bytes)), nullptr, false);
  if (!parsed.is_object()) return Status(Code::kCorrupt, exclusions_key() + " is damaged");
  for (const auto& [database, tables] : parsed.items()) {
    if (!tables.is_array()) return Status(Code::kCorrupt, exclusions_key() + " is damaged");
    for (const json& table : tables) {
      if (table.is_string()) excluded[database].insert(table.get<std::string>());
    }
  }
  return excluded;
}

Status BranchWorker::include(const std::string& database, const std::string& table, bool in) {
  ++waiting_;
  std::lock_guard lock(mutex_);
  --waiting_;
  if (mirror_ == nullptr) return {Code::kRetry, "the mirror is starting"};
  DatabaseMirror* found = mirror_->database(database);
  if (found == nullptr) return {Code::kNotFound, fmt::format("no database {}", database)};
  if (!in && !found->has_relation(table)) {
    return Status(Code::kNotFound, fmt::format("database {} has no table {}", database, table))
        .with_hint("Name it with its schema: tide lake status lists all.");
  }
  auto excluded = TIDE_TRY(read_exclusions());
  bool changed = in ? excluded[database].erase(table) > 0 : excluded[database].insert(table).second;
  if (!changed) return {};
  json out = json::object();
  for (const auto& [name, tables] : excluded) {
    if (!tables.empty()) out[name] = tables;
  }
  TIDE_TRY(store_.put(exclusions_key(), as_bytes(out.dump())));
  mirror_->exclude(excluded);
  Status done = found->follow_exclusions(mirror_->applied());
  if (!done.ok()) return std::move(done).with_context(fmt::format("take in {}", table));
  return {};
}

Result<std::string> BranchWorker::local_path(const std::string& directory,
                                             const std::string& name) const {
  std::string path = options_.local_root + "/" + directory + "/" + name;
  if (env::exists(path)) return path;
  TIDE_TRY(env::make_directories(options_.local_root + "/" + directory, 0700));
  TIDE_TRY(store_.get_to_file("lake/" + directory + "/" + name, path));
  return path;
}

std::string BranchWorker::status() {
  Lsn flushed;
  {
    std::lock_guard lock(asking_mutex_);
    if (asking_ != nullptr) {
      if (auto asked = asking_->flushed(); asked.ok()) flushed = *asked;
    }
  }
  std::lock_guard lock(mutex_);
  json out = {{"branch", options_.branch}, {"timeline", options_.timeline.value}};
  if (!last_error_.empty()) out["last_error"] = last_error_;
  if (mirror_ == nullptr) {
    out["state"] = "starting";
    return out.dump();
  }
  flushed = std::max(flushed, flushed_);
  bool caught_up = mirror_->applied() >= flushed || caught_up_ >= flushed;
  Lsn applied = caught_up ? std::max(flushed, mirror_->applied()) : mirror_->applied();
  bool is_dirty = mirror_->has_dropped();
  for (const auto& [oid, database] : mirror_->databases()) {
    for (const auto& [table_oid, table] : database->tables())
      is_dirty = is_dirty || table->is_dirty();
  }
  bool published = caught_up && !is_dirty && !cutting_;
  int64_t behind_ms = now_ms() - mirror_->commit_time_us() / 1000;
  out["state"] = "following";
  out["flushed_lsn"] = flushed.to_string();
  out["applied_lsn"] = applied.to_string();
  out["published_lsn"] = (published ? applied : cut_lsn_).to_string();
  out["cut"] = cuts_;
  out["cut_ms"] = last_cut_took_.count();
  out["apply_lag_bytes"] = flushed > applied ? flushed - applied : 0;
  out["open_transactions"] = mirror_->buffer().transactions();
  out["open_bytes"] = mirror_->buffer().bytes();
  json tables = json::array();
  for (const auto& [oid, database] : mirror_->databases()) {
    for (const auto& [table_oid, table] : database->tables()) {
      bool dirty = table->is_dirty() || cutting_;
      uint64_t files = 0;
      uint64_t index_bytes = 0;
      uint64_t file_bytes = 0;
      for (const auto& [relation, heap] : table->heaps()) {
        files += heap.rows.file_count();
        file_bytes += heap.rows.file_bytes();
        index_bytes += heap.rows.index_bytes();
      }
      json row = {
          {"database", database->database().name},
          {"schema", table->schema()},
          {"table", table->name()},
          {"oid", table_oid},
          {"rows", table->live_rows()},
          {"files", files},
          {"file_bytes", file_bytes},
          {"fresh_rows", table->fresh_rows()},
          {"index_bytes", index_bytes},
          {"version", table->publication().version},
          {"location", table->publication().directory},
          {"lag_bytes", dirty || !caught_up ? flushed - std::min(flushed, cut_lsn_) : 0},
          {"lag_seconds", dirty || !caught_up ? std::max<int64_t>(behind_ms, 0) / 1000.0 : 0.0},
          {"lag_transactions",
           dirty || !caught_up ? mirror_->transactions() - cut_transactions_ : 0}};
      if (!table->last_error.empty()) row["last_error"] = table->last_error;
      if (!table->left_out().empty()) row["left_out"] = table->left_out();
      tables.push_back(std::move(row));
    }
    for (const auto& [relation_oid, reason] : database->not_mirrored()) {
      const Relation* relation = database->catalog().relation(relation_oid);
      if (relation == nullptr) continue;
      tables.push_back({{"database", database->database().name},
                        {"schema", database->catalog().schema_name(relation->schema)},
                        {"table", relation->name},
                        {"oid", relation_oid},
                        {"not_mirrored", reason}});
    }
  }
  mirror_->shared().databases().for_each([&](uint32_t, const Database& database) {
    if (database.is_utf8() || database.is_template) return;
    tables.push_back({{"database", database.name},
                      {"schema", "*"},
                      {"table", "*"},
                      {"oid", 0},
                      {"not_mirrored", "the database's encoding is not UTF8"}});
  });
  out["tables"] = std::move(tables);
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace tide::mirror
