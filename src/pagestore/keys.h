#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/page_tag.h"
#include "pgformat/page.h"

namespace tide::pagestore {

/// What a stored key is about: the first byte of every key.
///
/// Versioned kinds have keys  kind | timeline | body | ~LSN  (all big endian): versions of one
/// thing lie together, newest first. The body is what the functions below build.
enum class Kind : char {
  kPage = 'p',     ///< body: rel fork + block       value: page_version.h
  kRelSize = 's',  ///< body: rel fork               value: u32 blocks, or kNoRelation
  kInitFork =
      'u',  ///< body: rel fork               value: "1", or "" once dropped: unlogged relations
  kDatabase = 'd',    ///< body: spc, db                value: "1", or "" once dropped
  kRelMap = 'm',      ///< body: spc, db                value: pg_filenode.map
  kSlru = 'l',        ///< body: slru, page             value: page_version.h
  kTwoPhase = 'x',    ///< body: xid                    value: state file, or "" once finished
  kOrigin = 'o',      ///< body: origin id              value: u64 remote LSN, or ""
  kCheckpoint = 'c',  ///< body: empty                  value: tracked_checkpoint.h
  kControl = 'f',     ///< body: empty                  value: the 8,192 bytes of pg_control
  kCommitTime = 't',  ///< not versioned: microseconds since 1970 | LSN -> "": where a commit begins
  kIngested = 'i',  ///< not versioned: timeline      value: u64: this and all below is in the store
  kTimeline = 'M',  ///< not versioned: timeline      value: JSON of TimelineInfo; written durably
  kMetadata = 'X',  ///< not versioned: name          value: a blob; written durably
};

inline constexpr uint32_t kNoRelation = UINT32_MAX;

using pgformat::Slru;

std::string rel_body(const RelFork& rel);
std::string page_body(const PageTag& tag);
std::string slru_body(Slru slru, uint32_t page);
std::string database_body(uint32_t spc, uint32_t db);
std::string number_body(uint32_t number);

RelFork rel_of_body(std::string_view body);
PageTag page_of_body(std::string_view body);
struct SlruPage {
  Slru slru;
  uint32_t page;
};
SlruPage slru_of_body(std::string_view body);

/// kind | timeline | body: the prefix that all versions of one thing share.
std::string version_prefix(Kind kind, TimelineId timeline, std::string_view body);
/// version_prefix + ~LSN.
std::string version_key(Kind kind, TimelineId timeline, std::string_view body, Lsn lsn);

/// A versioned key taken apart; the views point into the key.
struct KeyParts {
  Kind kind;
  TimelineId timeline;
  std::string_view body;
  Lsn lsn;
};
/// Nothing for keys too short to be versioned.
std::optional<KeyParts> split_key(std::string_view key);

inline constexpr size_t kKeyHeadSize = 5;  // kind and timeline
inline constexpr size_t kKeyLsnSize = 8;

}  // namespace tide::pagestore
