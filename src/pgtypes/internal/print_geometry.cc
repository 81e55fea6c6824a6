#include "base/bytes.h"
#include "pgtypes/internal/print.h"

namespace tide::pgtypes {
namespace {

constexpr size_t kPointSize = 16;

double number_at(std::string_view bytes, size_t index) {
  return load<double>(bytes.data() + index * 8);
}

/// "x,y"
void append_pair(std::string_view point, std::string& out) {
  print_float8(number_at(point, 0), out);
  out += ',';
  print_float8(number_at(point, 1), out);
}

/// "(x,y),(x,y)"
void append_points(std::string_view points, std::string& out) {
  for (size_t at = 0; at + kPointSize <= points.size(); at += kPointSize) {
    if (at > 0) out += ',';
    out += '(';
    append_pair(points.substr(at, kPointSize), out);
    out += ')';
  }
}

}  // namespace

Status print_geometry(Format format, std::string_view payload, std::string& out) {
  switch (format) {
    case Format::kPoint:
    case Format::kBox:
      append_points(payload, out);
      return {};
    case Format::kLseg:
      out += '[';
      append_points(payload, out);
      out += ']';
      return {};
    case Format::kLine:
      out += '{';
      print_float8(number_at(payload, 0), out);
      out += ',';
      append_pair(payload.substr(8), out);
      out += '}';
      return {};
    case Format::kCircle:
      out += "<(";
      append_pair(payload, out);
      out += "),";
      print_float8(number_at(payload, 2), out);
      out += '>';
      return {};
    default:
      break;
  }
  // A path has count, "closed" and a word of padding before its points, a polygon count and
  // bounding box.
  size_t start = format == Format::kPath ? 12 : 36;
  auto count = payload.size() < start ? -1 : load<int32_t>(payload.data());
  if (count < 0 || (payload.size() - start) / kPointSize < static_cast<size_t>(count)) {
    return corrupt_value(format == Format::kPath ? "path" : "polygon", "its points are not there");
  }
  bool closed = format == Format::kPolygon || load<int32_t>(payload.data() + 4) != 0;
  out += closed ? '(' : '[';
  append_points(payload.substr(start, static_cast<size_t>(count) * kPointSize), out);
  out += closed ? ')' : ']';
  return {};
}

}  // namespace tide::pgtypes
