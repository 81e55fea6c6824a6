// Rows per second of one core: a tuple taken apart and its ten values appended.
//   pgtypes_bench [rows]
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <map>

#include "pgtypes/append.h"
#include "pgtypes/oids.h"
#include "pgtypes/tuple.h"
#include "pgtypes/varlena.h"

namespace tide::pgtypes {
namespace {

class BenchCatalog : public TypeCatalog {
 public:
  const TypeInfo* type(uint32_t oid) const override {
    auto found = types.find(oid);
    return found == types.end() ? nullptr : &found->second;
  }
  std::optional<std::string_view> enum_label(uint32_t) const override { return std::nullopt; }
  const std::vector<Attribute>* attributes(uint32_t) const override { return nullptr; }
  std::optional<std::string> object_name(uint32_t, uint32_t) const override { return std::nullopt; }
  std::map<uint32_t, TypeInfo> types;
};

std::string numeric_payload(uint16_t whole, uint16_t fraction) {
  std::string payload;
  append<uint16_t>(payload, 0x8000 | 2 << 7);  // short form, scale 2, weight 0
  append(payload, whole);
  append(payload, fraction);
  return payload;
}

int run(size_t rows) {
  struct Spec {
    uint32_t type;
    int32_t typmod;
    int16_t length;
    char align;
    std::string value;
  };
  auto fixed = [](auto value) {
    std::string bytes;
    append(bytes, value);
    return bytes;
  };
  auto short_datum = [](std::string_view payload) {
    return static_cast<char>((payload.size() + 1) << 1 | 1) + std::string(payload);
  };
  const Spec specs[] = {
      {oid::kInt8, -1, 8, 'd', fixed(int64_t{123456})},
      {oid::kInt4, -1, 4, 'i', fixed(int32_t{42})},
      {oid::kText, -1, -1, 'i', short_datum("customer number 123456")},
      {oid::kNumeric, (10 << 16 | 2) + 4, -1, 'i', short_datum(numeric_payload(1234, 5600))},
      {oid::kTimestamptz, -1, 8, 'd', fixed(int64_t{770000000000000})},
      {oid::kBool, -1, 1, 'c', fixed(uint8_t{1})},
      {oid::kDate, -1, 4, 'i', fixed(int32_t{8900})},
      {oid::kFloat8, -1, 8, 'd', fixed(3.25)},
      {oid::kVarchar, 44, -1, 'i', short_datum("delivered")},
      {oid::kInt2, -1, 2, 's', fixed(int16_t{7})},
  };
  BenchCatalog catalog;
  std::vector<Attribute> attributes;
  std::vector<ValueWriter> writers;
  std::vector<columns::Column> columns;
  std::string body(1, '\0');
  for (const Spec& spec : specs) {
    TypeInfo info;
    info.oid = spec.type;
    info.length = spec.length;
    info.align = spec.align;
    catalog.types[spec.type] = info;
    Attribute attribute;
    attribute.type = spec.type;
    attribute.length = spec.length;
    attribute.align = spec.align;
    attributes.push_back(attribute);
    if (spec.length > 0) {
      size_t align = spec.align == 'd' ? 8 : spec.align == 'i' ? 4 : spec.align == 's' ? 2 : 1;
      while ((body.size() - 1) % align != 0) body += '\0';
    }
    body += spec.value;
    writers.push_back(ValueWriter::create(catalog, spec.type, spec.typmod).value());
    columns.emplace_back(writers.back().column_type());
  }
  TupleReader reader(attributes);
  TupleView tuple;
  tuple.infomask2 = static_cast<uint16_t>(attributes.size());
  tuple.header_size = 24;
  tuple.body = body;
  std::vector<AttributeValue> values;
  auto timed = [&](bool with_append) {
    auto begin = std::chrono::steady_clock::now();
    for (size_t row = 0; row < rows; ++row) {
      if (!reader.read(tuple, values).ok()) std::abort();
      if (!with_append) continue;
      for (size_t i = 0; i < writers.size(); ++i) {
        if (!writers[i].append(values[i].datum, columns[i]).ok()) std::abort();
      }
      if (columns[0].size() == 100000) {
        for (columns::Column& column : columns) column.truncate(0);
      }
    }
    double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return static_cast<double>(rows) / seconds;
  };
  double only_read = timed(false);
  double both = timed(true);
  fmt::print("read {:.0f} rows/s, read and append {:.0f} rows/s ({} columns)\n", only_read, both,
             std::size(specs));
  return 0;
}

}  // namespace
}  // namespace tide::pgtypes

int main(int argc, char** argv) {
  return tide::pgtypes::run(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2000000);
}
