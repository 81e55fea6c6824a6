#include "pagestore/tar_writer.h"

#include <fmt/format.h>

#include <cstring>

namespace tide::pagestore {
namespace {

constexpr size_t kBlock = 512;

}  // namespace

Status TarWriter::header(const std::string& path, char type, unsigned mode, size_t size) {
  if (path.size() >= 100) return {Code::kBug, fmt::format("path too long for tar: {}", path)};
  char block[kBlock] = {};
  auto put = [&block](size_t at, std::string_view text) {
    std::memcpy(block + at, text.data(), text.size());
  };
  put(0, path);
  put(100, fmt::format("{:07o}", mode));
  put(108, "0000000");
  put(116, "0000000");
  put(124, fmt::format("{:011o}", size));
  put(136, "00000000000");
  std::memset(block + 148, ' ', 8);
  block[156] = type;
  std::memcpy(block + 257, "ustar\00000", 8);
  unsigned sum = 0;
  for (char c : block) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum));
  block[154] = '\0';
  return sink_({block, kBlock});
}

Status TarWriter::directory(const std::string& path) { return header(path + "/", '5', 0700, 0); }

Status TarWriter::file(const std::string& path, std::string_view content) {
  TIDE_TRY(header(path, '0', 0600, content.size()));
  TIDE_TRY(sink_(content));
  size_t rest = content.size() % kBlock;
  return rest == 0 ? Status() : sink_(std::string(kBlock - rest, '\0'));
}

Status TarWriter::finish() { return sink_(std::string(2 * kBlock, '\0')); }

}  // namespace tide::pagestore
