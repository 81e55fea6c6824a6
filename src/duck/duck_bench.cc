#include <fmt/format.h>
#include <stdlib.h>
#include <time.h>

#include <chrono>
#include <functional>

#include "duck/connection.h"
#include "duck/engine.h"
#include "duck/parquet_reader.h"
#include "duck/parquet_writer.h"
#include "env/file.h"

// Rates of what the mirror and the warehouse do all day, on one thread. The best of five rounds.
namespace tide::duck {
namespace {

constexpr int64_t kRows = 2'000'000;

template <typename T>
T must(Result<T> result) {
  if (!result.ok()) {
    fmt::print(stderr, "{}\n", result.status().to_string());
    exit(1);
  }
  return *std::move(result);
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// Processor time, which others on the machine disturb little, and time on the clock.
void measure(std::string_view what, double units, const std::function<void()>& work) {
  double cpu = 1e9;
  double wall = 1e9;
  for (int round = 0; round < 5; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    const double cpu_begin = cpu_seconds();
    work();
    cpu = std::min(cpu, cpu_seconds() - cpu_begin);
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    wall = std::min(wall, passed.count());
  }
  fmt::print("{:<50} cpu {:>9.3f} ms, wall {:>9.3f} ms; cpu {:>8.2f} M/s, {:>8.2f} ns each\n", what,
             cpu * 1e3, wall * 1e3, units / cpu / 1e6, cpu * 1e9 / units);
}

std::vector<columns::Field> fields() {
  using columns::Kind;
  return {{"id", Kind::kInt64},
          {"customer", Kind::kInt32},
          {"price", columns::Type::decimal(10, 2)},
          {"note", Kind::kString},
          {"created", Kind::kTimestamp},
          {"__tide_ctid", Kind::kInt64}};
}

std::shared_ptr<columns::Batch> rows() {
  auto batch = std::make_shared<columns::Batch>(fields());
  uint64_t random = 88172645463325252;
  for (int64_t i = 0; i < kRows; ++i) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    auto& c = batch->columns;
    c[0].append<int64_t>(i);
    c[1].append<int32_t>(static_cast<int32_t>(random % 100'000));
    c[2].append<int64_t>(static_cast<int64_t>(random % 1'000'000));
    c[3].append_bytes(fmt::format("order {} of customer", random % 50'000));
    c[4].append<int64_t>(1'700'000'000'000'000 + i * 1000);
    c[5].append<int64_t>((i / 60 << 16) | i % 60);
  }
  return batch;
}

void run() {
  std::string pattern = "/tmp/tide-duck-bench-XXXXXX";
  const std::string directory = mkdtemp(pattern.data());
  const auto engine = must(Engine::open({.memory_limit_bytes = uint64_t{2} << 30, .threads = 1}));
  const auto connection = must(engine->connect());
  auto drain = [&](const std::string& sql) { must(must(connection->query(sql))->all()); };
  const auto batch = rows();
  const Registration registered = must(engine->register_rows({{batch, nullptr}}, fields()));
  const std::string table = fmt::format("tide_rows({})", registered.id());
  const double mb = static_cast<double>(batch->bytes()) / 1e6;
  fmt::print("{} rows of 6 columns, {:.0f} MB in memory, one thread\n", kRows, mb);

  measure("register_rows (checks UTF-8), rows", kRows, [&] {
    must(engine->register_rows({{batch, nullptr}}, fields()));
  });
  measure("tide_rows: sum of one column, rows", kRows,
          [&] { drain("SELECT sum(customer) FROM " + table); });
  measure("tide_rows: something of every column, rows", kRows, [&] {
    drain(
        "SELECT sum(id), sum(customer), sum(price), max(note), max(created), max(__tide_ctid) "
        "FROM " +
        table);
  });
  columns::RowSet gone;
  for (uint32_t row = 0; row < kRows; row += 10) gone.add(row);
  const auto deleted = std::make_shared<DeletedRows>(gone);
  const Registration holes = must(engine->register_rows({{batch, deleted}}, fields()));
  measure("tide_rows: the same, a tenth deleted, rows", kRows, [&] {
    drain(fmt::format(
        "SELECT sum(id), sum(customer), sum(price), max(note), max(created), max(__tide_ctid) "
        "FROM tide_rows({})",
        holes.id()));
  });
  const Registration deletions = engine->register_deletions({deleted});
  measure("scan of range() alone, rows", kRows,
          [&] { drain(fmt::format("SELECT count(*) FROM range({}) t(i) WHERE i >= 0", kRows)); });
  measure("the same with tide_live, a tenth deleted, rows", kRows, [&] {
    drain(fmt::format("SELECT count(*) FROM range({}) t(i) WHERE tide_live({}, 0::UBIGINT, i)",
                      kRows, deletions.id()));
  });
  int number = 0;
  for (const auto& [name, compression] :
       {std::pair{"zstd", Compression::kZstd}, {"snappy", Compression::kSnappy}}) {
    uint64_t bytes = 0;
    measure(fmt::format("write_parquet, {}, rows", name), kRows, [&, compression = compression] {
      bytes = must(write_parquet(*engine, *connection, {{batch, nullptr}}, fields(),
                                 fmt::format("{}/{}", directory, number++),
                                 {.compression = compression}))
                  .bytes;
    });
    fmt::print("  {:.1f} MB on disk\n", static_cast<double>(bytes) / 1e6);
  }
  const auto small = std::make_shared<columns::Batch>(fields());
  for (size_t row = 0; row < 1000; ++row) small->append_from(*batch, row);
  measure("write_parquet of 1000 rows, files", 1, [&] {
    must(write_parquet(*engine, *connection, {{small, nullptr}}, fields(),
                       fmt::format("{}/{}", directory, number++), {}));
  });
  ParquetScan scan{{directory + "/0"}, {}, {}};
  for (const columns::Field& field : fields())
    scan.columns.push_back({field.name, field.type, "", {}, {}});
  const std::string plain = parquet_scan_sql(scan);
  scan.deletions = deletions.id();
  const std::string filtered = parquet_scan_sql(scan);
  measure("read_parquet: sum of one column, rows", kRows,
          [&] { drain("SELECT sum(customer) FROM (" + plain + ")"); });
  measure("the same with tide_live, rows", kRows,
          [&] { drain("SELECT sum(customer) FROM (" + filtered + ")"); });
  measure("results as batches: six columns, rows", kRows, [&] {
    const auto result = must(connection->query("SELECT * FROM (" + plain + ")"));
    while (must(result->next()).has_value()) {
    }
  });
  const auto session = must(engine->connect({.user = false, .resolver = [&](const TableName&) {
                                               return Result<std::optional<std::string>>(plain);
                                             }}));
  measure("SELECT 1 WHERE false, statements", 1,
          [&] { must(must(connection->query("SELECT 1 WHERE false"))->all()); });
  measure("resolved table, WHERE false, statements", 1,
          [&] { must(must(session->query("SELECT id FROM public.orders WHERE false"))->all()); });
  env::remove_tree(directory).ignore("only a benchmark's directory");
}

}  // namespace
}  // namespace tide::duck

int main() { tide::duck::run(); }
