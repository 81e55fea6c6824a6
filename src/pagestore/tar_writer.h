#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tide::pagestore {

/// Writes a ustar stream (POSIX.1-1988) to a sink.
class TarWriter {
 public:
  using Sink = std::function<Status(std::string_view)>;
  explicit TarWriter(Sink sink) : sink_(std::move(sink)) {}

  Status directory(const std::string& path);
  Status file(const std::string& path, std::string_view content);
  /// The end mark; the stream is not complete without it.
  Status finish();

 private:
  Status header(const std::string& path, char type, unsigned mode, size_t size);
  Sink sink_;
};

}  // namespace tide::pagestore
