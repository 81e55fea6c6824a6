#include "objectstore/object_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <thread>

#include "env/file.h"

namespace tide::objectstore {
namespace {

#define ASSERT_OK(expression)                                          \
  do {                                                                 \
    auto&& assert_ok_outcome = (expression);                           \
    ASSERT_TRUE(assert_ok_outcome.ok()) << text_of(assert_ok_outcome); \
  } while (false)

std::string text_of(const Status& status) { return status.to_string(); }
template <typename T>
std::string text_of(const Result<T>& result) {
  return result.status().to_string();
}
template <typename T>
Code code_of(const Result<T>& result) {
  return result.ok() ? Code::kOk : result.status().code();
}

/// A directory of its own for each test, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "tide-objectstore-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { env::remove_tree(path_).ignore("scratch"); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// tests/s3/server.js as a child process, ended when this goes away.
class S3Server {
 public:
  /// Null with the reason in `why_not` where there is no node or the install is missing.
  static std::unique_ptr<S3Server> start(const std::string& directory, std::string& why_not) {
    std::string script = TIDE_TEST_S3_SERVER;
    if (!env::exists(std::filesystem::path(script).parent_path().string() +
                     "/node_modules/s3rver")) {
      why_not = "the S3 test server is not installed: run tests/s3/install.sh";
      return nullptr;
    }
    int in[2];
    int out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) {
      why_not = "no pipes";
      return nullptr;
    }
    pid_t pid = ::fork();
    if (pid == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::execlp("node", "node", "--openssl-legacy-provider", script.c_str(), directory.c_str(),
               nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    std::string line;
    char c = 0;
    while (::read(out[0], &c, 1) == 1 && c != '\n') line += c;
    ::close(out[0]);
    auto server = std::unique_ptr<S3Server>(new S3Server(pid, in[1], line));
    if (line.empty()) {
      why_not = "node does not start the S3 test server";
      return nullptr;
    }
    return server;
  }

  ~S3Server() {
    ::close(stdin_);
    ::waitpid(pid_, nullptr, 0);
  }

  std::string endpoint() const { return "http://127.0.0.1:" + port_; }
  std::string url(const std::string& bucket_and_prefix = "tide/projects/p 1") const {
    return fmt::format("s3://{}?endpoint={}", bucket_and_prefix, endpoint());
  }
  void control(const std::string& path_and_query) const {
    std::string command =
        fmt::format("curl -s -o /dev/null -X POST '{}/-/{}'", endpoint(), path_and_query);
    ASSERT_EQ(std::system(command.c_str()), 0);
  }

 private:
  S3Server(pid_t pid, int in, std::string port) : pid_(pid), stdin_(in), port_(std::move(port)) {}
  pid_t pid_;
  int stdin_;
  std::string port_;
};

Options quick() {
  Options options;
  options.credentials = {"S3RVER", "S3RVER", ""};
  options.attempts = 4;
  options.retry_wait_ms = 5;
  options.retry_wait_ms_max = 20;
  return options;
}

/// The contract of ObjectStore, which every kind of store has to keep.
class ObjectStoreTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string(GetParam()) == "file") {
      open_at("file://" + (directory_ / "store"));
      return;
    }
    std::string why_not;
    server_ = S3Server::start(directory_ / "server", why_not);
    if (!server_ && std::getenv("TIDE_REQUIRE_S3") != nullptr) FAIL() << why_not;
    if (!server_) GTEST_SKIP() << why_not;
    open_at(server_->url());
  }

  void open_at(const std::string& url) {
    Result<std::unique_ptr<ObjectStore>> opened = open(url, quick());
    ASSERT_OK(opened);
    store_ = std::move(opened).value();
  }

  TemporaryDirectory directory_;
  std::unique_ptr<S3Server> server_;
  std::unique_ptr<ObjectStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, ObjectStoreTest, testing::Values("file", "s3"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(ObjectStoreTest, KeepsWhatWasPut) {
  std::string binary("\0\xff\r\n<&>", 7);
  ASSERT_OK(store_->put("a/b/one", as_bytes(binary)));
  EXPECT_EQ(store_->get("a/b/one").value(), binary);
  EXPECT_EQ(store_->head("a/b/one").value(), 7);
  EXPECT_TRUE(store_->exists("a/b/one").value());
  ASSERT_OK(store_->put("a/b/one", as_bytes("two")));
  EXPECT_EQ(store_->get("a/b/one").value(), "two");
  ASSERT_OK(store_->put("empty", {}));
  EXPECT_EQ(store_->get("empty").value(), "");
  EXPECT_EQ(store_->head("empty").value(), 0);
}

TEST_P(ObjectStoreTest, MissingObjectsAreNotFound) {
  EXPECT_EQ(code_of(store_->get("none")), Code::kNotFound);
  EXPECT_EQ(code_of(store_->get_range("none", 0, 1)), Code::kNotFound);
  EXPECT_EQ(store_->get_to_file("none", directory_ / "out").code(), Code::kNotFound);
  EXPECT_FALSE(env::exists(directory_ / "out"));
  EXPECT_EQ(store_->head("none").value(), std::nullopt);
  ASSERT_OK(store_->remove("none"));
}

TEST_P(ObjectStoreTest, RangesEndWithTheObject) {
  ASSERT_OK(store_->put("k", as_bytes("0123456789")));
  EXPECT_EQ(store_->get_range("k", 0, 4).value(), "0123");
  EXPECT_EQ(store_->get_range("k", 7, 100).value(), "789");
  EXPECT_EQ(store_->get_range("k", 3, 0).value(), "");
  EXPECT_EQ(code_of(store_->get_range("k", 10, 1)), Code::kOutOfRange);
  EXPECT_EQ(code_of(store_->get_range("k", 11, 0)), Code::kOutOfRange);
}

TEST_P(ObjectStoreTest, OddKeysSurviveSigningAndListing) {
  std::vector<std::string> keys = {"date=2024-01-01/a+b.parquet",
                                   "pl us+%2B%20/x=y&z?q#h",
                                   "ünï/日本/🦆",
                                   "q\"uote'/(a)!*;:@$,",
                                   "tilde~/-_.",
                                   "<xml>&amp;",
                                   "a b  c"};
  for (const std::string& key : keys) {
    Status put = store_->put(key, as_bytes(key));
    ASSERT_TRUE(put.ok()) << key << ": " << put.to_string();
    Result<std::string> got = store_->get(key);
    ASSERT_TRUE(got.ok()) << key << ": " << got.status().to_string();
    EXPECT_EQ(*got, key);
  }
  std::vector<ObjectInfo> listed = store_->list("").value();
  std::vector<std::string> names;
  for (const ObjectInfo& object : listed) names.push_back(object.key);
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(names, keys);
  EXPECT_EQ(store_->list("date=2024-01-01/a+").value().size(), 1U);
  for (const std::string& key : keys) ASSERT_OK(store_->remove(key));
  EXPECT_TRUE(store_->list("").value().empty());
}

TEST_P(ObjectStoreTest, ListsByPrefixInOrder) {
  for (const char* key : {"m/2", "m/1", "m/10", "mm/1", "n"})
    ASSERT_OK(store_->put(key, as_bytes(key)));
  EXPECT_EQ(store_->list("m/").value(),
            (std::vector<ObjectInfo>{{"m/1", 3}, {"m/10", 4}, {"m/2", 3}}));
  EXPECT_EQ(store_->list("m/1").value().size(), 2U);
  EXPECT_EQ(store_->list("m").value().size(), 4U);
  EXPECT_TRUE(store_->list("x/y").value().empty());
}

TEST_P(ObjectStoreTest, ListsMoreThanOnePage) {
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (int i = t; i < 1010; i += 4) {
        Status put = store_->put(fmt::format("page/{:05}", i), as_bytes("x"));
        ASSERT_TRUE(put.ok()) << put.to_string();
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  Result<std::vector<ObjectInfo>> page = store_->list("page/");
  ASSERT_OK(page);
  std::vector<ObjectInfo> listed = *page;
  ASSERT_EQ(listed.size(), 1010U);
  EXPECT_EQ(listed.back().key, "page/01009");
}

TEST_P(ObjectStoreTest, OnlyOneOfManyCreatesAnObject) {
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> winners = 0;
    std::string winner;
    std::vector<std::thread> writers;
    std::string key = fmt::format("manifest/{}", round);
    for (int t = 0; t < 4; ++t) {
      writers.emplace_back([&, t] {
        std::string text = fmt::format("writer {}", t);
        Result<bool> won = store_->put_if_absent(key, as_bytes(text));
        ASSERT_OK(won);
        if (*won && ++winners == 1) winner = text;
      });
    }
    for (std::thread& writer : writers) writer.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(store_->get(key).value(), winner);
  }
}

TEST_P(ObjectStoreTest, MovesFiles) {
  std::string content;
  for (int i = 0; content.size() < 3'000'000; ++i) content += fmt::format("{} ", i * 2654435761U);
  ASSERT_OK(env::write_file(directory_ / "in", content));
  ASSERT_OK(store_->put_file("files/big", directory_ / "in"));
  EXPECT_EQ(store_->head("files/big").value(), content.size());
  ASSERT_OK(env::write_file(directory_ / "out", "older"));
  ASSERT_OK(store_->get_to_file("files/big", directory_ / "out"));
  EXPECT_EQ(env::read_file(directory_ / "out").value(), content);
  ASSERT_OK(env::write_file(directory_ / "empty", ""));
  ASSERT_OK(store_->put_file("files/empty", directory_ / "empty"));
  EXPECT_EQ(store_->get("files/empty").value(), "");
  EXPECT_EQ(store_->put_file("files/none", directory_ / "none").code(), Code::kNotFound);
  EXPECT_FALSE(store_->exists("files/none").value());
}

TEST_P(ObjectStoreTest, PrefixedViewSeesOnlyItsPart) {
  auto part = with_prefix(*store_, "projects/a=1");
  ASSERT_OK(part->put("wal/t1", as_bytes("x")));
  ASSERT_OK(store_->put("projects/a=10/wal/t1", as_bytes("other")));
  EXPECT_EQ(part->list("").value(), (std::vector<ObjectInfo>{{"wal/t1", 1}}));
  EXPECT_EQ(store_->get("projects/a=1/wal/t1").value(), "x");
  EXPECT_EQ(code_of(part->get("../b")), Code::kInvalid);
}

TEST_P(ObjectStoreTest, RefusesBadKeys) {
  for (const std::string& key :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"), std::string("."),
        std::string("a/../b"), std::string(".."), std::string("a\nb"), std::string("a\0b", 3),
        std::string("\xff"), std::string("\xc0\xaf"), std::string("\xed\xa0\x80"),
        std::string(901, 'x'), std::string(256, 'x'), std::string(".tide-unfinished/x")}) {
    EXPECT_EQ(store_->put(key, {}).code(), Code::kInvalid) << key;
    EXPECT_EQ(code_of(store_->get(key)), Code::kInvalid) << key;
    EXPECT_EQ(store_->remove(key).code(), Code::kInvalid) << key;
  }
}

class LocalStoreTest : public testing::Test {
 protected:
  TemporaryDirectory directory_;
};

TEST_F(LocalStoreTest, FullDiskIsNoSpaceAndLeavesNothing) {
  ASSERT_OK(env::make_directories(directory_ / "small"));
  if (::mount("none", (directory_ / "small").c_str(), "tmpfs", 0, "size=256k") != 0) {
    GTEST_SKIP() << "may not mount a small file system here";
  }
  {
    auto store = open("file://" + (directory_ / "small")).value();
    ASSERT_OK(store->put("old", as_bytes("kept")));
    EXPECT_EQ(store->put("old", as_bytes(std::string(1 << 20, 'x'))).code(), Code::kNoSpace);
    EXPECT_EQ(code_of(store->put_if_absent("new", as_bytes(std::string(1 << 20, 'x')))),
              Code::kNoSpace);
    EXPECT_EQ(store->get("old").value(), "kept");
    EXPECT_EQ(store->list("").value().size(), 1U);
    EXPECT_TRUE(env::list_directory(directory_ / "small/.tide-unfinished").value().empty());
    ASSERT_OK(store->put("new", as_bytes(std::string(100000, 'x'))));
  }
  ::umount2((directory_ / "small").c_str(), MNT_DETACH);
}

TEST_F(LocalStoreTest, FullDiskAtTheReaderIsNoSpaceAndLeavesNothing) {
  auto store = open("file://" + (directory_ / "store")).value();
  ASSERT_OK(store->put("k", as_bytes(std::string(1 << 20, 'x'))));
  ASSERT_OK(env::make_directories(directory_ / "small"));
  if (::mount("none", (directory_ / "small").c_str(), "tmpfs", 0, "size=256k") != 0) {
    GTEST_SKIP() << "may not mount a small file system here";
  }
  EXPECT_EQ(store->get_to_file("k", directory_ / "small/out").code(), Code::kNoSpace);
  EXPECT_TRUE(env::list_directory(directory_ / "small").value().empty());
  ::umount2((directory_ / "small").c_str(), MNT_DETACH);
}

TEST_F(LocalStoreTest, UnwritablePlaceSaysSo) {
  ASSERT_OK(env::write_file(directory_ / "file", "x"));
  Result<std::unique_ptr<ObjectStore>> store = open("file://" + (directory_ / "file"));
  ASSERT_FALSE(store.ok());
  EXPECT_FALSE(store.status().hint().empty());
}

TEST_F(LocalStoreTest, KeyBelowAnObjectConflicts) {
  auto store = open("file://" + (directory_ / "store")).value();
  ASSERT_OK(store->put("a", as_bytes("x")));
  EXPECT_EQ(store->put("a/b", as_bytes("x")).code(), Code::kConflict);
  ASSERT_OK(store->put("d/e", as_bytes("x")));
  EXPECT_EQ(store->put("d", as_bytes("x")).code(), Code::kConflict);
  EXPECT_EQ(store->head("d").value(), std::nullopt);
}

TEST_F(LocalStoreTest, WritesOfACrashedProcessAreInvisible) {
  auto store = open("file://" + (directory_ / "store")).value();
  ASSERT_OK(env::write_file(directory_ / "store/.tide-unfinished/dead", "half"));
  EXPECT_TRUE(store->list("").value().empty());
}

class S3StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    server_ = S3Server::start(directory_ / "server", why_not);
    if (!server_ && std::getenv("TIDE_REQUIRE_S3") != nullptr) FAIL() << why_not;
    if (!server_) GTEST_SKIP() << why_not;
    store_ = open(server_->url(), quick()).value();
  }
  TemporaryDirectory directory_;
  std::unique_ptr<S3Server> server_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(S3StoreTest, SlowDownIsRetried) {
  server_->control("faults?kind=slowdown&count=3");
  ASSERT_OK(store_->put("k", as_bytes("x")));
  EXPECT_EQ(store_->stats().retries, 3U);
  server_->control("faults?kind=slowdown&count=3");
  EXPECT_EQ(store_->get("k").value(), "x");
  server_->control("faults?kind=slowdown&count=3");
  EXPECT_EQ(store_->head("k").value(), 1);
  server_->control("faults?kind=slowdown&count=4");
  Status status = store_->put("k", as_bytes("y"));
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find("SlowDown"), std::string::npos) << status.to_string();
  server_->control("faults?kind=slowdown&count=4");
  EXPECT_EQ(code_of(store_->head("k")), Code::kUnavailable)
      << "unknown must never look like missing";
  server_->control("faults?kind=slowdown&count=0");
}

TEST_F(S3StoreTest, FullServerIsNoSpace) {
  server_->control("faults?kind=full&count=1");
  EXPECT_EQ(store_->put("k", as_bytes("x")).code(), Code::kNoSpace);
}

TEST_F(S3StoreTest, LostAnswerOfACreationIsResolved) {
  ASSERT_TRUE(store_->put_if_absent("warm", as_bytes("x")).value());
  server_->control("faults?kind=lost&count=1&method=PUT");
  EXPECT_TRUE(store_->put_if_absent("k", as_bytes("mine")).value());
  EXPECT_FALSE(store_->put_if_absent("k", as_bytes("mine")).value());
  EXPECT_FALSE(store_->put_if_absent("k", as_bytes("theirs")).value());
}

TEST_F(S3StoreTest, ServerThatIgnoresConditionsIsRefused) {
  server_->control("conditional?honour=0");
  Result<bool> created = store_->put_if_absent("k", as_bytes("x"));
  ASSERT_EQ(code_of(created), Code::kInvalid);
  EXPECT_NE(created.status().hint().find("conditional_put=off"), std::string::npos);
  EXPECT_FALSE(store_->exists("k").value());
  EXPECT_TRUE(store_->list("").value().empty());
  auto lenient = open(server_->url() + "&conditional_put=off", quick()).value();
  EXPECT_TRUE(lenient->put_if_absent("k", as_bytes("x")).value());
  EXPECT_FALSE(lenient->put_if_absent("k", as_bytes("y")).value());
}

TEST_F(S3StoreTest, ChangedBytesAreCorrupt) {
  ASSERT_OK(store_->put("k", as_bytes("some bytes")));
  server_->control("faults?kind=flip&count=1&method=GET");
  EXPECT_EQ(code_of(store_->get("k")), Code::kCorrupt);
  server_->control("faults?kind=flip&count=1&method=GET");
  EXPECT_EQ(store_->get_to_file("k", directory_ / "out").code(), Code::kCorrupt);
  EXPECT_FALSE(env::exists(directory_ / "out"));
}

TEST_F(S3StoreTest, HangingServerIsUnavailableAfterTheStallTimeout) {
  Options options = quick();
  options.attempts = 2;
  options.stall_timeout_s = 1;
  auto store = open(server_->url(), options).value();
  server_->control("faults?kind=hang&count=2");
  EXPECT_EQ(code_of(store->get("k")), Code::kUnavailable);
}

TEST_F(S3StoreTest, LargeFilesGoInParts) {
  Options options = quick();
  options.multipart_threshold_bytes = 1000;
  options.part_bytes = 6 << 20;
  auto store = open(server_->url(), options).value();
  std::string content;
  for (int i = 0; content.size() < 15'000'000; ++i) content += fmt::format("{} ", i * 2654435761U);
  ASSERT_OK(env::write_file(directory_ / "in", content));
  ASSERT_OK(store->put_file("big", directory_ / "in"));
  EXPECT_EQ(store->head("big").value(), content.size());
  EXPECT_TRUE(store->get("big").value() == content);
  server_->control("faults?kind=slowdown&count=1&method=PUT");
  ASSERT_OK(store->put_file("big", directory_ / "in"));
  EXPECT_TRUE(store->get("big").value() == content);
}

TEST_F(S3StoreTest, OpeningSaysWhatIsWrong) {
  Options options = quick();
  options.credentials.secret_access_key = "wrong";
  Result<std::unique_ptr<ObjectStore>> denied = open(server_->url(), options);
  EXPECT_EQ(code_of(denied), Code::kDenied) << text_of(denied);
  EXPECT_NE(denied.status().hint().find("AWS_SECRET_ACCESS_KEY"), std::string::npos);

  Result<std::unique_ptr<ObjectStore>> no_bucket = open(server_->url("other-bucket"), quick());
  EXPECT_EQ(code_of(no_bucket), Code::kNotFound) << text_of(no_bucket);
  EXPECT_NE(no_bucket.status().message().find("other-bucket"), std::string::npos);
  EXPECT_FALSE(no_bucket.status().hint().empty());

  Result<std::unique_ptr<ObjectStore>> nobody =
      open("s3://tide?endpoint=http://127.0.0.1:1", quick());
  EXPECT_EQ(code_of(nobody), Code::kUnavailable) << text_of(nobody);
  EXPECT_NE(nobody.status().message().find("127.0.0.1:1"), std::string::npos);
  EXPECT_FALSE(nobody.status().hint().empty());

  EXPECT_EQ(code_of(open("s3://tide?endpoint=ftp://x", quick())), Code::kInvalid);
}

TEST_F(S3StoreTest, EnvironmentGivesEndpointAndCredentials) {
  ::setenv("AWS_ENDPOINT_URL", server_->endpoint().c_str(), 1);
  ::setenv("AWS_ACCESS_KEY_ID", "S3RVER", 1);
  ::setenv("AWS_SECRET_ACCESS_KEY", "S3RVER", 1);
  Result<std::unique_ptr<ObjectStore>> opened = open("s3://tide");
  for (const char* name : {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})
    ::unsetenv(name);
  ASSERT_OK(opened);
  ASSERT_OK((*opened)->put("k", as_bytes("x")));
  EXPECT_EQ(code_of(open("s3://tide?endpoint=" + server_->endpoint())), Code::kDenied);
}

}  // namespace
}  // namespace tide::objectstore
