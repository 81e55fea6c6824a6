#include "storage/rfc3339.h"

#include <gtest/gtest.h>

#include "walstore/internal/test_wal.h"

namespace tide::storage {
namespace {

TEST(Rfc3339Test, ReadsWhatTheStandardAllows) {
  constexpr int64_t kNoon = 1795348800LL * 1000000;  // 2026-11-22T12:00:00Z
  for (const char* text : {"2026-11-22T12:00:00Z", "2026-11-22t12:00:00z",
                           "2026-11-22 12:00:00.000Z", "2026-11-22T13:00:00+01:00",
                           "2026-11-22T06:30:00-05:30", "2026-11-22T12:00:00.0000000009Z"}) {
    auto time = parse_rfc3339(text);
    ASSERT_OK(time);
    EXPECT_EQ(*time, kNoon) << text;
  }
  EXPECT_EQ(*parse_rfc3339("2026-11-22T12:00:00.5Z"), kNoon + 500000);
  EXPECT_EQ(*parse_rfc3339("2026-11-22T12:00:00.123456789Z"), kNoon + 123456);
  EXPECT_EQ(*parse_rfc3339("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(*parse_rfc3339("2024-02-29T00:00:00Z"), 1709164800LL * 1000000);
  EXPECT_EQ(*parse_rfc3339("2016-12-31T23:59:60Z"), 1483228800LL * 1000000)
      << "a leap second is the next one";
}

TEST(Rfc3339Test, RefusesAllElse) {
  for (const char* text : {"",
                           "now",
                           "2026-11-22",
                           "2026-11-22T12:00:00",
                           "2026-11-22T12:00Z",
                           "2026-13-01T00:00:00Z",
                           "2026-00-01T00:00:00Z",
                           "2026-02-30T00:00:00Z",
                           "2023-02-29T00:00:00Z",
                           "2026-11-22T24:00:00Z",
                           "2026-11-22T12:60:00Z",
                           "2026-11-22T12:00:00.Z",
                           "2026-11-22T12:00:00+1:00",
                           "2026-11-22T12:00:00+-1:30",
                           "2026-11-22T12:00:00+24:00",
                           "2026-11-22T12:00:00Zx",
                           "2026-11-22T12:00:00Z ",
                           " 2026-11-22T12:00:00Z",
                           "+026-11-22T12:00:00Z",
                           "2026-1-2T12:00:00Z",
                           "2026-11-22T12:00:00+01:00x",
                           "2026-11-22X12:00:00Z"}) {
    EXPECT_EQ(parse_rfc3339(text).status().code(), Code::kInvalid) << text;
  }
}

TEST(Rfc3339Test, WritesWhatItReads) {
  for (int64_t us :
       {int64_t{0}, int64_t{1}, int64_t{-1}, int64_t{-1500000}, int64_t{1795348800123456}}) {
    EXPECT_EQ(*parse_rfc3339(format_rfc3339(us)), us) << format_rfc3339(us);
  }
  EXPECT_EQ(format_rfc3339(1795348800123456), "2026-11-22T12:00:00.123456Z");
}

}  // namespace
}  // namespace tide::storage
