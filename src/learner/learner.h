#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "env/file.h"
#include "learner/source.h"

namespace tide::learner {

/// A connection to the storage's page service, for a process that follows a timeline.
///
/// Every call is one request and its answer; all may be repeated without harm. If the storage does
/// not answer (it is being started again) or asks for patience, the call connects anew and repeats
/// itself, at growing distances, for up to `patience`; then kUnavailable. kNotFound once the
/// timeline does not exist any more; kCorrupt if an answer is not one to our request.
///
/// One thread at a time, but for interrupt(): a WAL stream that waits needs a Learner of its own.
class Learner final : public PageSource, public WalSource {
 public:
  struct Options {
    std::chrono::milliseconds patience{60'000};
    std::chrono::milliseconds answer_timeout{60'000};  ///< of one attempt, above what it waits for
  };
  /// Returns once the storage has greeted; `socket_path`: env::page_socket() of the instance.
  static Result<std::unique_ptr<Learner>> connect(std::string socket_path, TimelineId timeline,
                                                  Options options);
  static Result<std::unique_ptr<Learner>> connect(std::string socket_path, TimelineId timeline) {
    return connect(std::move(socket_path), timeline, Options{});
  }
  ~Learner() override;

  TimelineId timeline() const { return timeline_; }

  struct TimelineState {
    TimelineId id;
    std::optional<TimelineId> parent;
    Lsn branch_lsn;     ///< first LSN of its own
    Lsn oldest_lsn;     ///< no state below can be asked for
    Lsn ingested_lsn;   ///< a record's end: pages are known up to here without waiting
    Lsn confirmed_lsn;  ///< the highest confirm(); invalid if there was none
    int64_t created_us = 0;
    uint64_t system_id = 0;
  };
  Result<TimelineState> describe();
  /// The newest durable LSN now: at or above every commit that a client has been told of.
  Result<Lsn> flushed();
  /// We need no WAL below `lsn` any more, durably; from the first call on, WAL above is kept for us
  /// as long as the history window allows. An `lsn` below where the timeline branches off holds its
  /// ancestors' WAL. Never goes back: returns the highest ever. kInvalid above what is durable.
  Result<Lsn> confirm(Lsn lsn);

  Result<std::string> pages(const RelFork& rel, uint32_t first, uint32_t count, Lsn lsn) override;
  Result<std::optional<uint32_t>> rel_size(const RelFork& rel, Lsn lsn) override;
  Result<std::optional<std::string>> slru_page(pgformat::Slru slru, uint32_t page,
                                               Lsn lsn) override;
  Result<std::optional<std::string>> relation_map(uint32_t spc, uint32_t db, Lsn lsn) override;
  Result<std::vector<Database>> databases(Lsn lsn) override;
  Result<std::vector<Relation>> relations(uint32_t db, Lsn lsn) override;
  Result<Piece> read_wal(const Request& request) override;

  /// From any thread: the call that runs, and every later one, ends with kUnavailable.
  void interrupt();

 private:
  struct Expected {
    uint16_t type = 0;
    size_t head_size = 0;  ///< the answer is at least this long
    int wait_ms = 0;       ///< that the storage may wait before it answers
  };
  Learner(std::string socket_path, TimelineId timeline, Options options);
  /// The answer's body, in body_ until the next call.
  Result<std::string_view> call(uint16_t type, BytesView body, const Expected& expected);
  template <typename Body>
  Result<std::string_view> ask(uint16_t type, const Body& body, const Expected& expected);
  Result<std::optional<std::string>> bytes_or_nothing(std::string_view answer) const;
  template <typename Item>
  Result<std::vector<Item>> items(std::string_view answer) const;

  /// One attempt. kUnavailable: the connection is of no use any more. kRetry: ask again.
  Status attempt(uint16_t type, BytesView body, const Expected& expected);
  Status open_connection();
  Status exchange(uint16_t type, BytesView body, const Expected& expected);
  Status send(BytesView bytes);
  Status receive(char* to, size_t size, std::chrono::steady_clock::time_point deadline);
  Status wait_readable(std::chrono::steady_clock::time_point deadline);
  /// False if interrupted.
  bool pause(std::chrono::milliseconds duration);

  std::string socket_path_;
  TimelineId timeline_;
  Options options_;
  env::FileDescriptor interrupt_;  // eventfd
  env::FileDescriptor socket_;
  uint64_t next_id_ = 1;
  std::string body_;
};

}  // namespace tide::learner
