#pragma once

#include <fmt/format.h>

#include <string_view>

namespace tide::obs {

/// ERROR: a person must look. WARN: odd, and we went on. INFO: state changes. DEBUG: off in
/// production.
enum class Level { kDebug, kInfo, kWarn, kError };

/// Sends this process's log to standard error with `role` in every line; TIDE_LOG=debug shows all.
void start_log(std::string_view role);

void log_line(Level level, std::string_view line);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  log_line(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  log_line(Level::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  log_line(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tide::obs
