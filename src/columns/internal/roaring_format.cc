#include "columns/internal/roaring_format.h"

#include <bit>
#include <cstdint>
#include <vector>

namespace tide::columns {
namespace {

// https://github.com/RoaringBitmap/RoaringFormatSpec
constexpr uint32_t kCookieWithoutRuns = 12346;
constexpr uint16_t kCookieWithRuns = 12347;
constexpr uint32_t kOffsetsFrom = 4;  ///< With runs, offsets exist from so many containers on.
constexpr uint32_t kArrayMax = 4096;  ///< Values of an array container.
constexpr size_t kBitmapBytes = 8192;

Status damaged(const char* what) {
  return Status(Code::kCorrupt, std::string("Roaring bitmap: ") + what);
}

struct Container {
  uint16_t key;
  uint32_t cardinality;
  bool run;
};

Status check_array(ByteReader& reader, uint32_t cardinality) {
  BytesView values = reader.take(size_t{cardinality} * 2);
  if (reader.failed()) return damaged("cut short in an array");
  for (uint32_t i = 1; i < cardinality; ++i) {
    if (load<uint16_t>(values.data() + 2 * i) <= load<uint16_t>(values.data() + 2 * i - 2)) {
      return damaged("array values are not ascending");
    }
  }
  return {};
}

Status check_bitmap(ByteReader& reader, uint32_t cardinality) {
  BytesView words = reader.take(kBitmapBytes);
  if (reader.failed()) return damaged("cut short in a bitmap");
  uint32_t bits = 0;
  for (size_t i = 0; i < kBitmapBytes; i += 8) {
    bits += static_cast<uint32_t>(std::popcount(load<uint64_t>(words.data() + i)));
  }
  return bits == cardinality ? Status() : damaged("bitmap has another number of bits than stated");
}

Status check_runs(ByteReader& reader, uint32_t cardinality) {
  auto count = reader.read<uint16_t>();
  BytesView runs = reader.take(size_t{count} * 4);
  if (reader.failed()) return damaged("cut short in runs");
  uint32_t total = 0;
  uint32_t next = 0;  // The least value at which a run may begin.
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t begin = load<uint16_t>(runs.data() + size_t{4} * i);
    uint32_t more = load<uint16_t>(runs.data() + size_t{4} * i + 2);
    if (begin < next || begin + more > 0xFFFF) return damaged("runs overlap or overflow");
    next = begin + more + 1;
    total += more + 1;
  }
  return total == cardinality ? Status()
                              : damaged("runs hold another number of values than stated");
}

}  // namespace

Result<size_t> check_roaring(BytesView bytes) {
  ByteReader reader(bytes);
  auto cookie = reader.read<uint32_t>();
  uint32_t count = 0;
  BytesView run_flags;
  bool runs = (cookie & 0xFFFF) == kCookieWithRuns;
  if (runs) {
    count = (cookie >> 16) + 1;
    run_flags = reader.take((count + 7) / 8);
  } else if (cookie == kCookieWithoutRuns) {
    count = reader.read<uint32_t>();
  } else {
    return damaged("unknown cookie");
  }
  if (reader.failed() || count > 0x10000) return damaged("bad number of containers");
  std::vector<Container> containers;
  containers.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    Container container{};
    container.key = reader.read<uint16_t>();
    container.cardinality = uint32_t{reader.read<uint16_t>()} + 1;
    container.run = runs && (std::to_integer<unsigned>(run_flags[i / 8]) >> i % 8 & 1) != 0;
    if (reader.failed()) return damaged("cut short in its header");
    if (i > 0 && container.key <= containers.back().key) return damaged("keys are not ascending");
    containers.push_back(container);
  }
  BytesView offsets;
  if (!runs || count >= kOffsetsFrom) offsets = reader.take(size_t{count} * 4);
  if (reader.failed()) return damaged("cut short in its offsets");
  for (uint32_t i = 0; i < count; ++i) {
    const Container& container = containers[i];
    if (!offsets.empty() && load<uint32_t>(offsets.data() + size_t{4} * i) != reader.position()) {
      return damaged("an offset does not point at its container");
    }
    if (container.run) {
      TIDE_TRY(check_runs(reader, container.cardinality));
    } else if (container.cardinality <= kArrayMax) {
      TIDE_TRY(check_array(reader, container.cardinality));
    } else {
      TIDE_TRY(check_bitmap(reader, container.cardinality));
    }
  }
  return reader.position();
}

}  // namespace tide::columns
