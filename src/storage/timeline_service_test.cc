#include "storage/timeline_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <thread>

#include "pagestore/internal/test_store.h"
#include "storage/internal/test_compute.h"
#include "storage/object_mirror.h"
#include "storage/project.h"

namespace tide::storage {
namespace {

using namespace pagestore;
using testing::HasSubstr;
using walstore::Durability;
namespace fs = std::filesystem;

constexpr RelFork kRel{1663, 5, 1000, Fork::kMain};

class TimelineServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    {
      TestStore made;
      made.add_root();
      ASSERT_EQ(std::system(("cp -r " + made.directory() + " " + paths_.pages).c_str()), 0);
    }
    open();
  }
  void open() {
    project_.reset();
    auto project = Project::open(paths_, *pool_, nullptr);
    ASSERT_OK(project);
    project_ = std::move(project).value();
  }
  /// As after a kill -9: what was not flushed is gone, the WAL is as it was.
  void open_as_killed() {
    auto& db = project_->store().db();
    EXPECT_TRUE(db.PauseBackgroundWork().ok());
    std::string killed = paths_.pages + "-killed";
    ASSERT_EQ(
        std::system(fmt::format("cp -r {0} {1} && rm {1}/LOCK", paths_.pages, killed).c_str()), 0);
    EXPECT_TRUE(db.ContinueBackgroundWork().ok());
    project_.reset();
    paths_.pages = killed;
    open();
  }
  std::shared_ptr<TimelineService> service(uint32_t id = 1) {
    return project_->timeline(TimelineId{id}).value();
  }
  std::unique_ptr<TestCompute> begin(uint64_t epoch, uint32_t id = 1) {
    auto begun = service(id)->begin_epoch(Epoch{epoch}, Durability::kLocal);
    EXPECT_OK(begun);
    return begun.ok() ? std::make_unique<TestCompute>(*begun) : nullptr;
  }
  char first_byte(uint32_t block, uint32_t id = 1) {
    std::string out(kPageSize, 'x');
    PageTag tag{kRel, block};
    EXPECT_OK(project_->store().pages().read(TimelineId{id}, {&tag, 1},
                                             project_->store().ingested(TimelineId{id}),
                                             reinterpret_cast<std::byte*>(out.data())));
    return out[100];
  }

  walstore::TestDirectory scratch_;
  Project::Paths paths_{scratch_ / "pages", scratch_ / "wal"};
  IdlePool pool_;
  std::unique_ptr<Project> project_;
};

TEST_F(TimelineServiceTest, EpochsBeginFromTheEndAndArePublished) {
  auto compute = begin(3);
  EXPECT_EQ(project_->current_epoch(kRootTimeline), Epoch{3});
  auto again = service()->begin_epoch(Epoch{3}, Durability::kLocal);
  ASSERT_OK(again);
  EXPECT_EQ(again->start, kRootLsn) << "a repeated call gives the same answer";
  EXPECT_EQ(service()->begin_epoch(Epoch{2}, Durability::kLocal).status().code(),
            Code::kStaleEpoch);
  compute->put(0, 'a');
  compute->flush();
  auto settled = service()->settle(10000);
  ASSERT_OK(settled);
  EXPECT_EQ(*settled, compute->wal().at());
  EXPECT_EQ(first_byte(0), 'a');

  auto next = begin(4);
  EXPECT_EQ(project_->current_epoch(kRootTimeline), Epoch{4});
  EXPECT_EQ(*service()->epoch_start(Epoch{4}), compute->wal().at());
  next->put(0, 'b');
  next->flush();
  ASSERT_OK(service()->settle(10000));
  EXPECT_EQ(first_byte(0), 'b');
  auto end = service()->close_epoch(Epoch{4});
  ASSERT_OK(end);
  EXPECT_EQ(end->end, next->wal().at());
  EXPECT_EQ(project_->current_epoch(kRootTimeline), Epoch{});
  EXPECT_EQ(service()->close_epoch(Epoch{3}).status().code(), Code::kStaleEpoch);
}

TEST_F(TimelineServiceTest, ATornTailIsNotTakenForWhatComesAfterIt) {
  // The feed stands inside a record that is longer than all that the next life writes at first.
  auto compute = begin(1);
  Lsn whole = compute->put(0, 'a');
  compute->wal().noop(60000);
  Lsn torn((whole.value() / kWalPageSize + 5) * kWalPageSize);
  compute->flush(torn);
  auto settled = service()->settle(10000);
  ASSERT_OK(settled);
  EXPECT_EQ(*settled, whole) << "what is durable may end inside a record";

  auto next = begin(2);
  next->put(0, 'b');
  next->flush();
  ASSERT_LT(next->wal().at(), torn);
  settled = service()->settle(10000);
  ASSERT_OK(settled);
  EXPECT_EQ(*settled, next->wal().at()) << "settled means ingested";
  EXPECT_EQ(first_byte(0), 'b');
  EXPECT_EQ(service()->last_error(), "");
}

TEST_F(TimelineServiceTest, IngestStartsForEveryEpochHoweverQuickTheyFollow) {
  std::mt19937 random(1);
  for (uint64_t epoch = 1; epoch <= 40; ++epoch) {
    auto compute = begin(epoch);
    ASSERT_NE(compute, nullptr);
    char fill = static_cast<char>('a' + epoch % 26);
    compute->put(1, fill);
    compute->flush();
    ASSERT_OK(project_->store().wait_for(kRootTimeline, compute->wal().at(), 10000));
    ASSERT_EQ(first_byte(1), fill);
    ASSERT_OK(service()->close_epoch(Epoch{epoch}));
    // The ingest thread ends within some 150 ms: hit all moments of it.
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 160));
  }
}

TEST_F(TimelineServiceTest, TheNextEpochLinksToTheRecordBefore) {
  auto compute = begin(1);
  compute->put(0, 'a');
  compute->wal().shutdown_checkpoint(*project_->store().checkpoint(kRootTimeline, Lsn::max()));
  compute->flush();
  ASSERT_OK(service()->settle(10000));
  auto end = service()->close_epoch(Epoch{1});
  ASSERT_OK(end);
  EXPECT_TRUE(end->clean);
  EXPECT_TRUE(service()->close_epoch(Epoch{1})->clean) << "also when asked again";
  begin(2);
  EXPECT_EQ(service()->log().history().last()->prev, compute->wal().prev());
}

TEST_F(TimelineServiceTest, DamagedWalStopsIngestAndIsTold) {
  auto compute = begin(1);
  Lsn good = compute->put(0, 'a');
  compute->put(0, 'b');
  compute->flush();
  {
    std::string segment = service()->log().epoch_directory(Epoch{1}) + "/" +
                          pgformat::segment_file_name(pgformat::segment_number(good));
    auto file = env::open_file(segment, O_RDWR);
    ASSERT_OK(env::write_at(file->get(), good.value() % kWalSegmentSize + 300, as_bytes("rot")));
  }
  for (int i = 0; i < 100 && service()->last_error().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    service()->nudge();
  }
  // It may have been quicker than the damage.
  if (project_->store().ingested(kRootTimeline) == compute->wal().at()) GTEST_SKIP();
  EXPECT_THAT(service()->last_error(), HasSubstr("checksum"));
  EXPECT_EQ(service()->settle(50).status().code(), Code::kRetry);
  EXPECT_EQ(service()->begin_epoch(Epoch{2}, Durability::kLocal).status().code(), Code::kCorrupt);
}

TEST_F(TimelineServiceTest, NothingAcknowledgedIsLostByAKill) {
  for (uint64_t epoch = 1; epoch <= 4; ++epoch) {
    auto compute = begin(epoch);
    for (uint32_t block = 0; block < 20; ++block)
      compute->put(block, static_cast<char>('a' + epoch));
    compute->flush();
    if (epoch % 2 == 0) {
      ASSERT_OK(service()->settle(10000));
      ASSERT_OK(project_->store().flush());
    }
    Lsn end = compute->wal().at();
    open_as_killed();
    EXPECT_EQ(project_->current_epoch(kRootTimeline), Epoch{epoch}) << "the compute lives on";
    ASSERT_OK(project_->store().wait_for(kRootTimeline, end, 10000));
    for (uint32_t block = 0; block < 20; ++block)
      EXPECT_EQ(first_byte(block), static_cast<char>('a' + epoch));
  }
}

TEST_F(TimelineServiceTest, ABranchIsReadableAfterACrashOnlyWithItsParentComplete) {
  auto compute = begin(1);
  compute->put(0, 'a');
  compute->put(1, 'b');
  compute->flush();
  auto at = project_->create_timeline(TimelineId{2}, kRootTimeline, std::nullopt, std::nullopt);
  ASSERT_OK(at);
  EXPECT_EQ(*at, compute->wal().at());
  EXPECT_EQ(first_byte(1, 2), 'b');
  open_as_killed();  // what the root ingested is gone, the branch is not
  EXPECT_GE(project_->store().ingested(kRootTimeline), *at);
  EXPECT_EQ(first_byte(0, 2), 'a');
  EXPECT_EQ(first_byte(1, 2), 'b');
}

TEST_F(TimelineServiceTest, BranchesOfBranches) {
  auto compute = begin(1);
  Lsn first = compute->put(0, 'a');
  Lsn second = compute->put(0, 'b');
  compute->flush();
  ASSERT_OK(project_->create_timeline(TimelineId{2}, kRootTimeline, second, std::nullopt));
  EXPECT_EQ(*project_->create_timeline(TimelineId{2}, kRootTimeline, first, std::nullopt), second)
      << "the first call stands";
  // A point before the branch's own begin lies on its parent.
  ASSERT_OK(project_->create_timeline(TimelineId{3}, TimelineId{2}, first, std::nullopt));
  EXPECT_EQ(project_->store().tree().find(TimelineId{3})->parent, kRootTimeline);
  EXPECT_EQ(first_byte(0, 3), 'a');
  auto own = begin(1, 2);
  own->put(0, 'c');
  own->flush();
  ASSERT_OK(service(2)->settle(10000));
  ASSERT_OK(project_->create_timeline(TimelineId{4}, TimelineId{2}, std::nullopt, std::nullopt));
  EXPECT_EQ(first_byte(0, 4), 'c');
  EXPECT_EQ(first_byte(0, 1), 'b');
  EXPECT_EQ(project_->create_timeline(TimelineId{5}, kRootTimeline, second + 80000, std::nullopt)
                .status()
                .code(),
            Code::kOutOfRange);
  EXPECT_EQ(project_->create_timeline(TimelineId{5}, TimelineId{99}, std::nullopt, std::nullopt)
                .status()
                .code(),
            Code::kNotFound);

  EXPECT_EQ(project_->delete_timeline(TimelineId{2}).code(), Code::kConflict);
  ASSERT_OK(project_->delete_timeline(TimelineId{4}));
  EXPECT_EQ(project_->delete_timeline(TimelineId{2}).code(), Code::kConflict)
      << "a compute is alive";
  ASSERT_OK(service(2)->close_epoch(Epoch{1}));
  auto held = service(2);
  ASSERT_OK(project_->delete_timeline(TimelineId{2}));
  ASSERT_OK(project_->delete_timeline(TimelineId{2}));
  EXPECT_EQ(held->begin_epoch(Epoch{2}, Durability::kLocal).status().code(), Code::kNotFound);
  EXPECT_FALSE(env::exists(paths_.wal + "/t2"));
  open();
  EXPECT_EQ(project_->timelines().size(), 2U);
}

/// The mirror with a local object store.
class ObjectMirrorTest : public TimelineServiceTest {
 protected:
  void SetUp() override {
    TimelineServiceTest::SetUp();
    auto store = objectstore::open("file://" + (scratch_ / "objects"));
    ASSERT_OK(store);
    objects_ = std::move(store).value();
    open_mirror(1);
  }
  void open_mirror(uint64_t generation) {
    mirror_.reset();
    auto mirror = ObjectMirror::open(*objects_, *project_, paths_.pages, generation);
    ASSERT_OK(mirror);
    mirror_ = std::move(mirror).value();
  }
  std::vector<std::string> wal_objects() {
    std::vector<std::string> keys;
    auto infos = objects_->list("wal/");
    EXPECT_OK(infos);
    for (const auto& info : *infos) keys.push_back(info.key);
    return keys;
  }
  /// What upkeep does.
  Status trim_local() {
    for (const auto& timeline : project_->timelines()) {
      Lsn needless =
          std::min(project_->store().durable(timeline->id()), mirror_->safe(timeline->id()));
      TIDE_TRY(timeline->log().trim(needless));
    }
    return {};
  }
  /// A fresh machine: nothing but the object store.
  void restore() {
    mirror_.reset();
    project_.reset();
    ++machines_;
    paths_ = {scratch_ / fmt::format("machine{}-pages", machines_),
              scratch_ / fmt::format("machine{}-wal", machines_)};
    auto opened = ProjectUpload::restore(*objects_, paths_.pages);
    ASSERT_OK(opened);
    ASSERT_TRUE(opened->has_value());
    ASSERT_OK(ObjectMirror::restore_wal(*objects_, paths_.wal));
    auto remote = RemoteFiles::open(paths_.pages, *objects_, (*opened)->files);
    ASSERT_OK(remote);
    remote_.push_back(std::move(remote).value());
    auto project = Project::open(paths_, *pool_, remote_.back()->file_system());
    ASSERT_OK(project);
    project_ = std::move(project).value();
    open_mirror((*opened)->generation);
  }

  std::unique_ptr<objectstore::ObjectStore> objects_;
  std::vector<std::unique_ptr<RemoteFiles>> remote_;
  std::unique_ptr<ObjectMirror> mirror_;
  int machines_ = 0;
};

TEST_F(ObjectMirrorTest, AFreshMachineHasEverythingThatWasUploaded) {
  auto compute = begin(1);
  compute->put(0, 'a');
  compute->flush();
  ASSERT_OK(service()->settle(10000));
  ASSERT_OK(mirror_->upload_pages());
  compute->put(1, 'b');
  compute->wal().noop(20 << 20);  // beyond a segment
  compute->put(2, 'c');
  compute->flush();
  Lsn uploaded = compute->wal().at();
  ASSERT_OK(mirror_->upload_wal(true));
  compute->put(2, 'd');  // not uploaded any more
  compute->flush();
  restore();
  ASSERT_OK(project_->store().wait_for(kRootTimeline, uploaded, 10000));
  EXPECT_EQ(first_byte(0), 'a');
  EXPECT_EQ(first_byte(1), 'b');
  EXPECT_EQ(first_byte(2), 'c');
  auto next = begin(2);
  EXPECT_EQ(*service()->epoch_start(Epoch{2}), uploaded);
  next->put(2, 'e');
  next->flush();
  ASSERT_OK(service()->settle(10000));
  ASSERT_OK(mirror_->upload_wal(true));
  ASSERT_OK(mirror_->upload_pages());
  restore();
  EXPECT_EQ(first_byte(2), 'e');
}

TEST_F(ObjectMirrorTest, TheLongestPartialCounts) {
  auto compute = begin(1);
  ASSERT_OK(mirror_->upload_pages());
  compute->put(0, 'a');
  compute->flush();
  ASSERT_OK(mirror_->upload_wal(true));
  std::string shorter;
  for (const std::string& key : wal_objects()) {
    if (key.find(".partial-") != std::string::npos) shorter = key;
  }
  ASSERT_FALSE(shorter.empty());
  std::string content = *objects_->get(shorter);
  compute->put(0, 'b');
  compute->flush();
  Lsn end = compute->wal().at();
  ASSERT_OK(mirror_->upload_wal(true));
  EXPECT_EQ(objects_->get(shorter).status().code(), Code::kNotFound) << "replaced";
  ASSERT_OK(objects_->put(shorter,
                          as_bytes(content)));  // as if it had died before it removed the old one
  restore();
  ASSERT_OK(project_->store().wait_for(kRootTimeline, end, 10000));
  EXPECT_EQ(first_byte(0), 'b');
}

TEST_F(ObjectMirrorTest, UploadsGoOnAfterTrimsAndARestart) {
  auto compute = begin(1);
  compute->wal().noop(40 << 20);
  compute->put(0, 'a');
  compute->flush();
  ASSERT_OK(service()->settle(20000));
  ASSERT_OK(service()->close_epoch(Epoch{1}));
  auto next = begin(2);
  next->put(0, 'b');
  next->flush();
  ASSERT_OK(service()->settle(10000));
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(mirror_->upload_wal(true));
    ASSERT_OK(project_->store().flush());
    ASSERT_OK(mirror_->upload_pages());
    ASSERT_OK(mirror_->trim());
  }
  ASSERT_OK(trim_local());
  EXPECT_FALSE(env::exists(service()->log().epoch_directory(Epoch{1})));
  mirror_.reset();
  open();
  auto opened = ProjectUpload::reattach(*objects_, paths_.pages);
  ASSERT_OK(opened);
  open_mirror(opened->generation);
  next->put(1, 'c');
  next->flush();
  ASSERT_OK(service()->settle(10000));
  ASSERT_OK(mirror_->upload_wal(true));
  ASSERT_OK(mirror_->upload_pages());
  restore();
  EXPECT_EQ(first_byte(1), 'c');
}

TEST_F(ObjectMirrorTest, NothingIsSafeBeforeAManifestSaysSo) {
  auto compute = begin(1);
  compute->wal().noop(40 << 20);
  compute->flush();
  ASSERT_OK(service()->settle(20000));
  ASSERT_OK(mirror_->upload_wal(false));
  ASSERT_OK(project_->store().flush());
  auto segments = [&] {
    return env::list_directory(service()->log().epoch_directory(Epoch{1}))->size();
  };
  size_t before = segments();
  EXPECT_EQ(mirror_->safe(kRootTimeline), Lsn());
  ASSERT_OK(trim_local());
  EXPECT_EQ(segments(), before) << "durable here, but not in the object store";
  // Somebody takes the project over: our upload fails, so nothing becomes safe.
  ASSERT_OK(mirror_->upload_pages());
  Lsn safe = mirror_->safe(kRootTimeline);
  EXPECT_EQ(safe, project_->store().ingested(kRootTimeline));
  ASSERT_TRUE(ProjectUpload::restore(*objects_, scratch_ / "taken-over").ok());
  compute->wal().noop(20 << 20);
  compute->flush();
  ASSERT_OK(service()->settle(20000));
  ASSERT_OK(project_->store().flush());
  EXPECT_EQ(mirror_->upload_pages().code(), Code::kStaleEpoch);
  EXPECT_EQ(mirror_->safe(kRootTimeline), safe);
  ASSERT_OK(trim_local());
  std::byte byte;
  EXPECT_EQ(*service()->log().read(safe, Lsn::max(), {&byte, 1}), 1U)
      << "WAL behind the last manifest stays";
}

TEST_F(ObjectMirrorTest, WalObjectsStayForBothManifests) {
  auto compute = begin(1);
  auto round = [&] {
    compute->wal().noop(20 << 20);
    compute->flush();
    EXPECT_OK(service()->settle(20000));
    EXPECT_OK(mirror_->upload_wal(false));
    EXPECT_OK(mirror_->upload_pages());
    EXPECT_OK(mirror_->trim());
  };
  compute->put(0, 'a');
  round();
  Lsn first = mirror_->safe(kRootTimeline);
  round();
  Lsn second = mirror_->safe(kRootTimeline);
  // The newest manifest is damaged, and the machine is lost: the one before and WAL bring all back.
  std::string newest = objects_->list("manifest/").value().back().key;
  ASSERT_OK(objects_->remove(newest));
  ASSERT_OK(objects_->put(newest, as_bytes("damaged")));
  restore();
  ASSERT_GT(second, first);
  Lsn last_segment(second.value() / kWalSegmentSize * kWalSegmentSize);
  EXPECT_OK(service()->settle(20000));
  EXPECT_GE(service()->flushed(), last_segment);
  EXPECT_EQ(first_byte(0), 'a');
}

TEST_F(ObjectMirrorTest, AnEndIsShownOnceItsWalIsThere) {
  ASSERT_OK(mirror_->upload_pages());
  auto compute = begin(1);
  compute->put(0, 'a');
  compute->flush();
  ASSERT_OK(mirror_->upload_wal(true));
  compute->put(0, 'b');
  compute->flush();
  ASSERT_OK(service()->settle(10000));
  ASSERT_OK(service()->close_epoch(Epoch{1}));
  begin(2);
  // The segment cannot be uploaded: what stands in its key's way is a directory.
  std::string blocked = scratch_ / "objects/wal/t1/e1";
  fs::permissions(blocked, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_FALSE(mirror_->upload_wal(true).ok());
  auto shown = walstore::EpochHistory::from_json(*objects_->get("wal/t1/history.json"));
  ASSERT_OK(shown);
  EXPECT_FALSE(shown->last()->end.has_value())
      << "whoever restores now must not wait for WAL that is nowhere";
  fs::permissions(blocked, fs::perms::owner_all);
  restore();
  EXPECT_OK(service()->settle(10000));
  auto next = begin(3);
  ASSERT_NE(next, nullptr);
  EXPECT_EQ(first_byte(0), 'a');
}

TEST_F(ObjectMirrorTest, DeletedTimelinesLeaveNothing) {
  auto compute = begin(1);
  compute->put(0, 'a');
  compute->flush();
  ASSERT_OK(project_->create_timeline(TimelineId{2}, kRootTimeline, std::nullopt, std::nullopt));
  auto own = begin(1, 2);
  own->put(0, 'b');
  own->flush();
  ASSERT_OK(mirror_->upload_wal(true));
  EXPECT_THAT(wal_objects(), testing::Contains(HasSubstr("wal/t2/e1/")));
  ASSERT_OK(service(2)->close_epoch(Epoch{1}));
  ASSERT_OK(project_->delete_timeline(TimelineId{2}));
  ASSERT_OK(mirror_->upload_pages());
  ASSERT_OK(mirror_->trim());
  EXPECT_THAT(wal_objects(), testing::Not(testing::Contains(HasSubstr("wal/t2/"))));
  EXPECT_THAT(wal_objects(), testing::Contains("wal/t1/history.json"));
}

}  // namespace
}  // namespace tide::storage
