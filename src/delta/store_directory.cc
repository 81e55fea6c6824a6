#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <utility>

#include "delta/table_directory.h"
#include "env/file.h"
#include "objectstore/object_store.h"

namespace tide::delta {
namespace {

class StoreDirectory : public TableDirectory {
 public:
  StoreDirectory(objectstore::ObjectStore& store, std::string prefix, std::string cache)
      : store_(store), prefix_(std::move(prefix)), cache_(std::move(cache)) {}

  Result<std::vector<Entry>> list(const std::string& folder, bool recursive) override {
    std::string prefix = key(folder.empty() ? "" : folder + "/");
    std::vector<Entry> entries;
    for (objectstore::ObjectInfo& info : TIDE_TRY(store_.list(prefix))) {
      std::string name = info.key.substr(prefix.size());
      if (name.empty() || (!recursive && name.find('/') != std::string::npos)) continue;
      entries.push_back({std::move(name), info.size, std::nullopt});
    }
    return entries;
  }

  Result<std::string> read(const std::string& name) override { return store_.get(key(name)); }
  Result<std::string> read_range(const std::string& name, uint64_t offset, uint64_t size) override {
    return store_.get_range(key(name), offset, size);
  }
  Result<bool> put_if_absent(const std::string& name, BytesView bytes) override {
    return store_.put_if_absent(key(name), bytes);
  }
  Status put(const std::string& name, BytesView bytes) override {
    return store_.put(key(name), bytes);
  }

  Result<std::string> temporary_path() override {
    static std::atomic<uint64_t> counter{0};
    TIDE_TRY(env::make_directories(cache_));
    return fmt::format("{}/.tide-{}-{}-{}.tmp", cache_, ::getpid(), ::time(nullptr),
                       counter.fetch_add(1, std::memory_order_relaxed));
  }

  Status adopt(const std::string& path, const std::string& name) override {
    Status stored = store_.put_file(key(name), path);
    // The store may keep the file by a link; this only takes our name for it away.
    env::remove_file(path).ignore("a temporary file that stays costs space only");
    return stored;
  }

  Status remove(const std::string& name) override { return store_.remove(key(name)); }

  Result<std::string> local_path(const std::string& name) override {
    if (name.empty()) return cache_;
    std::string path = cache_ + "/" + name;
    if (!env::exists(path)) {
      TIDE_TRY(env::make_directories(std::filesystem::path(path).parent_path().string()));
      TIDE_TRY(store_.get_to_file(key(name), path));
    }
    return path;
  }

  std::string describe() const override {
    return fmt::format("{} under {}", store_.describe(), prefix_);
  }

 private:
  std::string key(const std::string& name) const {
    return prefix_.empty() ? name : prefix_ + "/" + name;
  }

  objectstore::ObjectStore& store_;
  std::string prefix_;
  std::string cache_;
};

}  // namespace

std::unique_ptr<TableDirectory> store_directory(objectstore::ObjectStore& store, std::string prefix,
                                                std::string cache_directory) {
  return std::make_unique<StoreDirectory>(store, std::move(prefix), std::move(cache_directory));
}

}  // namespace tide::delta
