#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>

namespace tide {

/// Number of one branch's line of history inside a project; never used twice.
struct TimelineId {
  uint32_t value = 0;
  friend constexpr auto operator<=>(TimelineId, TimelineId) = default;
};

/// Number of one life of a timeline's compute; a higher one fences all lower ones.
struct Epoch {
  uint64_t value = 0;
  friend constexpr auto operator<=>(Epoch, Epoch) = default;
};

}  // namespace tide

template <>
struct fmt::formatter<tide::TimelineId> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(tide::TimelineId id, Context& context) const {
    return fmt::format_to(context.out(), "t{}", id.value);
  }
};

template <>
struct fmt::formatter<tide::Epoch> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(tide::Epoch epoch, Context& context) const {
    return fmt::format_to(context.out(), "e{}", epoch.value);
  }
};
