#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "base/result.h"

namespace tide {

inline constexpr size_t kPageSize = 8192;

/// PostgreSQL's fork numbers.
enum class Fork : uint8_t { kMain = 0, kFreeSpaceMap = 1, kVisibilityMap = 2, kInit = 3 };

/// A relation's file node (tablespace, database, relation number) and one of its forks.
struct RelFork {
  uint32_t spc = 0;
  uint32_t db = 0;
  uint32_t rel = 0;
  Fork fork = Fork::kMain;

  friend constexpr auto operator<=>(const RelFork&, const RelFork&) = default;

  /// Reads "SPC/DB/REL" or "SPC/DB/REL.FORK", FORK one of main, fsm, vm, init; kInvalid otherwise.
  static Result<RelFork> parse(std::string_view text);
};

/// One block of a relation fork.
struct PageTag {
  RelFork rel;
  uint32_t block = 0;
  friend constexpr auto operator<=>(const PageTag&, const PageTag&) = default;
};

std::string_view fork_name(Fork fork);

}  // namespace tide

template <>
struct fmt::formatter<tide::RelFork> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(const tide::RelFork& rel, Context& context) const {
    return fmt::format_to(context.out(), "{}/{}/{}.{}", rel.spc, rel.db, rel.rel,
                          tide::fork_name(rel.fork));
  }
};

template <>
struct fmt::formatter<tide::PageTag> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(const tide::PageTag& tag, Context& context) const {
    return fmt::format_to(context.out(), "{} block {}", tag.rel, tag.block);
  }
};

template <>
struct std::hash<tide::RelFork> {
  size_t operator()(const tide::RelFork& rel) const {
    uint64_t mixed = (uint64_t{rel.db} << 32 | rel.rel) * 0x9E3779B97F4A7C15ULL;
    mixed ^= (uint64_t{rel.spc} << 8 | static_cast<uint8_t>(rel.fork)) * 0xC2B2AE3D27D4EB4FULL;
    return mixed ^ mixed >> 29;
  }
};

template <>
struct std::hash<tide::PageTag> {
  size_t operator()(const tide::PageTag& tag) const {
    uint64_t mixed = std::hash<tide::RelFork>()(tag.rel) + tag.block * 0x9E3779B97F4A7C15ULL;
    return mixed ^ mixed >> 32;
  }
};
