#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "pgwire/message.h"
#include "pgwire/time_zone.h"
#include "pgwire/type_oids.h"
#include "pgwire/value_binary.h"

namespace tide::pgwire {
namespace {

using testing::ElementsAre;

template <typename... Args>
std::string text(void (*write)(std::string&, Args...), std::type_identity_t<Args>... args) {
  std::string out;
  write(out, args...);
  return out;
}

TEST(ValueText, FloatsAsPostgresql) {
  auto f8 = [](double value) { return text(append_text_float8, value); };
  EXPECT_EQ(f8(0), "0");
  EXPECT_EQ(f8(-0.0), "-0");
  EXPECT_EQ(f8(1.5), "1.5");
  EXPECT_EQ(f8(0.1), "0.1");
  EXPECT_EQ(f8(1e14), "100000000000000");
  EXPECT_EQ(f8(1e15), "1e+15");
  EXPECT_EQ(f8(123456789012345680.0), "1.2345678901234568e+17");
  EXPECT_EQ(f8(0.0001), "0.0001");
  EXPECT_EQ(f8(0.00001), "1e-05");
  EXPECT_EQ(f8(1e300), "1e+300");
  EXPECT_EQ(f8(-123.25), "-123.25");
  EXPECT_EQ(f8(std::nan("")), "NaN");
  EXPECT_EQ(f8(-INFINITY), "-Infinity");
  EXPECT_EQ(text(append_text_float4, 1e6F), "1e+06");
  EXPECT_EQ(text(append_text_float4, 100000.0F), "100000");
  EXPECT_EQ(text(append_text_float4, 0.1F), "0.1");
  EXPECT_EQ(text(append_text_float4, 1234567.0F), "1.234567e+06");
}

TEST(ValueText, NumericKeepsItsScale) {
  EXPECT_EQ(text(append_text_numeric, 1230, 2), "12.30");
  EXPECT_EQ(text(append_text_numeric, -5, 2), "-0.05");
  EXPECT_EQ(text(append_text_numeric, 0, 3), "0.000");
  EXPECT_EQ(text(append_text_numeric, 7, 0), "7");
  int128 large = 1;
  for (int i = 0; i < 38; ++i) large *= 10;
  EXPECT_EQ(text(append_text_numeric, large - 1, 38), "0." + std::string(38, '9'));
}

TEST(ValueText, DatesAndTimes) {
  EXPECT_EQ(text(append_text_date, 0), "1970-01-01");
  EXPECT_EQ(text(append_text_date, static_cast<int32_t>(days_of(2024, 2, 29))), "2024-02-29");
  EXPECT_EQ(text(append_text_date, static_cast<int32_t>(days_of(-43, 3, 15))), "0044-03-15 BC");
  EXPECT_EQ(text(append_text_date, static_cast<int32_t>(days_of(12345, 1, 1))), "12345-01-01");
  EXPECT_EQ(text(append_text_date, kDateInfinity), "infinity");
  EXPECT_EQ(text(append_text_date, -kDateInfinity), "-infinity");
  EXPECT_EQ(text(append_text_timestamp, 1'500'000), "1970-01-01 00:00:01.5");
  EXPECT_EQ(text(append_text_timestamp, -1), "1969-12-31 23:59:59.999999");
  EXPECT_EQ(text(append_text_timestamptz, 0, 19'800), "1970-01-01 05:30:00+05:30");
  EXPECT_EQ(text(append_text_timestamptz, 0, -28'800), "1969-12-31 16:00:00-08");
  EXPECT_EQ(text(append_text_timestamptz, kTimestampInfinity, 0), "infinity");
  EXPECT_EQ(text(append_text_time, 86'400'000'000), "24:00:00");
}

TEST(ValueText, DaysAndDatesAgree) {
  for (int64_t day = -2'000'000; day < 2'000'000; day += 997) {
    CivilDate date = civil_date(day);
    EXPECT_EQ(days_of(date.year, date.month, date.day), day);
  }
}

TEST(ValueText, IntervalsAsPostgresql) {
  auto interval = [](int months, int days, int64_t micros) {
    std::string out;
    append_text_interval(out, {months, days, micros});
    return out;
  };
  EXPECT_EQ(interval(0, 0, 0), "00:00:00");
  EXPECT_EQ(interval(14, 3, 14'706'789'000), "1 year 2 mons 3 days 04:05:06.789");
  EXPECT_EQ(interval(1, 1, 0), "1 mon 1 day");
  EXPECT_EQ(interval(-14, 3, -1'000'000), "-1 years -2 mons +3 days -00:00:01");
  EXPECT_EQ(interval(0, -1, 3'600'000'000), "-1 days +01:00:00");
  EXPECT_EQ(interval(0, 0, -1), "-00:00:00.000001");
}

TEST(ValueText, Arrays) {
  auto element = [](std::string_view value) { return text(append_array_element, value); };
  EXPECT_EQ(element("plain"), "plain");
  EXPECT_EQ(element(""), "\"\"");
  EXPECT_EQ(element("a b"), "\"a b\"");
  EXPECT_EQ(element("NuLL"), "\"NuLL\"");
  EXPECT_EQ(element("q\"\\"), "\"q\\\"\\\\\"");
  EXPECT_THAT(parse_array("{1, NULL ,\"a \\\" b\",  c d  }")->elements,
              ElementsAre("1", std::nullopt, "a \" b", "c d"));
  EXPECT_TRUE(parse_array(" { } ")->elements.empty());
  for (std::string_view wrong :
       {"", "1", "{", "{1", "{1,}", "{,}", "{\"a", "{a}b", "{{1}}", "{\"a\"b}"}) {
    EXPECT_FALSE(parse_array(wrong).ok()) << wrong;
  }
}

TEST(ValueBinary, TextAndBinaryAgree) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 20'000; ++round) {
    int scale = static_cast<int>(random() % 20);
    int128 value = static_cast<int64_t>(random()) >> (random() % 64);
    if (round % 3 == 0) value *= static_cast<int64_t>(random() >> 20);
    std::string binary;
    append_binary_numeric(binary, value, scale);
    auto back = binary_to_text(oid::kNumeric, binary);
    ASSERT_TRUE(back.ok());
    ASSERT_EQ(*back, text(append_text_numeric, value, scale));

    int64_t micros = static_cast<int64_t>(random()) >> 10;
    binary.clear();
    append_binary_timestamp(binary, micros);
    ASSERT_EQ(*binary_to_text(oid::kTimestamp, binary), text(append_text_timestamp, micros));
    double number = static_cast<double>(static_cast<int64_t>(random())) / 1e6;
    binary.clear();
    append_binary_float8(binary, number);
    ASSERT_EQ(*binary_to_text(oid::kFloat8, binary), text(append_text_float8, number));
  }
}

TEST(ValueBinary, SurvivesRandomBytes) {
  std::mt19937 random(3);
  for (int round = 0; round < 200'000; ++round) {
    std::string bytes(random() % 24, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 3 == 0 ? 0 : random());
    for (uint32_t type : {oid::kBool, oid::kInt2, oid::kInt4, oid::kInt8, oid::kFloat4,
                          oid::kFloat8, oid::kNumeric, oid::kDate, oid::kTime, oid::kTimestamp,
                          oid::kInterval, oid::kUuid, oid::kJsonb, oid::kText, 12345U}) {
      binary_to_text(type, bytes).status().ignore("any outcome will do");
    }
    binary_to_array(oid::kInt4, bytes).status().ignore("any outcome will do");
    parse_array(bytes).status().ignore("any outcome will do");
    TimeZone::parse(bytes).status().ignore("any outcome will do");
  }
}

TEST(ValueBinary, ReadsArrays) {
  std::string bytes;
  append_binary_array_head(bytes, 2, true, oid::kInt4);
  append_int32(bytes, 4);
  append_int32(bytes, 42);
  append_int32(bytes, -1);
  EXPECT_THAT(binary_to_array(oid::kInt4, bytes)->elements, ElementsAre("42", std::nullopt));
  EXPECT_FALSE(binary_to_array(oid::kInt8, bytes).ok());
}

TEST(TimeZone, FixedOnes) {
  EXPECT_EQ(TimeZone::from_text("UTC")->offset_at(0), 0);
  EXPECT_EQ(TimeZone::from_text("<+0530>-05:30")->offset_at(0), 19'800);
  EXPECT_EQ(TimeZone::from_text("Europe/Berlin").status().code(), Code::kNotFound);
}

/// A hand-made file: version 2, no changes, the rule of Central Europe.
TEST(TimeZone, RulesOfTheFooter) {
  auto block = [] {
    std::string out = "TZif2";
    out.append(15, '\0');
    for (int count : {0, 0, 0, 0, 1, 4}) append_int32(out, count);
    append_int32(out, 3600);
    out.append(2, '\0');
    out += std::string("CET\0", 4);
    return out;
  };
  auto zone = TimeZone::parse(block() + block() + "\nCET-1CEST,M3.5.0,M10.5.0/3\n");
  ASSERT_TRUE(zone.ok()) << zone.status().to_string();
  auto at = [&](int64_t year, int month, int day, int hour) {
    return zone->offset_at(days_of(year, month, day) * 86'400 + hour * 3600);
  };
  EXPECT_EQ(at(2050, 1, 1, 0), 3600);
  EXPECT_EQ(at(2050, 7, 1, 0), 7200);
  EXPECT_EQ(at(2024, 3, 31, 0), 3600);
  EXPECT_EQ(at(2024, 3, 31, 1), 7200);
  EXPECT_EQ(at(2024, 10, 27, 0), 7200);
  EXPECT_EQ(at(2024, 10, 27, 1), 3600);
}

}  // namespace
}  // namespace tide::pgwire
