#pragma once

#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "pagestore/keys.h"
#include "pagestore/page_store.h"
#include "pagestore/page_version.h"
#include "pgformat/control_file.h"
#include "redo/redo_pool.h"
#include "walstore/internal/test_wal.h"

/// For tests only.
namespace tide::pagestore {

/// PostgreSQL, and so a pool of its helpers, does not run as root: if we are, we become postgres,
/// for good.
class UnprivilegedEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() != 0) return;
    const passwd* user = ::getpwnam("postgres");
    ASSERT_NE(user, nullptr);
    ASSERT_EQ(::setgroups(0, nullptr), 0);
    ASSERT_EQ(::setresgid(user->pw_gid, user->pw_gid, user->pw_gid), 0);
    ASSERT_EQ(::setresuid(user->pw_uid, user->pw_uid, user->pw_uid), 0);
  }
};

/// A pool whose helpers never start, for pages without PostgreSQL's records: asking it to redo any
/// fails.
class IdlePool {
 public:
  IdlePool() {
    EXPECT_OK(env::make_directories(scratch_ / "template/global"));
    EXPECT_OK(env::write_file(scratch_ / "template/global/pg_control",
                              pgformat::ControlFile().serialize()));
    EXPECT_OK(env::write_file(scratch_ / "template/PG_VERSION", "15\n"));
    auto pool = redo::RedoPool::open({.directory = scratch_ / "redo",
                                      .postgres = "/bin/false",
                                      .library = "/bin/false",
                                      .template_directory = scratch_ / "template",
                                      .instance = "pagestore-test",
                                      .helpers = 1});
    EXPECT_OK(pool);
    pool_ = std::move(pool).value();
  }
  redo::RedoPool& operator*() { return *pool_; }

 private:
  walstore::TestDirectory scratch_;
  std::unique_ptr<redo::RedoPool> pool_;
};

inline constexpr TimelineId kRootTimeline{1};
inline constexpr Lsn kRootLsn{Lsn(0x1000000)};

/// A store with timeline 1, in a directory of its own.
class TestStore {
 public:
  TestStore() { open(); }

  /// Closes as a process that ends in peace; what was not flushed may be kept or not.
  void reopen() {
    store_.reset();
    open();
  }
  /// Opens a copy of the files as they are now: what a kill would leave.
  void reopen_as_killed() {
    std::string killed = scratch_ / fmt::format("killed{}", ++kills_);
    EXPECT_TRUE(store_->db().PauseBackgroundWork().ok());  // for the copy to be of one moment
    EXPECT_EQ(std::system(fmt::format("cp -r {} {}", directory_, killed).c_str()), 0);
    EXPECT_TRUE(store_->db().ContinueBackgroundWork().ok());
    store_.reset();
    directory_ = killed;
    EXPECT_OK(env::remove_file(directory_ + "/LOCK"));
    open();
  }

  const std::string& directory() const { return directory_; }
  PageStore& operator*() { return *store_; }
  PageStore* operator->() { return store_.get(); }
  redo::RedoPool& pool() { return *pool_; }

  /// Adds the root with what every imported template has.
  void add_root() {
    pgformat::ControlFile control;
    control.system_id = 77;
    pgformat::CheckPoint checkpoint;
    checkpoint.next_xid = 1024;
    std::string encoded;
    append(encoded, checkpoint);
    write(kRootTimeline, kRootLsn,
          {{Kind::kControl, "", kRootLsn, control.serialize()},
           {Kind::kCheckpoint, "", kRootLsn, encoded}});
    EXPECT_OK(store_->flush());
    TimelineInfo info;
    info.id = kRootTimeline;
    info.branch_lsn = kRootLsn;
    info.created_us = 1;
    EXPECT_OK(store_->add_timeline(info));
  }
  void add_branch(uint32_t id, uint32_t parent, Lsn lsn) {
    TimelineInfo info;
    info.id = TimelineId{id};
    info.parent = TimelineId{parent};
    info.branch_lsn = lsn;
    EXPECT_OK(store_->add_timeline(info));
  }

  struct Put {
    Kind kind;
    std::string body;
    Lsn lsn;
    std::string value;
  };
  void write(TimelineId id, Lsn end, const std::vector<Put>& puts) {
    rocksdb::WriteBatch batch;
    for (const Put& put : puts) batch.Put(version_key(put.kind, id, put.body, put.lsn), put.value);
    EXPECT_OK(store_->write(id, batch, end));
  }

  /// What a newest-version read finds; "-" if nothing.
  std::string newest(uint32_t id, Kind kind, const std::string& body, Lsn at) {
    auto version = store_->versions().newest(TimelineId{id}, kind, body, at);
    EXPECT_OK(version);
    return version.ok() && *version ? (*version)->value : "-";
  }

 private:
  void open() {
    auto store = PageStore::open({.directory = directory_, .memtable_bytes = 1 << 20}, *pool_);
    ASSERT_OK(store);
    store_ = std::move(store).value();
  }

  IdlePool pool_;
  walstore::TestDirectory scratch_;
  std::string directory_ = scratch_ / "pages";
  int kills_ = 0;
  std::unique_ptr<PageStore> store_;
};

inline std::string page_of(char fill) {
  std::string page(kPageSize, fill);
  return page;
}

}  // namespace tide::pagestore
