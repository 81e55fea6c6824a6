#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "columns/column.h"

namespace tide::duck {

/// For tests: a column of every type.
inline std::vector<columns::Field> every_field() {
  using columns::Kind;
  using columns::Type;
  return {
      {"b", Kind::kBool},
      {"i16", Kind::kInt16},
      {"i32", Kind::kInt32},
      {"i64", Kind::kInt64},
      {"f", Kind::kFloat},
      {"d", Kind::kDouble},
      {"n4", Type::decimal(4, 2)},
      {"n9", Type::decimal(9, 0)},
      {"n18", Type::decimal(18, 18)},
      {"n38", Type::decimal(38, 10)},
      {"s", Kind::kString},
      {"x", Kind::kBinary},
      {"day", Kind::kDate},
      {"tz", Kind::kTimestamp},
      {"ntz", Kind::kTimestampNtz},
      {"l", Type::list(Kind::kString)},
      {"ll", Type::list(Type::list(Kind::kInt32))},
      {"a \"b\".c", Type::structure({{"p q", Kind::kInt64},
                                     {"l", Type::list(Type::structure({{"z", Kind::kString}}))}})}};
}

/// Rows that differ; each column has nulls, in a rhythm of its own, and its edge values.
inline std::shared_ptr<columns::Batch> every_batch(int64_t rows) {
  constexpr __int128 kMax38 = (static_cast<__int128>(5'421'010'862'427'522'170) << 64) +
                              687'399'551'400'673'279;  // 10^38 - 1
  auto batch = std::make_shared<columns::Batch>(every_field());
  auto& c = batch->columns;
  for (int64_t i = 0; i < rows; ++i) {
    const bool low = i % 11 == 5;
    const bool high = i % 11 == 7;
    auto null = [&](size_t column) {
      if (i % static_cast<int64_t>(column + 3) != 2) return false;
      c[column].append_null();
      return true;
    };
    auto number = [&]<typename T>(size_t column, T min, T max) {
      if (null(column)) return;
      c[column].append<T>(low ? min : high ? max : static_cast<T>(i % 100));
    };
    using L16 = std::numeric_limits<int16_t>;
    using L32 = std::numeric_limits<int32_t>;
    using L64 = std::numeric_limits<int64_t>;
    number(0, uint8_t{0}, uint8_t{1});
    if (!c[0].is_null(static_cast<size_t>(i)) && !low && !high) {
      c[0].truncate(static_cast<size_t>(i));
      c[0].append<uint8_t>(i % 2);
    }
    number(1, L16::min(), L16::max());
    number(2, L32::min(), L32::max());
    number(3, L64::min(), L64::max());
    number(4, -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::max());
    number(5, std::numeric_limits<double>::lowest(), std::numeric_limits<double>::infinity());
    number(6, int16_t{-9999}, int16_t{9999});
    number(7, int32_t{-999'999'999}, int32_t{999'999'999});
    number(8, int64_t{-999'999'999'999'999'999}, int64_t{999'999'999'999'999'999});
    number(9, -kMax38, kMax38);
    const std::string text =
        std::string(static_cast<size_t>(i % 30), 'a') + "é" + std::to_string(i);
    if (!null(10)) c[10].append_bytes(i % 11 == 3 ? "" : text);
    if (!null(11)) c[11].append_bytes(std::string_view("\0\xff", 2));
    number(12, -719'162, 2'932'896);  // 0001-01-01, 9999-12-31
    number(13, int64_t{-62'135'596'800'000'000}, int64_t{253'402'300'799'999'999});
    number(14, int64_t{-62'135'596'800'000'000}, int64_t{253'402'300'799'999'999});
    if (!null(15)) {
      for (int64_t k = 0; k < i % 4; ++k) {
        if (k == 2) {
          c[15].child(0).append_null();
        } else {
          c[15].child(0).append_bytes(text);
        }
      }
      c[15].end_list();
    }
    if (!null(16)) {
      for (int64_t k = 0; k < i % 3; ++k) {
        if (i % 5 == 0) {
          c[16].child(0).append_null();
          continue;
        }
        for (int64_t m = 0; m < k; ++m)
          c[16].child(0).child(0).append<int32_t>(static_cast<int>(i));
        c[16].child(0).end_list();
      }
      c[16].end_list();
    }
    if (!null(17)) {
      c[17].child(0).append<int64_t>(i);
      auto& list = c[17].child(1);
      for (int64_t k = 0; k < i % 2; ++k) {
        list.child(0).child(0).append_bytes(text);
        list.child(0).end_struct();
      }
      list.end_list();
      c[17].end_struct();
    }
  }
  return batch;
}

}  // namespace tide::duck
