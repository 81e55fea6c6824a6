#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "learner/learner.h"
#include "storage/internal/test_compute.h"
#include "storage/learner_service.h"
#include "storage/object_mirror.h"
#include "storage/page_service.h"
#include "storage/project.h"

/// For tests only.
namespace tide::learner {

using walstore::Durability;

/// A storage role in this process, with a local object store, and learners at its socket.
class StorageTest : public testing::Test {
 protected:
  void SetUp() override {
    {
      pagestore::TestStore made;
      made.add_root();
      ASSERT_EQ(std::system(("cp -r " + made.directory() + " " + paths_.pages).c_str()), 0);
    }
    auto store = objectstore::open("file://" + (scratch_ / "objects"));
    ASSERT_OK(store);
    objects_ = std::move(store).value();
    open();
  }
  void TearDown() override { close(); }

  void open() {
    auto project = storage::Project::open(paths_, *pool_, nullptr);
    ASSERT_OK(project);
    project_ = std::move(project).value();
    learners_ = std::make_unique<storage::LearnerService>(*project_, objects_.get());
    auto service = storage::PageService::start(
        socket_, project_->store(), [this](TimelineId id) { return project_->current_epoch(id); },
        learners_.get());
    ASSERT_OK(service);
    service_ = std::move(service).value();
  }
  void close() {
    service_.reset();
    learners_.reset();
    mirror_.reset();
    project_.reset();
  }
  void open_mirror() {
    auto mirror = storage::ObjectMirror::open(*objects_, *project_, paths_.pages, 1);
    ASSERT_OK(mirror);
    mirror_ = std::move(mirror).value();
  }
  /// What upkeep does.
  void upload_and_trim() {
    for (const auto& timeline : project_->timelines()) ASSERT_OK(timeline->settle(20000));
    ASSERT_OK(project_->store().flush());
    ASSERT_OK(mirror_->upload_wal(false));
    ASSERT_OK(mirror_->upload_pages());
    ASSERT_OK(mirror_->trim());
    for (const auto& timeline : project_->timelines()) {
      Lsn needless =
          std::min(project_->store().durable(timeline->id()), mirror_->trimmable(timeline->id()));
      ASSERT_OK(timeline->log().trim(needless));
    }
  }
  std::shared_ptr<storage::TimelineService> service(uint32_t id = 1) {
    return project_->timeline(TimelineId{id}).value();
  }
  std::unique_ptr<storage::TestCompute> begin(uint64_t epoch, uint32_t id = 1) {
    auto begun = service(id)->begin_epoch(Epoch{epoch}, Durability::kLocal);
    EXPECT_OK(begun);
    return begun.ok() ? std::make_unique<storage::TestCompute>(*begun) : nullptr;
  }
  std::unique_ptr<Learner> learner(uint32_t id = 1, Learner::Options options = {}) {
    auto learner = Learner::connect(socket_, TimelineId{id}, options);
    EXPECT_OK(learner);
    return learner.ok() ? std::move(learner).value() : nullptr;
  }
  /// WAL files of an epoch that are still on this machine.
  size_t local_segments(uint64_t epoch, uint32_t id = 1) {
    size_t count = 0;
    auto names = env::list_directory(service(id)->log().epoch_directory(Epoch{epoch}));
    if (!names.ok()) return 0;
    for (const std::string& name : *names)
      count += pgformat::parse_segment_file_name(name).ok() ? 1 : 0;
    return count;
  }

  walstore::TestDirectory scratch_;
  storage::Project::Paths paths_{scratch_ / "pages", scratch_ / "wal"};
  std::string socket_ = scratch_ / "pages.sock";
  pagestore::IdlePool pool_;
  std::unique_ptr<objectstore::ObjectStore> objects_;
  std::unique_ptr<storage::Project> project_;
  std::unique_ptr<storage::ObjectMirror> mirror_;
  std::unique_ptr<storage::LearnerService> learners_;
  std::unique_ptr<storage::PageService> service_;
};

}  // namespace tide::learner
