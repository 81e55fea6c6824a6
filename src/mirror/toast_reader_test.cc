#include "mirror/toast_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "mirror/heap_scan.h"
#include "mirror/internal/data_directory.h"
#include "pgtypes/tuple.h"

namespace tide::mirror {
namespace {

using pgformat::TestCluster;

/// Values of one chunk to thousands, compressed and not, with dead ones between.
const char* const kValues = R"SQL(
CREATE TABLE t (id int PRIMARY KEY, plain text, squeezed text);
ALTER TABLE t ALTER plain SET STORAGE EXTERNAL;
CREATE FUNCTION noise(n int, seed int) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(md5((seed * 1000 + i)::text) || ' and the same words again ', '') FROM generate_series(1, n) i $$;
INSERT INTO t SELECT i, repeat(md5(i::text), 63 + i % 200), noise(150 + i % 300, i)
  FROM generate_series(1, 600) i;
DELETE FROM t WHERE id % 3 = 0;
UPDATE t SET plain = repeat(md5('new' || id), 80) WHERE id % 5 = 0;
VACUUM t;
INSERT INTO t SELECT i, repeat(md5(i::text), 100), NULL FROM generate_series(601, 2000) i;
DELETE FROM t WHERE id % 7 = 0;
INSERT INTO t VALUES (9000, repeat('0123456789', 600000), noise(60000, 1));
INSERT INTO t VALUES (9001, repeat(md5('lz'), 70), NULL);
SET default_toast_compression = lz4;
INSERT INTO t VALUES (9002, NULL, noise(9000, 2));
UPDATE t SET id = id + 100000 WHERE id % 11 = 0;
CHECKPOINT;
)SQL";

class Damaging : public DataDirectory {
 public:
  using DataDirectory::DataDirectory;
  Result<std::string> pages(const RelFork& rel, uint32_t first, uint32_t count, Lsn at) override {
    std::string bytes = TIDE_TRY(DataDirectory::pages(rel, first, count, at));
    if (rel == circle && first > 0) {
      std::memcpy(bytes.data() + kPageSize - 12, &first,
                  sizeof first);  // its right neighbour: itself
    }
    if (rel != damaged || random() % 3 == 0) return bytes;
    for (int i = 0; i < 3; ++i) {
      // Line pointers, items' heads, the special space.
      size_t at_byte = random() % 3 == 0   ? random() % 200
                       : random() % 2 == 0 ? kPageSize - 16 + random() % 16
                                           : random() % kPageSize;
      bytes[at_byte] = static_cast<char>(random());
    }
    return bytes;
  }
  RelFork damaged;
  RelFork circle;
  std::mt19937 random{5};
};

TEST(ToastReader, ReadsWhatPostgresReads) {
  if (!pgformat::postgres_is_installed()) GTEST_SKIP() << "PostgreSQL is not installed";
  TestCluster cluster;
  ASSERT_TRUE(cluster.init(""));
  ASSERT_TRUE(cluster.start());
  ASSERT_TRUE(cluster.sql(kValues));
  std::string names;
  ASSERT_TRUE(
      cluster.sql("SELECT c.oid || ' pg_toast.' || c.relname FROM pg_class c WHERE oid = "
                  "(SELECT reltoastrelid FROM pg_class WHERE relname = 't')",
                  &names));
  std::string toast_oid = names.substr(0, names.find(' '));
  std::string toast = names.substr(toast_oid.size() + 1);
  toast.pop_back();
  RelFork heap = file_of(cluster, "t");
  RelFork toast_heap = file_of(cluster, toast);
  RelFork toast_index = file_of(cluster, toast + "_index");
  std::string wanted;
  ASSERT_TRUE(cluster.sql("SELECT id, plain, squeezed FROM t ORDER BY id", &wanted));

  Damaging source(cluster.data());
  std::vector<pgtypes::Attribute> attributes(3);
  for (size_t i = 0; i < 3; ++i) {
    attributes[i].number = static_cast<int16_t>(i + 1);
    attributes[i].type = 1;
    attributes[i].length = i == 0 ? int16_t{4} : int16_t{-1};
  }
  pgtypes::TupleReader reader(attributes);
  TransactionStatus transactions(source, Lsn(1));
  std::map<int32_t, std::string> rows;
  std::vector<pgtypes::ToastPointer> pointers;
  size_t most_chunks = 0;
  size_t compressed = 0;
  Status scanned = scan_heap(source, heap, Lsn(1), transactions, [&](const ScannedTuple& found) {
    std::vector<pgtypes::AttributeValue> values;
    const pgformat::HeapTuple& tuple = found.tuple;
    TIDE_TRY(
        reader.read({tuple.infomask2, tuple.infomask, tuple.hoff, as_chars(tuple.body)}, values));
    auto id = load<int32_t>(values[0].datum.data());
    std::string row = std::to_string(id);
    for (int i = 1; i <= 2; ++i) {
      row += '|';
      if (values[i].null) continue;
      std::string datum(values[i].datum);
      if (pgtypes::is_external(datum)) {
        pointers.push_back(TIDE_TRY(pgtypes::toast_pointer(datum)));
        EXPECT_EQ(std::to_string(pointers.back().toast_relation), toast_oid);
        most_chunks = std::max<size_t>(most_chunks, pointers.back().external_size / 1996);
        compressed += pointers.back().compressed() ? 1 : 0;
        datum = TIDE_TRY(read_toasted(source, toast_heap, toast_index, pointers.back(), Lsn(1)));
      }
      std::string scratch;
      row += TIDE_TRY(pgtypes::inline_payload(datum, scratch));
    }
    rows[id] = std::move(row);
    return Status();
  });
  ASSERT_TRUE(scanned.ok()) << scanned.to_string();
  std::string found;
  for (const auto& [id, row] : rows) found += row + "\n";
  EXPECT_TRUE(found == wanted);
  EXPECT_GT(pointers.size(), 1500U);
  EXPECT_GT(most_chunks, 3000U);
  EXPECT_GT(compressed, 300U);
  // A tree of several levels, or half of the reader was not looked at.
  EXPECT_GT(source.rel_size(toast_index, Lsn(1)).value().value_or(0), 20U);

  // Values that are not there, or not as the pointer says.
  pgtypes::ToastPointer pointer = pointers[10];
  auto code = [&] {
    return read_toasted(source, toast_heap, toast_index, pointer, Lsn(1)).status().code();
  };
  EXPECT_EQ(code(), Code::kOk);
  pointer.value_id = 1;
  EXPECT_EQ(code(), Code::kCorrupt);
  pointer.value_id = 0xFFFFFFFF;
  EXPECT_EQ(code(), Code::kCorrupt);
  pointer = pointers[10];
  pointer.external_size += 5;
  pointer.raw_size += 5;
  EXPECT_EQ(code(), Code::kCorrupt);

  // A leaf that is its own neighbour: a value whose chunks go on behind it is never complete.
  source.circle = toast_index;
  size_t circles = 0;
  for (const pgtypes::ToastPointer& one : pointers) {
    pointer = one;
    circles += code() == Code::kCorrupt ? 1 : 0;
  }
  EXPECT_GT(circles, 5U);
  source.circle = {};

  // Wrong bytes end in an error, or in the right value if they did not matter; always they end.
  size_t failed = 0;
  for (const RelFork& damaged : {toast_index, toast_heap}) {
    source.damaged = damaged;
    for (int i = 0; i < 1500; ++i) {
      const pgtypes::ToastPointer& one = pointers[source.random() % pointers.size()];
      if (one.external_size > 100'000) continue;
      failed += read_toasted(source, toast_heap, toast_index, one, Lsn(1)).ok() ? 0 : 1;
    }
  }
  EXPECT_GT(failed, 50U);
}

}  // namespace
}  // namespace tide::mirror
