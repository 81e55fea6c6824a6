#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "pgtypes/internal/test_server.h"
#include "pgtypes/internal/test_types.h"

namespace tide::pgtypes {
namespace {

/// Changes a few bytes, most often near the front where lengths and offsets are; sometimes cuts.
void mutate(std::string& bytes, size_t begin, std::mt19937_64& random) {
  for (size_t i = 1 + random() % 3; i > 0 && bytes.size() > begin; --i) {
    size_t range =
        random() % 2 == 0 ? bytes.size() - begin : std::min<size_t>(bytes.size() - begin, 24);
    char& byte = bytes[begin + random() % range];
    switch (random() % 4) {
      case 0:
        byte = static_cast<char>(byte ^ (1 << random() % 8));
        break;
      case 1:
        byte = static_cast<char>(random());
        break;
      case 2:
        byte = '\xFF';
        break;
      default:
        byte = '\0';
    }
  }
  if (random() % 8 == 0) bytes.resize(begin + random() % (bytes.size() - begin + 1));
}

/// Values of every type, damaged at random: an error or some other value, never a crash, and the
/// column stays whole. What sanitizers see is the point: run it under the dev preset too.
TEST(HostileTest, DamagedTuplesAndValuesAreRefusedOrRead) {
  if (!pgformat::postgres_is_installed()) GTEST_SKIP() << "PostgreSQL 15 is not installed";
  TestServer server;
  ASSERT_TRUE(server.start());
  ASSERT_TRUE(server.psql(type_tables_script()));
  ServerCatalog catalog;
  server.load_catalog(catalog);
  uint64_t seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);

  size_t printed = 0;
  size_t refused = 0;
  auto try_value = [&](const TypeTree& tree, const ValueWriter& writer, std::string_view datum,
                       columns::Column& column) {
    std::string text;
    (append_text(tree, datum, {}, text).ok() ? printed : refused) += 1;
    size_t before = column.size();
    auto appended = writer.append(datum, column);
    ASSERT_EQ(column.size(), before + (appended.ok() ? 1 : 0));
    if (column.size() > 200) column.truncate(0);
  };
  for (size_t i = 0; i <= kTypeCases.size(); ++i) {
    std::string table = i == kTypeCases.size() ? "ext" : fmt::format("t{}", i);
    const std::vector<Attribute>& attributes = *catalog.attributes(server.relation_oid(table));
    TupleReader reader(attributes);
    std::vector<ValueWriter> writers;
    std::vector<columns::Column> columns;
    for (const Attribute& attribute : attributes) {
      writers.push_back(ValueWriter::create(catalog, attribute.type, attribute.typmod).value());
      columns.emplace_back(writers.back().column_type());
    }
    std::vector<AttributeValue> values;
    for (const StoredRow& row : server.stored_rows(table, catalog)) {
      for (int round = 0; round < 60; ++round) {
        std::string item = row.item;
        mutate(item, 18, random);
        // The copy has no room behind it that a reader could stray into unseen.
        std::vector<char> exact(item.begin(), item.end());
        auto tuple = TupleView::from_page_item({exact.data(), exact.size()});
        if (!tuple.ok() || !reader.read(*tuple, values).ok()) {
          ++refused;
          continue;
        }
        for (size_t c = 0; c < values.size(); ++c) {
          if (!values[c].null)
            try_value(writers[c].type(), writers[c], values[c].datum, columns[c]);
        }
      }
      if (attributes.size() < 2 || !row.datums[1]) continue;
      // Plain form: damage goes into the payload, not into the length around it.
      bool varlena = attributes[1].length == -1;
      std::string scratch;
      std::string payload =
          varlena ? std::string(inline_payload(*row.datums[1], scratch).value()) : *row.datums[1];
      int rounds = payload.size() > 20000 ? 20 : 200;
      for (int round = 0; round < rounds; ++round) {
        std::string damaged = payload;
        mutate(damaged, 0, random);
        if (varlena) damaged = plain_datum(damaged);
        std::vector<char> exact(damaged.begin(), damaged.end());
        try_value(writers[1].type(), writers[1], {exact.data(), exact.size()}, columns[1]);
      }
    }
  }
  EXPECT_GT(printed, 10000U);
  EXPECT_GT(refused, 10000U);
}

}  // namespace
}  // namespace tide::pgtypes
