// The oracle of page redo: runs a workload on stock PostgreSQL, replays its WAL through RedoPool
// page by page, and compares every page with the cluster's own file after a clean shutdown.
//
//   redo_oracle --library tidewater.so --workload DIR [--scratch DIR] [--keep] [--seconds N]
//   [--helpers N] [--images]
//
// --images: full-page writes and hint logging on, images compressed; LSNs then differ where HEAP2
// VISIBLE sets one under wal_log_hints only, which no compute of ours has. Exit code 0: no
// unexplained difference.

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "env/file.h"
#include "env/process.h"
#include "page_mask.h"
#include "pgformat/control_file.h"
#include "pgformat/wal_format.h"
#include "pgformat/wal_reader.h"
#include "pgformat/wal_record.h"
#include "redo/redo_pool.h"

namespace tide::redo_oracle {
namespace {

using Clock = std::chrono::steady_clock;
using pgformat::BlockRef;
using pgformat::Rmgr;
using pgformat::WalRecord;

struct Arguments {
  std::string library;
  std::string workload;
  std::string scratch;
  std::string bin = "/usr/lib/postgresql/15/bin";
  int seconds = 5;
  int helpers = 2;
  bool images = false;
  bool keep = false;
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// A stock cluster that keeps all its WAL.
class Cluster {
 public:
  Cluster(const Arguments& arguments, std::string root)
      : arguments_(arguments), root_(std::move(root)), data_(root_ + "/data") {}
  ~Cluster() {
    if (running_) stop().ignore("the test has failed already");
  }

  const std::string& data() const { return data_; }

  Status init() {
    TIDE_TRY(run("initdb", {"-D", data_, "-N", "-A", "trust", "-U", "postgres", "--no-locale", "-E",
                            "UTF8"}));
    std::string configuration = TIDE_TRY(env::read_file(data_ + "/postgresql.conf"));
    configuration += fmt::format(
        "listen_addresses = ''\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = "
        "off\n"
        "wal_level = logical\nmax_wal_size = 8GB\nwal_keep_size = 8GB\ncheckpoint_timeout = 1h\n"
        "shared_buffers = 64MB\nautovacuum = off\nwal_compression = off\nmax_prepared_transactions "
        "= 4\n",
        root_);
    if (arguments_.images) {
      configuration += "full_page_writes = on\nwal_log_hints = on\nwal_compression = lz4\n";
    }
    return env::write_file(data_ + "/postgresql.conf", configuration);
  }

  Status start() {
    TIDE_TRY(run("pg_ctl", {"-D", data_, "-w", "-l", root_ + "/server.log", "start"}));
    running_ = true;
    return {};
  }

  Status stop() {
    running_ = false;
    TIDE_TRY(run("pg_ctl", {"-D", data_, "-w", "-m", "fast", "stop"}));
    return {};
  }

  Result<std::string> run(const std::string& program, std::vector<std::string> arguments) {
    return env::run(
        env::SpawnSpec{.program = arguments_.bin + "/" + program,
                       .arguments = std::move(arguments),
                       .environment = {"PGHOST=" + root_, "PGUSER=postgres", "LC_ALL=C"},
                       .directory = root_},
        std::chrono::minutes(3));
  }

  Result<std::string> psql(const std::string& database, std::vector<std::string> more) {
    std::vector<std::string> all = {"-X", "-q", "-v", "ON_ERROR_STOP=1", "-At", "-d", database};
    all.insert(all.end(), more.begin(), more.end());
    return run("psql", std::move(all));
  }

 private:
  const Arguments& arguments_;
  std::string root_;
  std::string data_;
  bool running_ = false;
};

/// Where a relation fork's pages are in a data directory.
struct RelFile {
  RelFork rel;
  std::string path;  ///< relative
  PageKind kind = PageKind::kHeap;
};

/// What becomes of one page: its base image comes from the base directory unless it was truncated.
struct History {
  bool no_base = false;
  std::vector<redo::Record> records;
  size_t cut = 0;  ///< newest record that replaces the page
  bool has_cut = false;
};

/// Keeps record bytes at stable addresses.
class Arena {
 public:
  BytesView keep(BytesView bytes) {
    if (blocks_.empty() || block_used_ + bytes.size() > block_size_) {
      block_size_ = std::max<size_t>(bytes.size(), 4 << 20);
      blocks_.push_back(std::make_unique<std::byte[]>(block_size_));
      block_used_ = 0;
    }
    std::byte* at = blocks_.back().get() + block_used_;
    std::memcpy(at, bytes.data(), bytes.size());
    block_used_ += bytes.size();
    return {at, bytes.size()};
  }

 private:
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  size_t block_size_ = 0;
  size_t block_used_ = 0;
};

class Oracle {
 public:
  explicit Oracle(Arguments arguments) : arguments_(std::move(arguments)) {}

  Result<bool> run();

 private:
  Status make_history(Cluster& cluster, Lsn begin);
  void take(const WalRecord& record);
  void clear_visibility(const WalRecord& record);
  void add(const PageTag& tag, const redo::Record& record, bool replaces);
  Status load_files(Cluster& cluster);
  Result<bool> replay_and_compare(const std::string& base, const std::string& final_state);

  Arguments arguments_;
  Arena arena_;
  std::unordered_map<PageTag, History> histories_;
  std::set<RelFork> truncated_;  ///< main forks; their visibility maps need native help
  std::vector<RelFile> files_;
  std::map<std::string, uint64_t> records_by_rmgr_;
  std::map<std::string, uint64_t> images_;  ///< by compression
  uint64_t record_count_ = 0;
  uint64_t wal_bytes_ = 0;
  uint64_t multi_block_ = 0;
};

void Oracle::add(const PageTag& tag, const redo::Record& record, bool replaces) {
  History& history = histories_[tag];
  history.records.push_back(record);
  if (replaces) {
    history.cut = history.records.size() - 1;
    history.has_cut = true;
  }
}

/// Heap records clear bits of map pages that they do not name (reference: what pagestore does
/// natively).
void Oracle::clear_visibility(const WalRecord& record) {
  uint8_t op = record.info() & 0x70;
  BytesView data = record.main_data();
  auto flags_at = [&](size_t at) {
    return at < data.size() ? std::to_integer<uint8_t>(data[at]) : uint8_t{0};
  };
  bool old_page = false;
  bool new_page = false;
  if (record.is(Rmgr::kHeap)) {
    switch (op) {
      case pgformat::heap::kInsert:
        new_page = flags_at(2) & 0x01;
        break;
      case pgformat::heap::kDelete:
        new_page = flags_at(7) & 0x01;
        break;
      case pgformat::heap::kLock:
        new_page = flags_at(7) & 0x01;
        break;
      case pgformat::heap::kUpdate:
      case pgformat::heap::kHotUpdate:
        old_page = flags_at(7) & 0x01;
        new_page = flags_at(7) & 0x02;
        break;
      default:
        break;
    }
  } else if (record.is(Rmgr::kHeap2)) {
    if (op == pgformat::heap2::kMultiInsert) new_page = flags_at(0) & 0x01;
    if (op == pgformat::heap2::kLockUpdated) new_page = flags_at(7) & 0x01;
  }
  std::set<uint32_t> map_blocks;
  if (new_page) map_blocks.insert(record.blocks().front().tag.block / 32672);
  if (old_page) map_blocks.insert(record.blocks().back().tag.block / 32672);
  for (uint32_t block : map_blocks) {
    PageTag tag = record.blocks().front().tag;
    tag.rel.fork = Fork::kVisibilityMap;
    tag.block = block;
    auto found = histories_.find(tag);
    BytesView bytes = found != histories_.end() && !found->second.records.empty() &&
                              found->second.records.back().end_lsn == record.end()
                          ? BytesView()
                          : record.bytes();
    if (!bytes.empty()) add(tag, {record.end(), arena_.keep(bytes)}, false);
  }
}

void Oracle::take(const WalRecord& record) {
  ++record_count_;
  wal_bytes_ += record.bytes().size();
  if (record.is(Rmgr::kSmgr) && record.info() == pgformat::smgr::kTruncate) {
    BytesView data = record.main_data();
    uint32_t blocks = load<uint32_t>(data.data());
    RelFork rel{load<uint32_t>(data.data() + 4), load<uint32_t>(data.data() + 8),
                load<uint32_t>(data.data() + 12), Fork::kMain};
    truncated_.insert(rel);
    for (auto& [tag, history] : histories_) {
      if (tag.rel == rel && tag.block >= blocks) history = History{.no_base = true};
    }
    // Pages that are only in the base so far.
    for (uint32_t block = blocks; block < blocks + 4096; ++block) {
      histories_[PageTag{rel, block}].no_base = true;
    }
    return;
  }
  if (record.blocks().empty()) return;
  records_by_rmgr_[std::string(pgformat::rmgr_name(record.rmgr()))]++;
  if (record.blocks().size() > 1) ++multi_block_;
  BytesView bytes = arena_.keep(record.bytes());
  for (const BlockRef& block : record.blocks()) {
    if (block.apply_image) {
      uint8_t method = block.image_info & pgformat::kImageCompressed;
      images_[method == pgformat::kImagePglz   ? "pglz"
              : method == pgformat::kImageLz4  ? "lz4"
              : method == pgformat::kImageZstd ? "zstd"
                                               : "plain"]++;
    }
    add(block.tag, {record.end(), bytes}, block.replaces_page());
  }
  clear_visibility(record);
}

Status Oracle::make_history(Cluster& cluster, Lsn begin) {
  pgformat::WalReader reader(
      {.start = begin, .prev_check = pgformat::WalReader::PrevCheck::kStrict});
  WalRecord record;
  for (uint64_t segment = begin.value() / kWalSegmentSize;; ++segment) {
    std::string path =
        fmt::format("{}/pg_wal/00000001{:08X}{:08X}", cluster.data(), segment / 256, segment % 256);
    if (!env::exists(path)) return {};
    std::string content = TIDE_TRY(env::read_file(path));
    BytesView bytes = as_bytes(content);
    if (segment == begin.value() / kWalSegmentSize)
      bytes = bytes.subspan(begin.value() % kWalSegmentSize);
    reader.feed(bytes);
    for (;;) {
      auto next = reader.next();
      if (!next.ok() || reader.ended()) return {};
      if (!next->has_value()) break;
      TIDE_TRY(record.parse(**next));
      take(record);
    }
  }
}

Status Oracle::load_files(Cluster& cluster) {
  std::string databases = TIDE_TRY(cluster.psql(
      "postgres", {"-F", " ", "-c", "SELECT oid, datname FROM pg_database WHERE datallowconn"}));
  size_t at = 0;
  std::set<std::string> seen;
  while (at < databases.size()) {
    size_t line_end = databases.find('\n', at);
    std::string line = databases.substr(at, line_end - at);
    at = line_end == std::string::npos ? databases.size() : line_end + 1;
    size_t space = line.find(' ');
    if (space == std::string::npos) continue;
    std::string rows = TIDE_TRY(cluster.psql(
        line.substr(space + 1), {"-F", " ", "-c",
                                 "SELECT pg_relation_filepath(c.oid), CASE WHEN c.relkind = 'S' "
                                 "THEN 'sequence' ELSE coalesce(am.amname, "
                                 "'heap') END, pg_relation_filenode(c.oid), c.relpersistence FROM "
                                 "pg_class c LEFT JOIN pg_am am ON am.oid = "
                                 "c.relam WHERE pg_relation_filenode(c.oid) IS NOT NULL"}));
    size_t row_at = 0;
    while (row_at < rows.size()) {
      size_t row_end = std::min(rows.find('\n', row_at), rows.size());
      std::string row = rows.substr(row_at, row_end - row_at);
      row_at = row_end + 1;
      char path[200];
      char kind[40];
      unsigned node;
      char persistence;
      if (sscanf(row.c_str(), "%199s %39s %u %c", path, kind, &node, &persistence) != 4) continue;
      if (!seen.insert(path).second) continue;
      RelFile file;
      file.path = path;
      bool global = file.path.starts_with("global/");
      file.rel = {global ? 1664U : 1663U,
                  global ? 0U : static_cast<uint32_t>(std::stoul(line.substr(0, space))), node,
                  Fork::kMain};
      if (!parse_page_kind(kind, &file.kind)) {
        return Status(Code::kInvalid, fmt::format("access method {} is unknown here", kind));
      }
      if (persistence == 'p') {
        files_.push_back(file);
        RelFile map = file;
        map.rel.fork = Fork::kVisibilityMap;
        map.path += "_vm";
        map.kind = PageKind::kVisibilityMap;
        files_.push_back(map);
      }
      RelFile init = file;
      init.rel.fork = Fork::kInit;
      init.path += "_init";
      files_.push_back(init);
    }
  }
  return {};
}

bool begins_with_image(const History& history) {
  auto header = load<pgformat::WalRecordHeader>(history.records.front().bytes.data());
  return header.rmgr == static_cast<uint8_t>(Rmgr::kXlog);
}

/// No bit is set in `ours` that is not in `theirs`, behind the page header.
bool is_subset(const Bytes& ours, const Bytes& theirs) {
  for (size_t i = 24; i < kPageSize; ++i) {
    if ((ours[i] & ~theirs[i]) != std::byte{0}) return false;
  }
  return true;
}

Result<bool> Oracle::replay_and_compare(const std::string& base, const std::string& final_state) {
  struct Page {
    const RelFile* file;
    uint32_t block;
    const std::byte* base;
    const std::byte* expected;
    const History* history;
  };
  std::vector<std::unique_ptr<std::string>> contents;
  std::vector<Page> pages;
  uint64_t skipped_maps = 0;
  for (const RelFile& file : files_) {
    std::string path = final_state + "/" + file.path;
    if (!env::exists(path)) continue;
    contents.push_back(std::make_unique<std::string>(TIDE_TRY(env::read_file(path))));
    const std::string& now = *contents.back();
    std::string before_text;
    if (env::exists(base + "/" + file.path))
      before_text = TIDE_TRY(env::read_file(base + "/" + file.path));
    contents.push_back(std::make_unique<std::string>(std::move(before_text)));
    const std::string& before = *contents.back();
    RelFork main = file.rel;
    main.fork = Fork::kMain;
    for (uint32_t block = 0; block < now.size() / kPageSize; ++block) {
      auto found = histories_.find({file.rel, block});
      const History* history = found == histories_.end() ? nullptr : &found->second;
      if (file.rel.fork == Fork::kVisibilityMap && truncated_.contains(main)) {
        ++skipped_maps;
        continue;
      }
      bool has_base = (block + 1) * kPageSize <= before.size() && !(history && history->no_base);
      pages.push_back(
          {&file, block,
           has_base ? reinterpret_cast<const std::byte*>(before.data()) + block * kPageSize
                    : nullptr,
           reinterpret_cast<const std::byte*>(now.data()) + block * kPageSize, history});
    }
  }

  Bytes outputs(pages.size() * kPageSize);
  std::vector<redo::PageRequest> requests;
  std::vector<size_t> request_page;
  uint64_t applications = 0;
  for (size_t i = 0; i < pages.size(); ++i) {
    const Page& page = pages[i];
    std::byte* out = outputs.data() + i * kPageSize;
    if (page.history == nullptr || page.history->records.empty()) {
      if (page.base != nullptr) std::memcpy(out, page.base, kPageSize);
      continue;
    }
    static const Bytes zeros(kPageSize);
    const std::byte* start = page.base;
    if (start == nullptr && page.file->rel.fork == Fork::kVisibilityMap) start = zeros.data();
    requests.push_back({.tag = {page.file->rel, page.block},
                        .base = start,
                        .records = page.history->records,
                        .out = out});
    request_page.push_back(i);
    applications += page.history->records.size();
  }

  Clock::time_point begin = Clock::now();
  auto pool = TIDE_TRY(redo::RedoPool::open({.directory = arguments_.scratch + "/redo",
                                             .postgres = arguments_.bin + "/postgres",
                                             .library = arguments_.library,
                                             .template_directory = base,
                                             .instance = "redo-oracle",
                                             .helpers = arguments_.helpers}));
  TIDE_TRY(pool->apply(std::span(requests).first(std::min<size_t>(requests.size(), 1))));
  fmt::print("first page {:.1f} ms after opening the pool\n", seconds_since(begin) * 1e3);

  begin = Clock::now();
  TIDE_TRY(pool->apply(requests));
  double took = seconds_since(begin);
  fmt::print(
      "{} pages with {} record applications in {:.3f} s: {:.0f} records/s, {:.0f} pages/s, {} "
      "helpers\n",
      requests.size(), applications, took, applications / took, requests.size() / took,
      arguments_.helpers);

  uint64_t errors = 0;
  for (const redo::PageRequest& request : requests) {
    if (request.status.ok()) continue;
    if (++errors <= 20) fmt::print("error: {}\n", request.status.to_string());
  }

  // Again from the newest record that replaces the page, as the page store will ask.
  Bytes cut_outputs(requests.size() * kPageSize);
  std::vector<redo::PageRequest> cut_requests;
  std::vector<size_t> cut_request;
  uint64_t cut_applications = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const History& history = *pages[request_page[i]].history;
    if (!history.has_cut) continue;
    cut_requests.push_back({.tag = requests[i].tag,
                            .records = std::span(history.records).subspan(history.cut),
                            .out = cut_outputs.data() + i * kPageSize});
    cut_request.push_back(i);
    cut_applications += cut_requests.back().records.size();
  }
  begin = Clock::now();
  TIDE_TRY(pool->apply(cut_requests));
  took = seconds_since(begin);
  fmt::print(
      "{} pages from nothing with {} applications in {:.3f} s: {:.0f} records/s, {:.0f} pages/s\n",
      cut_requests.size(), cut_applications, took, cut_applications / took,
      cut_requests.size() / took);
  uint64_t cut_differences = 0;
  for (size_t k = 0; k < cut_requests.size(); ++k) {
    size_t i = cut_request[k];
    if (!cut_requests[k].status.ok()) {
      if (++errors <= 20) fmt::print("error: {}\n", cut_requests[k].status.to_string());
      continue;
    }
    Bytes full(requests[i].out, requests[i].out + kPageSize);
    Bytes cut(cut_requests[k].out, cut_requests[k].out + kPageSize);
    PageKind kind = pages[request_page[i]].file->kind;
    mask_page(kind, cut_requests[k].tag.block, full.data());
    mask_page(kind, cut_requests[k].tag.block, cut.data());
    if (full != cut) {
      if (++cut_differences <= 20)
        fmt::print("differs when begun at its newest start: {}\n", cut_requests[k].tag);
    }
  }

  // In two steps, the second as long as the page store lets chains become.
  constexpr size_t kStep = 24;
  std::vector<redo::PageRequest> steps;
  std::vector<size_t> step_request;
  Bytes step_outputs(requests.size() * kPageSize);
  for (size_t i = 0; i < requests.size(); ++i) {
    size_t count = requests[i].records.size();
    if (count <= kStep || !requests[i].status.ok()) continue;
    steps.push_back({.tag = requests[i].tag,
                     .base = requests[i].base,
                     .records = requests[i].records.first(count - kStep),
                     .out = step_outputs.data() + i * kPageSize});
    step_request.push_back(i);
  }
  TIDE_TRY(pool->apply(steps));
  for (size_t k = 0; k < steps.size(); ++k) {
    std::span<const redo::Record> all = requests[step_request[k]].records;
    steps[k].base = steps[k].out;
    steps[k].records = all.last(kStep);
  }
  begin = Clock::now();
  TIDE_TRY(pool->apply(steps));
  took = seconds_since(begin);
  fmt::print(
      "{} pages from an image with {} records each in {:.3f} s: {:.0f} records/s, {:.0f} pages/s\n",
      steps.size(), kStep, took, steps.size() * kStep / took, steps.size() / took);
  for (size_t k = 0; k < steps.size(); ++k) {
    if (!steps[k].status.ok() ||
        std::memcmp(steps[k].out, requests[step_request[k]].out, kPageSize) != 0) {
      ++errors;
      fmt::print("differs in two steps: {} {}\n", steps[k].tag, steps[k].status.to_string());
    }
  }

  uint64_t differences = 0;
  uint64_t lsn_differences = 0;
  uint64_t emptied_maps = 0;
  std::map<int, std::pair<uint64_t, uint64_t>> by_kind;  // compared, different
  for (size_t i = 0; i < pages.size(); ++i) {
    const Page& page = pages[i];
    Bytes ours(outputs.begin() + i * kPageSize, outputs.begin() + (i + 1) * kPageSize);
    Bytes theirs(page.expected, page.expected + kPageSize);
    bool replayed = page.history != nullptr && !page.history->records.empty();
    uint64_t our_lsn = load<uint64_t>(ours.data());
    uint64_t their_lsn = load<uint64_t>(theirs.data());
    bool same_lsn = our_lsn == their_lsn;
    mask_page(page.file->kind, page.block, ours.data());
    mask_page(page.file->kind, page.block, theirs.data());
    auto& [compared, different] = by_kind[static_cast<int>(page.file->kind)];
    ++compared;
    if (ours != theirs && page.file->kind == PageKind::kVisibilityMap && replayed &&
        begins_with_image(*page.history) && is_subset(ours, theirs)) {
      // CREATE DATABASE logs map pages as if the map lay in the page's hole: a standby gets empty
      // maps too.
      ++emptied_maps;
    } else if (ours != theirs) {
      ++different;
      if (++differences <= 30) {
        size_t at = std::mismatch(ours.begin(), ours.end(), theirs.begin()).first - ours.begin();
        fmt::print(
            "differs: {} at byte {} ({:02x}, PostgreSQL has {:02x}), kind {}, {} records{}\n",
            PageTag{page.file->rel, page.block}, at, std::to_integer<int>(ours[at]),
            std::to_integer<int>(theirs[at]), static_cast<int>(page.file->kind),
            replayed ? page.history->records.size() : 0, page.base ? "" : ", no base");
      }
    } else if (!same_lsn && page.file->kind != PageKind::kVisibilityMap &&
               page.file->rel.fork != Fork::kInit) {
      // (Clearing map bits sets no LSN; init forks are written before their record exists.)
      if (++lsn_differences <= 10) {
        fmt::print("LSN differs: {}\n", PageTag{page.file->rel, page.block});
      }
    }
  }

  // One page a call: the round trip.
  constexpr int kRounds = 4000;
  std::vector<double> micros;
  for (int i = 0; i < kRounds && !requests.empty(); ++i) {
    redo::PageRequest& request = requests[i * 31 % requests.size()];
    if (request.records.size() > 32) continue;
    Clock::time_point one = Clock::now();
    TIDE_TRY(pool->apply(std::span(&request, 1)));
    micros.push_back(seconds_since(one) * 1e6);
  }
  std::sort(micros.begin(), micros.end());
  if (!micros.empty()) {
    fmt::print(
        "single pages (<= 32 records): p50 {:.1f} us, p90 {:.1f} us, p99 {:.1f} us over {}\n",
        micros[micros.size() / 2], micros[micros.size() * 9 / 10], micros[micros.size() * 99 / 100],
        micros.size());
  }

  constexpr const char* kKindNames[] = {"heap",   "btree", "hash",  "gin",      "gist",
                                        "spgist", "brin",  "bloom", "sequence", "visibility map"};
  for (const auto& [kind, counts] : by_kind) {
    fmt::print("  {:<15} {:>7} pages compared, {} different\n", kKindNames[kind], counts.first,
               counts.second);
  }
  redo::Stats stats = pool->stats();
  fmt::print(
      "{} differences, {} at the newest start, {} errors, {} LSN differences; {} map pages of "
      "truncated "
      "relations skipped, {} map pages of copied databases empty as on a standby; helpers: {} "
      "starts, {} "
      "deaths\n",
      differences, cut_differences, errors, lsn_differences, skipped_maps, emptied_maps,
      stats.helper_starts, stats.helper_deaths);
  return differences == 0 && cut_differences == 0 && errors == 0 &&
         (lsn_differences == 0 || arguments_.images);
}

Result<bool> Oracle::run() {
  std::string root = arguments_.scratch;
  Clock::time_point begin = Clock::now();
  Cluster cluster(arguments_, root);
  TIDE_TRY(cluster.init());
  TIDE_TRY(cluster.start());
  TIDE_TRY(cluster.psql("postgres", {"-f", arguments_.workload + "/setup.sql"}));
  TIDE_TRY(cluster.run("pgbench", {"-q", "-i", "-s", "3", "postgres"}));
  TIDE_TRY(cluster.stop());
  std::string base = root + "/base";
  TIDE_TRY(env::run({.program = "/bin/cp", .arguments = {"-a", cluster.data(), base}},
                    std::chrono::minutes(1)));
  TIDE_TRY(env::remove_tree(base + "/pg_wal"));
  pgformat::ControlFile control = TIDE_TRY(pgformat::parse_control_file(
      as_bytes(TIDE_TRY(env::read_file(base + "/global/pg_control")))));

  TIDE_TRY(cluster.start());
  TIDE_TRY(cluster.psql("postgres", {"-f", arguments_.workload + "/workload.sql"}));
  TIDE_TRY(cluster.psql("postgres",
                        {"-c", "CREATE DATABASE copied TEMPLATE template1 STRATEGY wal_log"}));
  std::string seconds = std::to_string(arguments_.seconds);
  TIDE_TRY(cluster.run("pgbench", {"-n", "-c", "4", "-T", seconds, "-b", "tpcb-like@3", "-f",
                                   arguments_.workload + "/locks.sql@1", "postgres"}));
  TIDE_TRY(cluster.psql("postgres", {"-c", "VACUUM"}));
  TIDE_TRY(load_files(cluster));
  TIDE_TRY(cluster.stop());
  fmt::print("workload done in {:.1f} s\n", seconds_since(begin));

  TIDE_TRY(make_history(cluster, Lsn(control.checkpoint_lsn)));
  fmt::print("{} records, {:.1f} MB of WAL, {} with several blocks, {} pages:", record_count_,
             wal_bytes_ / 1e6, multi_block_, histories_.size());
  for (const auto& [name, count] : records_by_rmgr_) fmt::print(" {} {}", name, count);
  fmt::print("\nimages:");
  for (const auto& [name, count] : images_) fmt::print(" {} {}", name, count);
  fmt::print("\n");
  return replay_and_compare(base, cluster.data());
}

/// PostgreSQL does not run as root; nor, then, does this.
Status become_postgres() {
  if (geteuid() != 0) return {};
  const passwd* user = getpwnam("postgres");
  if (user == nullptr) return Status(Code::kNotFound, "no user \"postgres\" to run as");
  if (setgroups(0, nullptr) < 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
      setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0) {
    return Status::from_errno(errno, "become postgres");
  }
  return {};
}

int main_of(int count, char** words) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    std::string word = words[i];
    if (word == "--keep") {
      arguments.keep = true;
    } else if (word == "--images") {
      arguments.images = true;
    } else if (i + 1 < count) {
      std::string value = words[++i];
      if (word == "--library") arguments.library = value;
      if (word == "--workload") arguments.workload = value;
      if (word == "--scratch") arguments.scratch = value;
      if (word == "--seconds") arguments.seconds = std::stoi(value);
      if (word == "--helpers") arguments.helpers = std::stoi(value);
    }
  }
  if (arguments.library.empty() || arguments.workload.empty()) {
    fmt::print(stderr,
               "usage: redo_oracle --library FILE --workload DIR [--scratch DIR] [--seconds N] "
               "[--keep]\n");
    return 2;
  }
  // psql and the helpers look from other directories.
  arguments.library = std::filesystem::absolute(arguments.library);
  arguments.workload = std::filesystem::absolute(arguments.workload);
  if (Status status = become_postgres(); !status.ok()) {
    fmt::print(stderr, "{}\n", status.to_string());
    return 2;
  }
  if (arguments.scratch.empty()) {
    char pattern[] = "/tmp/redo-oracle-XXXXXX";
    if (mkdtemp(pattern) == nullptr) return 2;
    arguments.scratch = pattern;
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);
  Result<bool> outcome = Oracle(arguments).run();
  if (!outcome.ok()) fmt::print(stderr, "{}\n", outcome.status().to_string());
  if (!arguments.keep) env::remove_tree(arguments.scratch).ignore("scratch");
  return outcome.ok() && *outcome ? 0 : 1;
}

}  // namespace
}  // namespace tide::redo_oracle

int main(int count, char** words) { return tide::redo_oracle::main_of(count, words); }
