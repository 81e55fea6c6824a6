#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "columns/column.h"
#include "duck/engine.h"
#include "net/blob_channel.h"
#include "warehouse/outcome.h"
#include "warehouse/pg_statement.h"

namespace tide::warehouse {

/// A column of a table of the lake.
struct LakeColumn {
  std::string name;
  std::string pg_type;  ///< "numeric(10,2)"
  columns::Type type;   ///< how it is stored
};

struct LakeTable {
  uint32_t oid = 0;
  std::string schema;
  std::string name;
  std::string kind;
  std::vector<LakeColumn> columns;
  std::string not_mirrored;        ///< the reason; empty: it is mirrored
  std::vector<uint32_t> children;  ///< tables that inherit from it: SELECT shows their rows too
};

/// The tables of one database at one moment. Immutable.
struct LakeCatalog {
  uint64_t version = 0;
  std::vector<LakeTable> tables;
  const LakeTable* find(const std::string& schema, const std::string& name) const;
  const LakeTable* find(uint32_t oid) const;
};

/// Segments of fresh rows that the process has, by the mirror's numbers: immutable, shared by all
/// sessions, forgotten when unused for long. Thread-safe.
class SegmentCache {
 public:
  explicit SegmentCache(uint64_t bytes_max) : bytes_max_(bytes_max) {}
  using Key = std::pair<std::string, uint64_t>;  ///< mirror's identity with the table, segment
  using Rows = std::shared_ptr<const columns::Batch>;
  Rows find(const Key& key);
  void add(const Key& key, Rows rows);
  /// Those of one mirror and table.
  std::map<uint64_t, Rows> of(const std::string& scope);

 private:
  struct Entry {
    Rows rows;
    std::list<Key>::iterator age;
  };
  const uint64_t bytes_max_;
  std::mutex mutex_;
  std::map<Key, Entry> entries_;
  std::list<Key> ages_;  ///< newest first
  uint64_t bytes_ = 0;
};

/// How old a snapshot may be.
struct Freshness {
  enum class Kind { kStrict, kBounded, kLake };
  Kind kind = Kind::kStrict;
  std::chrono::milliseconds bound{5000};
  std::string as_of_lsn;                      ///< "X/Y"; empty: the newest
  std::optional<int64_t> as_of_microseconds;  ///< since 1970, UTC

  /// "strict", "lake", "bounded 5s"; kInvalid else.
  static Result<Freshness> parse(std::string_view text);
  std::string to_string() const;
};

/// A conversation with the mirror for one database of one timeline. One thread at a time, but
/// shut_down().
class Lake {
 public:
  struct Options {
    std::string socket;
    uint32_t timeline = 0;
    std::string database;
  };
  Lake(Options options, duck::Engine& engine, SegmentCache& segments);
  ~Lake();

  /// One consistent state of all tables. Its files stay until it goes.
  class Snapshot {
   public:
    ~Snapshot();
    const std::string& lsn() const { return lsn_; }
    int64_t commit_microseconds() const { return commit_microseconds_; }
    const LakeCatalog& catalog() const { return *catalog_; }

    /// SQL of a SELECT that yields the table's columns `wanted` (indexes) under their names. What
    /// it names lives as long as the snapshot. One call for each table is enough for all its uses.
    Outcome<std::string> select(const LakeTable& table, const std::vector<size_t>& wanted);

   private:
    Outcome<std::string> select_own(const LakeTable& table, const std::vector<size_t>& wanted);
    Outcome<std::string> select_tree(const LakeTable& table, const std::vector<size_t>& wanted,
                                     int depth);
    friend class Lake;
    Lake* lake_ = nullptr;
    uint64_t connection_ = 0;
    uint64_t id_ = 0;
    std::string lsn_;
    int64_t commit_microseconds_ = 0;
    std::shared_ptr<const LakeCatalog> catalog_;
    std::vector<duck::Registration> registrations_;
  };
  Outcome<std::unique_ptr<Snapshot>> snapshot(const Freshness& freshness,
                                              std::chrono::milliseconds wait);

  /// A SELECT of the same columns without any row: for finding out types.
  static std::string empty_select(const LakeTable& table, const std::vector<size_t>& wanted);

  /// From any thread: ends what waits for the mirror.
  void shut_down();

 private:
  Result<net::BlobMessage> call(const nlohmann::json& request, std::chrono::milliseconds timeout);

  const Options options_;
  duck::Engine& engine_;
  SegmentCache& segments_;
  std::mutex channel_mutex_;  ///< guards the pointer, for shut_down()
  std::shared_ptr<net::BlobChannel> channel_;
  uint64_t connection_ = 0;  ///< counts them: a snapshot ends with its own
  std::string mirror_;       ///< identity of the process at the other end
  std::shared_ptr<const LakeCatalog> catalog_;
};

}  // namespace tide::warehouse
