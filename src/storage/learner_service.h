#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "contracts/page_service.h"
#include "objectstore/object_store.h"
#include "storage/project.h"

namespace tide::storage {

/// What learners ask (contracts/page_service.h, docs/formats/page-service.md): processes that
/// follow a timeline's WAL and its pages without being its compute. Thread-safe; a READ_WAL that
/// waits holds its caller's thread.
class LearnerService {
 public:
  /// `objects`: where WAL is read that is not on this machine any more; null: nowhere.
  LearnerService(Project& project, objectstore::ObjectStore* objects)
      : project_(project), objects_(objects) {}

  static bool takes(uint16_t type);

  struct Answer {
    uint16_t type = 0;
    std::string body;
  };
  Result<Answer> answer(TimelineId timeline, uint16_t type, BytesView body);

  /// Ends all waits, now and for good, with kRetry.
  void stop();

 private:
  /// Where a reader goes on: whose log, up to where that counts for the timeline asked for.
  struct Place {
    std::shared_ptr<TimelineService> service;
    Lsn boundary;
    Lsn limit;
  };
  Result<Place> place_of(TimelineId timeline, const TidePsReadWal& request) const;
  Result<Answer> read_wal(TimelineId timeline, const TidePsReadWal& request);
  /// A WAL answer of this moment; without bytes if nothing is there yet.
  Result<Answer> look(TimelineId timeline, const Place& place, const TidePsReadWal& request) const;
  Result<Answer> confirm(TimelineId timeline, const TidePsLsn& request);
  Result<Answer> describe(TimelineId timeline) const;
  Result<Answer> slru_page(TimelineId timeline, const TidePsGetSlru& request) const;
  Result<Answer> relation_map(TimelineId timeline, const TidePsGetRelmap& request) const;
  Result<Answer> databases(TimelineId timeline, const TidePsLsn& request) const;
  Result<Answer> relations(TimelineId timeline, const TidePsListRelations& request) const;
  Result<Lsn> position(TimelineId timeline, uint64_t lsn) const;

  Project& project_;
  objectstore::ObjectStore* objects_;
  std::atomic<bool> stopping_{false};
};

}  // namespace tide::storage
