#include "pagestore/project_upload.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/file_system.h>
#include <rocksdb/options.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

#include "env/file.h"

namespace tide::pagestore {
namespace {

namespace fs = std::filesystem;
using objectstore::ObjectStore;

std::string text_of(const Status& status) { return status.to_string(); }
std::string text_of(const rocksdb::Status& status) { return status.ToString(); }
template <typename T>
std::string text_of(const Result<T>& result) {
  return result.status().to_string();
}

#define ASSERT_OK(expression)                                          \
  do {                                                                 \
    auto&& assert_ok_outcome = (expression);                           \
    ASSERT_TRUE(assert_ok_outcome.ok()) << text_of(assert_ok_outcome); \
  } while (false)

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "tide-pagestore-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { env::remove_tree(path_).ignore("scratch"); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Calls a hook before every operation; from operation `dies_at` on (counting from 0) nothing works
/// any more, as for a process that was killed there. With `dies_after`, that operation is still
/// carried out.
class FaultStore final : public ObjectStore {
 public:
  explicit FaultStore(ObjectStore& store) : store_(store) {}

  std::atomic<int> operations = 0;
  int dies_at = -1;
  bool dies_after = false;
  std::function<void(int operation)> before;
  std::atomic<int> downloads = 0;

  Status put(const std::string& key, BytesView bytes) override {
    return run<Status>([&] { return store_.put(key, bytes); });
  }
  Status put_file(const std::string& key, const std::string& path) override {
    return run<Status>([&] { return store_.put_file(key, path); });
  }
  Result<bool> put_if_absent(const std::string& key, BytesView bytes) override {
    return run<Result<bool>>([&] { return store_.put_if_absent(key, bytes); });
  }
  Result<std::string> get(const std::string& key) override {
    return run<Result<std::string>>([&] { return store_.get(key); });
  }
  Status get_to_file(const std::string& key, const std::string& path) override {
    ++downloads;
    return run<Status>([&] { return store_.get_to_file(key, path); });
  }
  Result<std::string> get_range(const std::string& key, uint64_t offset, uint64_t size) override {
    return run<Result<std::string>>([&] { return store_.get_range(key, offset, size); });
  }
  Result<std::optional<uint64_t>> head(const std::string& key) override {
    return run<Result<std::optional<uint64_t>>>([&] { return store_.head(key); });
  }
  Result<std::vector<objectstore::ObjectInfo>> list(const std::string& prefix) override {
    return run<Result<std::vector<objectstore::ObjectInfo>>>([&] { return store_.list(prefix); });
  }
  Status remove(const std::string& key) override {
    return run<Status>([&] { return store_.remove(key); });
  }
  objectstore::ObjectStoreStats stats() const override { return store_.stats(); }
  std::string describe() const override { return "faulty " + store_.describe(); }

 private:
  template <typename R, typename F>
  R run(F&& operation) {
    int number = operations++;
    if (before) before(number);
    Status dead(Code::kUnavailable, "killed by the test");
    if (dies_at >= 0 && (number > dies_at || (number == dies_at && !dies_after))) return dead;
    R result = operation();
    if (number == dies_at) return dead;
    return result;
  }
  ObjectStore& store_;
};

/// A small database in the shape of a page store's: two column families, blob files, no log of its
/// own.
class Database {
 public:
  struct Settings {
    std::vector<RemoteFile> remote;
    bool lazy = false;
    bool compactions = true;
  };

  static std::unique_ptr<Database> open(const std::string& directory, ObjectStore& store,
                                        const Settings& settings) {
    auto database = std::unique_ptr<Database>(new Database);
    auto remote = RemoteFiles::open(directory, store, settings.remote);
    EXPECT_TRUE(remote.ok()) << remote.status().to_string();
    if (!remote.ok()) return nullptr;
    database->remote = std::move(remote).value();
    database->env_ = rocksdb::NewCompositeEnv(database->remote->file_system());
    rocksdb::DBOptions options;
    options.env = database->env_.get();
    options.create_if_missing = true;
    options.create_missing_column_families = true;
    options.atomic_flush = true;
    options.file_checksum_gen_factory = rocksdb::GetFileChecksumGenCrc32cFactory();
    if (settings.lazy) set_lazy_open(options);
    rocksdb::ColumnFamilyOptions family;
    family.enable_blob_files = true;
    family.min_blob_size = 512;
    family.enable_blob_garbage_collection = true;
    family.disable_auto_compactions = !settings.compactions;
    family.level0_file_num_compaction_trigger = 3;
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    rocksdb::Status opened = rocksdb::DB::Open(
        options, directory, {{"default", family}, {"state", family}}, &handles, &db);
    EXPECT_TRUE(opened.ok()) << opened.ToString();
    if (!opened.ok()) return nullptr;
    database->db.reset(db);
    database->handles_ = handles;
    return database;
  }

  ~Database() {
    if (!db) return;
    for (auto* handle : handles_) db->DestroyColumnFamilyHandle(handle);
    db->Close().PermitUncheckedError();
  }

  /// Round `round` rewrites every key, with values that say so.
  void write_round(int round, int keys = 40) {
    rocksdb::WriteOptions unlogged;
    unlogged.disableWAL = true;
    for (int key = 0; key < keys; ++key) {
      // Every other value is large enough for a blob file.
      std::string value = fmt::format("{}:{}:{}", round, key,
                                      std::string(key % 2 == 0 ? 20 : 3000, 'a' + key % 26));
      ASSERT_OK(db->Put(unlogged, handles_[0], fmt::format("key {:04}", key), value));
    }
    ASSERT_OK(db->Put(unlogged, handles_[1], "round", std::to_string(round)));
  }
  void flush() { ASSERT_OK(db->Flush({}, handles_)); }
  void compact() {
    for (auto* handle : handles_) ASSERT_OK(db->CompactRange({}, handle, nullptr, nullptr));
  }

  /// The round all keys agree on, read through every file; -1 (and a failure) if they do not.
  int round(int keys = 40) {
    std::string round;
    rocksdb::Status got = db->Get({}, handles_[1], "round", &round);
    EXPECT_TRUE(got.ok()) << got.ToString();
    for (int key = 0; key < keys && got.ok(); ++key) {
      std::string value;
      got = db->Get({}, handles_[0], fmt::format("key {:04}", key), &value);
      EXPECT_TRUE(got.ok()) << got.ToString();
      if (!value.starts_with(fmt::format("{}:{}:", round, key))) {
        ADD_FAILURE() << "key " << key << " is " << value.substr(0, 20) << " in round " << round;
        return -1;
      }
    }
    return got.ok() ? std::atoi(round.c_str()) : -1;
  }

  std::unique_ptr<RemoteFiles> remote;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
};

class ProjectUploadTest : public testing::Test {
 protected:
  void SetUp() override { store_ = open_store("store"); }

  std::unique_ptr<ObjectStore> open_store(const std::string& name) {
    auto opened = objectstore::open("file://" + (directory_ / name));
    EXPECT_TRUE(opened.ok()) << text_of(opened);
    return std::move(opened).value();
  }
  std::unique_ptr<Database> open(const std::string& name, Database::Settings settings = {}) {
    return Database::open(directory_ / name, *store_, settings);
  }
  std::unique_ptr<ProjectUpload> uploader(Database& database, const std::string& name,
                                          uint64_t generation = 1, ObjectStore* store = nullptr) {
    auto upload = ProjectUpload::open(*database.db, directory_ / name, store ? *store : *store_,
                                      generation, {.parallel = 2});
    EXPECT_TRUE(upload.ok()) << text_of(upload);
    return upload.ok() ? std::move(upload).value() : nullptr;
  }
  std::vector<std::string> problems(ObjectStore& store, bool deep = true) {
    std::vector<std::string> found;
    Status status = ProjectUpload::verify(
        store, deep, [&](const std::string& problem) { found.push_back(problem); });
    EXPECT_TRUE(status.ok()) << status.to_string();
    return found;
  }
  /// Restores from a store into a new directory and says which round it holds.
  int restored_round(ObjectStore& store, const std::string& name) {
    auto opened = ProjectUpload::restore(store, directory_ / name);
    EXPECT_TRUE(opened.ok()) << text_of(opened);
    if (!opened.ok() || !opened->has_value()) return -1;
    auto database =
        Database::open(directory_ / name, store, {.remote = (*opened)->files, .lazy = true});
    return database ? database->round() : -1;
  }
  std::string first_object(const std::string& extension) {
    std::vector<objectstore::ObjectInfo> objects = store_->list("pages/").value();
    for (const objectstore::ObjectInfo& object : objects) {
      if (object.key.ends_with(extension)) return object.key;
    }
    return "";
  }

  TemporaryDirectory directory_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(ProjectUploadTest, AnotherMachineOpensTheProjectFromTheStoreAlone) {
  // Also runs against a real S3 server: TIDE_TEST_STORE_URL=s3://...
  std::unique_ptr<ObjectStore> other;
  if (const char* url = std::getenv("TIDE_TEST_STORE_URL")) {
    auto opened = objectstore::open(url);
    ASSERT_OK(opened);
    store_ = std::move(opened).value();
  }
  auto first = open("first");
  auto upload = uploader(*first, "first");
  first->write_round(1);
  std::vector<Blob> blobs = {
      {"timelines", "[1,2]"}, {"binary", std::string("\0\xff\n", 3)}, {"empty", ""}};
  Result<UploadReport> report = upload->upload(blobs);
  ASSERT_OK(report);
  ASSERT_OK(report->cleanup);
  EXPECT_EQ(report->id, (ManifestId{1, 1}));
  EXPECT_GE(report->files, 3U) << "tables of two families and a blob file";
  EXPECT_EQ(report->files_uploaded, report->files);
  upload.reset();
  first.reset();
  ASSERT_OK(env::remove_tree(directory_ / "first"));

  auto opened = ProjectUpload::restore(*store_, directory_ / "second");
  ASSERT_OK(opened);
  ASSERT_TRUE(opened->has_value());
  EXPECT_EQ((*opened)->generation, 2U);
  EXPECT_EQ((*opened)->base, (ManifestId{1, 1}));
  EXPECT_EQ((*opened)->blobs, blobs);
  EXPECT_TRUE((*opened)->skipped.empty());
  auto second = open("second", {.remote = (*opened)->files, .lazy = true});
  EXPECT_EQ(second->round(), 1);

  // And goes on from there.
  auto second_upload = uploader(*second, "second", 2);
  second->write_round(2);
  report = second_upload->upload({});
  ASSERT_OK(report);
  EXPECT_EQ(report->id, (ManifestId{2, 1}));
  EXPECT_EQ(problems(*store_), std::vector<std::string>());
  EXPECT_EQ(restored_round(*store_, "third"), 2);
}

TEST_F(ProjectUploadTest, UploadsOnlyWhatIsNew) {
  auto database = open("db", {.compactions = false});
  auto upload = uploader(*database, "db");
  database->write_round(1);
  uint64_t files = upload->upload({}).value().files;
  UploadReport same = upload->upload({}).value();
  EXPECT_EQ(same.files_uploaded, 0U);
  EXPECT_EQ(same.files, files);
  database->write_round(2);
  UploadReport more = upload->upload({}).value();
  EXPECT_GT(more.files_uploaded, 0U);
  EXPECT_EQ(more.files, files + more.files_uploaded);
}

TEST_F(ProjectUploadTest, OpeningAndReadingFetchOnlyWhatTheyTouch) {
  auto database = open("db", {.compactions = false});
  auto upload = uploader(*database, "db");
  rocksdb::WriteOptions unlogged;
  unlogged.disableWAL = true;
  for (int file = 0; file < 30; ++file) {
    for (int key = 0; key < 5; ++key) {
      ASSERT_OK(database->db->Put(unlogged, fmt::format("{:02}/{}", file, key),
                                  std::string(key == 0 ? 3000 : 50, 'x')));
    }
    database->flush();
  }
  UploadReport report = upload->upload({}).value();
  ASSERT_EQ(report.files, 60U) << "30 tables and 30 blob files";

  auto opened = ProjectUpload::restore(*store_, directory_ / "second");
  ASSERT_OK(opened);
  auto second = open("second", {.remote = (*opened)->files, .lazy = true, .compactions = false});
  RemoteFilesProgress at_open = second->remote->progress();
  EXPECT_LE(at_open.files_fetched, 2U);
  EXPECT_EQ(at_open.files_missing + at_open.files_fetched, 60U);
  ASSERT_OK(second->db->SetDBOptions({{"max_open_files", "1000"}}));
  EXPECT_LE(second->remote->progress().files_fetched, 2U);

  std::string value;
  ASSERT_OK(second->db->Get({}, "17/3", &value));
  EXPECT_EQ(value, std::string(50, 'x'));
  EXPECT_LE(second->remote->progress().files_fetched, 3U) << "one table more";
  ASSERT_OK(second->db->Get({}, "17/0", &value));
  EXPECT_EQ(value, std::string(3000, 'x'));
  EXPECT_LE(second->remote->progress().files_fetched, 4U) << "one blob file more";

  // New data does not make the old come in either.
  for (int key = 0; key < 3; ++key) {
    ASSERT_OK(second->db->Put(unlogged, fmt::format("new/{}", key), "y"));
    second->flush();
  }
  auto second_upload = uploader(*second, "second", (*opened)->generation);
  UploadReport next = second_upload->upload({}).value();
  EXPECT_EQ(next.files, 63U);
  EXPECT_EQ(next.files_uploaded, 3U);
  EXPECT_LE(second->remote->progress().files_fetched, 4U);

  ASSERT_OK(second->remote->fetch_all({}));
  EXPECT_EQ(second->remote->progress().files_missing, 0U);
  EXPECT_EQ(second->remote->progress().bytes_missing, 0U);
}

TEST_F(ProjectUploadTest, RestartGoesOnWithFilesThatWereNeverFetched) {
  {
    auto database = open("db");
    auto upload = uploader(*database, "db");
    database->write_round(1);
    ASSERT_OK(upload->upload({}));
  }
  auto opened = ProjectUpload::restore(*store_, directory_ / "second");
  ASSERT_OK(opened);
  {
    auto second = open("second", {.remote = (*opened)->files, .lazy = true, .compactions = false});
    auto upload = uploader(*second, "second", 2);
    rocksdb::WriteOptions unlogged;
    unlogged.disableWAL = true;
    ASSERT_OK(second->db->Put(unlogged, "new", "here"));
    ASSERT_OK(upload->upload({{"lsn", "7"}}));
  }
  Result<OpenedProject> again = ProjectUpload::reattach(*store_, directory_ / "second");
  ASSERT_OK(again);
  EXPECT_EQ(again->generation, 3U);
  EXPECT_EQ(again->blobs, (std::vector<Blob>{{"lsn", "7"}}));
  auto second = open("second", {.remote = again->files, .lazy = true});
  EXPECT_GT(second->remote->progress().files_missing, 0U);
  EXPECT_EQ(second->round(), 1);
  auto upload = uploader(*second, "second", 3);
  ASSERT_OK(upload->upload({}));
  EXPECT_EQ(restored_round(*store_, "third"), 1);
}

TEST_F(ProjectUploadTest, DeathBetweenAnyTwoOperationsLeavesACompleteState) {
  int deaths = 0;
  bool finished = false;
  for (int dies_at = 0; !finished; ++dies_at) {
    for (bool dies_after : {false, true}) {
      SCOPED_TRACE(fmt::format("operation {}{}", dies_at, dies_after ? ", carried out" : ""));
      std::string name = fmt::format("{}-{}", dies_at, dies_after);
      auto store = open_store("store " + name);
      FaultStore faulty(*store);
      auto database = Database::open(directory_ / name, faulty, {});
      auto upload = uploader(*database, name, 1, &faulty);
      for (int round = 1; round <= 2; ++round) {
        database->write_round(round);
        ASSERT_OK(upload->upload({{"round", std::to_string(round)}}));
      }
      database->write_round(3);
      database->flush();
      database->compact();
      faulty.dies_at = faulty.operations + dies_at;
      faulty.dies_after = dies_after;
      Result<UploadReport> report = upload->upload({{"round", "3"}});
      finished = report.ok() && report->cleanup.ok();
      deaths += !finished;
      upload.reset();
      database.reset();

      EXPECT_EQ(problems(*store), std::vector<std::string>());
      // The dead node's directory goes on where it is ...
      Result<OpenedProject> again = ProjectUpload::reattach(*store, directory_ / name);
      ASSERT_OK(again);
      std::string blob_round = again->blobs.at(0).bytes;
      EXPECT_TRUE(blob_round == "3" || (blob_round == "2" && !report.ok())) << blob_round;
      auto reopened = Database::open(directory_ / name, *store, {.remote = again->files});
      EXPECT_EQ(reopened->round(), 3);
      reopened.reset();
      // ... and another machine finds the last complete state.
      EXPECT_EQ(restored_round(*store, name + " restored"), std::stoi(blob_round));
    }
  }
  EXPECT_GE(deaths, 18);
}

TEST_F(ProjectUploadTest, TakeOverBetweenAnyTwoOperationsLosesNothingThatWasReported) {
  bool beyond = false;
  int fenced = 0;
  for (int take_over_at = 0; !beyond; ++take_over_at) {
    SCOPED_TRACE(fmt::format("before operation {}", take_over_at));
    std::string name = std::to_string(take_over_at);
    auto store = open_store("store " + name);
    FaultStore watched(*store);
    auto old_node = Database::open(directory_ / name, watched, {});
    auto upload = uploader(*old_node, name, 1, &watched);
    for (int round = 1; round <= 2; ++round) {
      old_node->write_round(round);
      ASSERT_OK(upload->upload({}));
    }
    old_node->write_round(3);
    old_node->flush();
    old_node->compact();
    int start = watched.operations;
    std::optional<OpenedProject> taken;
    std::atomic<bool> done = false;
    watched.before = [&](int operation) {
      if (operation < start + take_over_at || done.exchange(true)) return;
      auto opened = ProjectUpload::restore(*store, directory_ / (name + " new"));
      ASSERT_OK(opened);
      taken = std::move(*opened);
    };
    Result<UploadReport> report = upload->upload({});
    watched.before = nullptr;
    if (!taken) {
      beyond = true;
      ASSERT_OK(report);
      continue;
    }
    if (!report.ok()) {
      EXPECT_EQ(report.status().code(), Code::kStaleEpoch) << text_of(report);
      ++fenced;
    }
    auto new_node = Database::open(directory_ / (name + " new"), *store,
                                   {.remote = taken->files, .lazy = true});
    ASSERT_NE(new_node, nullptr);
    // The old node tries once more, and must not take anything from under the new one.
    EXPECT_EQ(upload->upload({}).status().code(), Code::kStaleEpoch);
    ASSERT_OK(new_node->remote->fetch_all({}));
    int round = new_node->round();
    EXPECT_TRUE(round == 3 || (round == 2 && !report.ok())) << round;
    auto new_upload = uploader(*new_node, name + " new", taken->generation, store.get());
    ASSERT_OK(new_upload->upload({}));
    EXPECT_EQ(problems(*store), std::vector<std::string>());
    EXPECT_EQ(ProjectUpload::reattach(*store, directory_ / name).status().code(),
              Code::kStaleEpoch);
  }
  EXPECT_GT(fenced, 3);
}

TEST_F(ProjectUploadTest, PredecessorThatUploadsDuringATakeOverIsFollowed) {
  bool beyond = false;
  int followed = 0;
  for (int upload_at = 0; !beyond; ++upload_at) {
    SCOPED_TRACE(fmt::format("before operation {} of the take-over", upload_at));
    std::string name = std::to_string(upload_at);
    auto store = open_store("store " + name);
    auto old_node = Database::open(directory_ / name, *store, {});
    auto upload = uploader(*old_node, name, 1, store.get());
    old_node->write_round(1);
    ASSERT_OK(upload->upload({}));
    int reported = 1;
    FaultStore watched(*store);
    watched.before = [&](int operation) {
      if (operation != upload_at) return;
      // Often enough, and rewriting everything, that nothing of the first upload is left.
      for (int round = 2; round <= 4; ++round) {
        old_node->write_round(round);
        old_node->flush();
        old_node->compact();
        Result<UploadReport> report = upload->upload({});
        if (!report.ok()) {
          EXPECT_EQ(report.status().code(), Code::kStaleEpoch) << text_of(report);
          return;
        }
        reported = round;
      }
    };
    auto opened = ProjectUpload::restore(watched, directory_ / (name + " new"));
    watched.before = nullptr;
    beyond = watched.operations <= upload_at;
    ASSERT_OK(opened);
    followed += reported == 4 && (*opened)->base == ManifestId{1, 4};
    auto new_node = Database::open(directory_ / (name + " new"), *store,
                                   {.remote = (*opened)->files, .lazy = true});
    ASSERT_NE(new_node, nullptr);
    ASSERT_OK(new_node->remote->fetch_all({}));
    EXPECT_EQ(new_node->round(), reported);
    EXPECT_EQ(problems(*store), std::vector<std::string>());
  }
  EXPECT_GE(followed, 2);
}

TEST_F(ProjectUploadTest, DeathDuringATakeOverLeavesTheStateAsItWas) {
  auto database = open("db");
  auto upload = uploader(*database, "db");
  database->write_round(1);
  ASSERT_OK(upload->upload({}));
  database->write_round(2);
  ASSERT_OK(upload->upload({{"b", "2"}}));
  bool finished = false;
  for (int dies_at = 0; !finished; ++dies_at) {
    for (bool dies_after : {false, true}) {
      FaultStore faulty(*store_);
      faulty.dies_at = dies_at;
      faulty.dies_after = dies_after;
      std::string name = fmt::format("{}-{}", dies_at, dies_after);
      finished = ProjectUpload::restore(faulty, directory_ / name).ok();
      EXPECT_EQ(problems(*store_), std::vector<std::string>());
      EXPECT_EQ(restored_round(*store_, name + " again"), 2);
    }
  }
  // A directory that was restored and never uploaded goes on too.
  auto opened = ProjectUpload::restore(*store_, directory_ / "new");
  ASSERT_OK(opened);
  Result<OpenedProject> again = ProjectUpload::reattach(*store_, directory_ / "new");
  ASSERT_OK(again);
  EXPECT_EQ(again->files, (*opened)->files);
  EXPECT_EQ(again->blobs, (std::vector<Blob>{{"b", "2"}}));
  auto reopened = open("new", {.remote = again->files, .lazy = true});
  EXPECT_EQ(reopened->round(), 2);
  auto next = uploader(*reopened, "new", again->generation);
  ASSERT_OK(next->upload({}));
  EXPECT_EQ(store_->list("manifest/").value().size(), 2U) << "claims are tidied up";
}

TEST_F(ProjectUploadTest, UploadsWhileCompactionsAndWritesGoOn) {
  auto database = open("db");
  auto upload = uploader(*database, "db");
  database->write_round(1);
  std::atomic<int> finished = 1;
  std::jthread writer([&](const std::stop_token& stop) {
    for (int round = 2; !stop.stop_requested(); ++round) {
      // One batch: a reader of any snapshot sees whole rounds.
      rocksdb::WriteBatch batch;
      for (int key = 0; key < 40; ++key) {
        batch.Put(database->handles_[0], fmt::format("key {:04}", key),
                  fmt::format("{}:{}:{}", round, key, std::string(key % 2 == 0 ? 20 : 3000, 'b')));
      }
      batch.Put(database->handles_[1], "round", std::to_string(round));
      rocksdb::WriteOptions unlogged;
      unlogged.disableWAL = true;
      ASSERT_OK(database->db->Write(unlogged, &batch));
      finished = round;
      if (round % 3 == 0) database->flush();
      if (round % 10 == 0) database->compact();
    }
  });
  for (int i = 0; i < 12; ++i) {
    int before = finished;
    Result<UploadReport> report = upload->upload({});
    ASSERT_OK(report);
    ASSERT_OK(report->cleanup);
    // Looked at in a copy, since restoring would fence the uploader.
    std::string copy = fmt::format("copy {}", i);
    fs::copy(directory_ / "store", directory_ / copy, fs::copy_options::recursive);
    auto copied = open_store(copy);
    EXPECT_EQ(problems(*copied), std::vector<std::string>());
    EXPECT_GE(restored_round(*copied, copy + " db"), before);
    ASSERT_OK(env::remove_tree(directory_ / copy));
  }
  writer.request_stop();
  writer.join();
  ASSERT_OK(upload->upload({}));
  EXPECT_EQ(restored_round(*store_, "last"), finished);
  EXPECT_LE(store_->list("manifest/").value().size(), 3U) << "two and the take-over's";
}

TEST_F(ProjectUploadTest, DamagedObjectsAreFoundAndNeverRead) {
  {
    auto database = open("db");
    auto upload = uploader(*database, "db");
    database->write_round(1);
    ASSERT_OK(upload->upload({}));
  }
  std::string blob = first_object(".blob");
  std::string good = store_->get(blob).value();
  std::string bad = good;
  bad[bad.size() / 2] ^= 1;
  ASSERT_OK(store_->put(blob, as_bytes(bad)));
  EXPECT_TRUE(problems(*store_, false).empty()) << "sizes alone do not show it";
  std::vector<std::string> found = problems(*store_, true);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NE(found[0].find(blob), std::string::npos);

  auto opened = ProjectUpload::restore(*store_, directory_ / "second");
  ASSERT_OK(opened);
  auto second = open("second", {.remote = (*opened)->files, .lazy = true});
  std::string value;
  rocksdb::Status got = second->db->Get({}, "key 0001", &value);
  EXPECT_TRUE(got.IsCorruption()) << got.ToString();
  EXPECT_EQ(second->remote->progress().failures, 1U);
  ASSERT_OK(store_->put(blob, as_bytes(good)));
  EXPECT_EQ(second->round(), 1) << "and heals once the object is back";

  ASSERT_OK(store_->put(blob, as_bytes(good.substr(1))));
  EXPECT_EQ(problems(*store_, false).size(), 1U);
  ASSERT_OK(store_->remove(blob));
  found = problems(*store_, false);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NE(found[0].find("missing"), std::string::npos);
}

TEST_F(ProjectUploadTest, DamagedManifestIsPassedOverWithNotice) {
  auto database = open("db");
  auto upload = uploader(*database, "db");
  database->write_round(1);
  ASSERT_OK(upload->upload({}));
  database->write_round(2);
  UploadReport report = upload->upload({}).value();
  std::string text = store_->get(manifest_key(report.id)).value();
  text[text.size() / 2] ^= 1;
  ASSERT_OK(store_->put(manifest_key(report.id), as_bytes(text)));
  EXPECT_EQ(problems(*store_, false).size(), 1U);
  auto opened = ProjectUpload::restore(*store_, directory_ / "second");
  ASSERT_OK(opened);
  EXPECT_EQ((*opened)->base, (ManifestId{1, 1}));
  EXPECT_EQ((*opened)->skipped.size(), 1U);
  auto second = open("second", {.remote = (*opened)->files});
  EXPECT_EQ(second->round(), 1);
}

TEST_F(ProjectUploadTest, LocalDamageIsNotUploaded) {
  auto database = open("db", {.compactions = false});
  auto upload = uploader(*database, "db");
  database->write_round(1);
  ASSERT_OK(upload->upload({}));
  database->write_round(2);
  database->flush();
  std::string newest;
  std::vector<std::string> names = env::list_directory(directory_ / "db").value();
  for (const std::string& name : names) {
    if (name.ends_with(".sst")) newest = name;
  }
  std::string path = directory_ / ("db/" + newest);
  std::string bytes = env::read_file(path).value();
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_OK(env::write_file(path, bytes));
  Result<UploadReport> report = upload->upload({});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), Code::kCorrupt);
  EXPECT_EQ(problems(*store_), std::vector<std::string>());
  EXPECT_EQ(restored_round(*store_, "second"), 1);
}

TEST_F(ProjectUploadTest, OfTwoNewProjectsAtOnePlaceOneWins) {
  auto a = open("a");
  auto b = open("b");
  auto upload_a = uploader(*a, "a");
  auto upload_b = uploader(*b, "b");
  a->write_round(1);
  b->write_round(2);
  ASSERT_OK(upload_a->upload({}));
  EXPECT_EQ(upload_b->upload({}).status().code(), Code::kStaleEpoch);
  EXPECT_EQ(ProjectUpload::reattach(*store_, directory_ / "b").status().code(), Code::kStaleEpoch);
  ASSERT_OK(upload_a->upload({}));
  EXPECT_EQ(restored_round(*store_, "c"), 1);
}

TEST_F(ProjectUploadTest, RestoreSaysWhatItCannotDo) {
  EXPECT_EQ(ProjectUpload::restore(*store_, directory_ / "none").value(), std::nullopt);
  auto database = open("db");
  auto upload = uploader(*database, "db");
  ASSERT_OK(upload->upload({}));
  Result<std::optional<OpenedProject>> onto = ProjectUpload::restore(*store_, directory_ / "db");
  EXPECT_EQ(onto.status().code(), Code::kConflict);
  EXPECT_EQ(ProjectUpload::reattach(*store_, directory_ / "none").status().code(), Code::kNotFound);
  EXPECT_EQ(ProjectUpload::open(*database->db, directory_ / "db", *store_, 5).status().code(),
            Code::kInvalid);
  // A half-done restore is begun anew.
  ASSERT_OK(env::make_directories(directory_ / "half"));
  ASSERT_OK(env::write_file(directory_ / "half/MANIFEST-000099", "junk"));
  ASSERT_OK(ProjectUpload::restore(*store_, directory_ / "half"));
  EXPECT_FALSE(env::exists(directory_ / "half/MANIFEST-000099"));
}

TEST_F(ProjectUploadTest, ManyReadersShareOneDownload) {
  auto database = open("db");
  auto upload = uploader(*database, "db");
  database->write_round(1);
  ASSERT_OK(upload->upload({}));
  std::vector<RemoteFile> files =
      ProjectUpload::restore(*store_, directory_ / "second").value()->files;
  FaultStore slow(*store_);
  slow.before = [](int) { std::this_thread::sleep_for(std::chrono::milliseconds(100)); };
  auto remote = RemoteFiles::open(directory_ / "second", slow, files).value();
  {
    std::vector<std::jthread> readers;
    for (int i = 0; i < 8; ++i) {
      readers.emplace_back([&] {
        Status fetched = remote->fetch(files[0].name);
        EXPECT_TRUE(fetched.ok()) << fetched.to_string();
      });
    }
  }
  EXPECT_EQ(slow.downloads, 1);
  EXPECT_EQ(remote->progress().files_fetched, 1U);
  EXPECT_EQ(remote->progress().bytes_fetched, files[0].size);
}

TEST_F(ProjectUploadTest, UnavailableStoreFailsTheReadAndNotTheDatabase) {
  {
    auto database = open("db");
    auto upload = uploader(*database, "db");
    database->write_round(1);
    ASSERT_OK(upload->upload({}));
  }
  auto opened = ProjectUpload::restore(*store_, directory_ / "second");
  FaultStore faulty(*store_);
  auto second =
      Database::open(directory_ / "second", faulty, {.remote = (*opened)->files, .lazy = true});
  faulty.dies_at = 0;
  std::string value;
  rocksdb::Status got = second->db->Get({}, "key 0001", &value);
  EXPECT_TRUE(got.IsIOError()) << got.ToString();
  EXPECT_NE(got.ToString().find("UNAVAILABLE"), std::string::npos) << got.ToString();
  faulty.dies_at = -1;
  EXPECT_EQ(second->round(), 1);
  std::vector<std::string> names = env::list_directory(directory_ / "second").value();
  for (const std::string& name : names) {
    EXPECT_EQ(name.find(".fetching"), std::string::npos) << name;
  }
}

TEST_F(ProjectUploadTest, ListedFilesOfWrongSizeAreRefused) {
  ASSERT_OK(env::make_directories(directory_ / "x"));
  ASSERT_OK(env::write_file(directory_ / "x/000001.sst", "abc"));
  ASSERT_OK(env::write_file(directory_ / "x/000002.sst.fetching", "half"));
  auto remote = RemoteFiles::open(directory_ / "x", *store_, {{"000001.sst", "pages/k", 4, 0}});
  EXPECT_EQ(remote.status().code(), Code::kCorrupt);
  EXPECT_FALSE(env::exists(directory_ / "x/000002.sst.fetching"));
  EXPECT_EQ(
      RemoteFiles::open(directory_ / "x", *store_, {{"../x", "pages/k", 4, 0}}).status().code(),
      Code::kCorrupt);
}

TEST(ProjectManifestTest, EncodesAndDecodes) {
  ProjectManifest manifest;
  manifest.id = {7, 11};
  manifest.lineage = "l";
  manifest.files = {{"000001.sst", "pages/000001-S-g0000000000000007.sst", 5, 0xFFFFFFFF}};
  manifest.small_files = {{"CURRENT", "MANIFEST-1\n"},
                          {"MANIFEST-1", std::string("\0\1\2\xff", 4)}};
  for (size_t size = 0; size < 5; ++size)
    manifest.blobs.push_back({std::to_string(size), std::string(size, '\xfe')});
  std::string text = encode(manifest);
  Result<ProjectManifest> decoded = decode_manifest(text);
  ASSERT_OK(decoded);
  EXPECT_EQ(decoded->id, manifest.id);
  EXPECT_EQ(decoded->lineage, manifest.lineage);
  EXPECT_EQ(decoded->files, manifest.files);
  EXPECT_EQ(decoded->small_files, manifest.small_files);
  EXPECT_EQ(decoded->blobs, manifest.blobs);

  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] ^= 1;
    EXPECT_FALSE(decode_manifest(damaged).ok()) << i;
    EXPECT_FALSE(decode_manifest(text.substr(0, i)).ok()) << i;
  }
}

TEST(ProjectManifestTest, KeysSortByGenerationThenSequence) {
  EXPECT_EQ(manifest_key({2, 10}), "manifest/0000000000000002-000000000000000a.json");
  EXPECT_EQ(parse_manifest_key(manifest_key({2, 10})), (ManifestId{2, 10}));
  EXPECT_EQ(parse_manifest_key("manifest/2-a.json"), std::nullopt);
  EXPECT_EQ(parse_manifest_key("pages/0000000000000002-000000000000000a.json"), std::nullopt);
  EXPECT_EQ(page_key("000123.sst", "S-1", 255), "pages/000123-S-1-g00000000000000ff.sst");
  EXPECT_EQ(generation_of_page_key(page_key("000123.blob", "S-g", 255)), 255);
  EXPECT_EQ(generation_of_page_key("pages/other.sst"), std::nullopt);
}

}  // namespace
}  // namespace tide::pagestore
