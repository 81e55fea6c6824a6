#include "obs/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <string>

namespace tide::obs {

void start_log(std::string_view role) {
  auto logger = spdlog::stderr_logger_mt("tide");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l " + std::string(role) + " [%t] %v");
  const char* level = std::getenv("TIDE_LOG");
  logger->set_level(level != nullptr && std::string_view(level) == "debug" ? spdlog::level::debug
                                                                           : spdlog::level::info);
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

void log_line(Level level, std::string_view line) {
  switch (level) {
    case Level::kDebug:
      spdlog::debug("{}", line);
      break;
    case Level::kInfo:
      spdlog::info("{}", line);
      break;
    case Level::kWarn:
      spdlog::warn("{}", line);
      break;
    case Level::kError:
      spdlog::error("{}", line);
      break;
  }
}

}  // namespace tide::obs
