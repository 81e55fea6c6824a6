#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "pgtypes/internal/numeric.h"
#include "pgtypes/internal/print.h"

namespace tide::pgtypes {
namespace {

/// digits * 10^exponent.
struct Decimal {
  uint64_t digits = 0;
  int exponent = 0;
};

/// What std::to_chars(scientific) wrote: "d.ddde[+-]xx".
Decimal parse_scientific(const char* begin, const char* end) {
  Decimal decimal;
  const char* at = begin;
  for (int fraction = 0; at != end && *at != 'e'; ++at) {
    if (*at == '.') {
      fraction = 1;
      continue;
    }
    decimal.digits = decimal.digits * 10 + static_cast<uint64_t>(*at - '0');
    decimal.exponent -= fraction;
  }
  int exponent = 0;
  ++at;
  if (at != end && *at == '+') ++at;
  std::from_chars(at, end, exponent);
  decimal.exponent += exponent;
  return decimal;
}

/// decimal == odd * 2^power, exactly; `odd` is odd and below 2^56.
bool equals(Decimal decimal, uint64_t odd, int power) {
  if (decimal.digits == 0) return false;
  int twos = __builtin_ctzll(decimal.digits);
  uint64_t rest = decimal.digits >> twos;
  if (twos + decimal.exponent != power) return false;
  uint64_t& growing = decimal.exponent >= 0 ? rest : odd;
  for (int i = std::abs(decimal.exponent); i > 0; --i) {
    if (__builtin_mul_overflow(growing, uint64_t{5}, &growing)) return false;
  }
  return rest == odd;
}

/// Mantissa and exponent of a positive finite number, and its neighbours' distances.
template <typename Float>
struct Parts {
  static constexpr int kMantissaBits = sizeof(Float) == 4 ? 23 : 52;
  static constexpr int kBias = sizeof(Float) == 4 ? 127 : 1023;
  uint64_t mantissa;
  int exponent;
  bool narrow_below;  ///< the next smaller number is half as far away

  explicit Parts(Float value) {
    using Bits = std::conditional_t<sizeof(Float) == 4, uint32_t, uint64_t>;
    auto bits = load<Bits>(&value);
    uint64_t fraction = bits & ((Bits{1} << kMantissaBits) - 1);
    auto field = static_cast<int>(bits >> kMantissaBits &
                                  ((1U << (sizeof(Float) * 8 - 1 - kMantissaBits)) - 1));
    mantissa = field == 0 ? fraction : fraction | uint64_t{1} << kMantissaBits;
    exponent = std::max(field, 1) - kBias - kMantissaBits;
    narrow_below = fraction == 0 && field > 1;
  }

  /// Exactly halfway to a neighbour: reads back as this number only by rounding to even, which
  /// PostgreSQL does not rely on.
  bool is_halfway(Decimal decimal) const {
    return equals(decimal, 2 * mantissa + 1, exponent - 1) ||
           (narrow_below ? equals(decimal, 4 * mantissa - 1, exponent - 2)
                         : equals(decimal, 2 * mantissa - 1, exponent - 1));
  }
};

template <typename Float>
bool reads_back_as(Decimal decimal, Float value) {
  std::array<char, 48> text;
  auto end = fmt::format_to(text.data(), "{}e{}", decimal.digits, decimal.exponent);
  Float read = 0;
  std::from_chars(text.data(), end, read);
  return read == value;
}

/// The shortest decimal strictly between the halfway points to the neighbours, the nearest of
/// these.
template <typename Float>
Decimal shortest(Float value) {
  std::array<char, 48> text;
  char* end =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::scientific)
          .ptr;
  Decimal decimal = parse_scientific(text.data(), end);
  Parts<Float> parts(value);
  if (!parts.is_halfway(decimal)) return decimal;
  auto fits = [&](Decimal candidate) {
    return reads_back_as(candidate, value) && !parts.is_halfway(candidate);
  };
  int count = fmt::format_int(decimal.digits).size();
  for (int precision = count - 1; precision < 17; ++precision) {
    end = std::to_chars(text.data(), text.data() + text.size(), value,
                        std::chars_format::scientific, precision)
              .ptr;
    Decimal nearest = parse_scientific(text.data(), end);
    if (fits(nearest)) return nearest;
    for (int step : {1, -1}) {
      Decimal other{nearest.digits + static_cast<uint64_t>(step), nearest.exponent};
      if (fits(other)) return other;
    }
  }
  return decimal;
}

/// Plain notation for decimal exponents from -4 to below `limit`, as %g chooses.
template <typename Float>
void print_float(Float value, int limit, std::string& out) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::signbit(value)) {
    out += '-';
    value = -value;
  }
  if (std::isinf(value)) {
    out += "Infinity";
    return;
  }
  if (value == 0) {
    out += '0';
    return;
  }
  Decimal decimal = shortest(value);
  while (decimal.digits % 10 == 0) {
    decimal.digits /= 10;
    ++decimal.exponent;
  }
  fmt::format_int formatted(decimal.digits);
  std::string_view digits(formatted.data(), formatted.size());
  auto count = static_cast<int>(digits.size());
  int exponent = decimal.exponent + count - 1;
  if (exponent < -4 || exponent >= limit) {
    out += digits[0];
    if (count > 1) {
      out += '.';
      out += digits.substr(1);
    }
    fmt::format_to(std::back_inserter(out), "e{}{:02}", exponent < 0 ? '-' : '+',
                   std::abs(exponent));
  } else if (exponent < 0) {
    out += "0.";
    out.append(static_cast<size_t>(-exponent - 1), '0');
    out += digits;
  } else if (exponent + 1 >= count) {
    out += digits;
    out.append(static_cast<size_t>(exponent + 1 - count), '0');
  } else {
    out += digits.substr(0, static_cast<size_t>(exponent) + 1);
    out += '.';
    out += digits.substr(static_cast<size_t>(exponent) + 1);
  }
}

}  // namespace

void print_float4(float value, std::string& out) { print_float(value, 6, out); }
void print_float8(double value, std::string& out) { print_float(value, 15, out); }

Status print_numeric(std::string_view payload, std::string& out) {
  Numeric number;
  if (!Numeric::parse(payload, number)) return corrupt_value("numeric", "its digits are not there");
  switch (number.special) {
    case Numeric::kNan:
      out += "NaN";
      return {};
    case Numeric::kInfinity:
      out += "Infinity";
      return {};
    case Numeric::kMinusInfinity:
      out += "-Infinity";
      return {};
    case Numeric::kFinite:
      break;
  }
  auto append_group = [&](int index) {
    uint16_t group = number.group(index);
    std::array<char, 4> text = {
        static_cast<char>('0' + group / 1000), static_cast<char>('0' + group / 100 % 10),
        static_cast<char>('0' + group / 10 % 10), static_cast<char>('0' + group % 10)};
    out.append(text.data(), 4);
  };
  if (number.negative) out += '-';
  if (number.weight < 0) {
    out += '0';
  } else {
    fmt::format_int first(number.group(0));
    out.append(first.data(), first.size());
    for (int i = 1; i <= number.weight; ++i) append_group(i);
  }
  if (number.scale > 0) {
    out += '.';
    size_t end = out.size() + static_cast<size_t>(number.scale);
    for (int i = number.weight + 1; out.size() < end; ++i) append_group(i);
    out.resize(end);
  }
  return {};
}

void print_money(int64_t value, std::string& out) {
  uint64_t absolute = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  if (value < 0) out += '-';
  out += '$';
  fmt::format_int units(absolute / 100);
  for (size_t i = 0; i < units.size(); ++i) {
    if (i > 0 && (units.size() - i) % 3 == 0) out += ',';
    out += units.data()[i];
  }
  fmt::format_to(std::back_inserter(out), ".{:02}", absolute % 100);
}

}  // namespace tide::pgtypes
