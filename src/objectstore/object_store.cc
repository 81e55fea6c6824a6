#include "objectstore/object_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "objectstore/internal/local_store.h"
#include "objectstore/internal/s3_store.h"
#include "objectstore/internal/url.h"

namespace tide::objectstore {
namespace {

constexpr size_t kKeyBytesMax = 900;
constexpr size_t kComponentBytesMax = 255;

/// Strict UTF-8: no overlong forms, surrogates or code points beyond U+10FFFF.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    auto lead = static_cast<unsigned char>(text[i]);
    size_t length = lead < 0x80                   ? 1
                    : lead >= 0xC2 && lead < 0xE0 ? 2
                    : lead >= 0xE0 && lead < 0xF0 ? 3
                    : lead >= 0xF0 && lead < 0xF5 ? 4
                                                  : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t j = 1; j < length; ++j) {
      if ((static_cast<unsigned char>(text[i + j]) & 0xC0) != 0x80) return false;
    }
    if (length > 2) {
      auto second = static_cast<unsigned char>(text[i + 1]);
      if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second >= 0xA0) ||
          (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second >= 0x90)) {
        return false;
      }
    }
    i += length;
  }
  return true;
}

class PrefixedStore final : public ObjectStore {
 public:
  PrefixedStore(ObjectStore& store, std::string prefix)
      : store_(store), prefix_(std::move(prefix) + "/") {}

  Status put(const std::string& key, BytesView bytes) override {
    TIDE_TRY(check_key(key));
    return store_.put(prefix_ + key, bytes);
  }
  Status put_file(const std::string& key, const std::string& path) override {
    TIDE_TRY(check_key(key));
    return store_.put_file(prefix_ + key, path);
  }
  Result<bool> put_if_absent(const std::string& key, BytesView bytes) override {
    TIDE_TRY(check_key(key));
    return store_.put_if_absent(prefix_ + key, bytes);
  }
  Result<std::string> get(const std::string& key) override {
    TIDE_TRY(check_key(key));
    return store_.get(prefix_ + key);
  }
  Status get_to_file(const std::string& key, const std::string& path) override {
    TIDE_TRY(check_key(key));
    return store_.get_to_file(prefix_ + key, path);
  }
  Result<std::string> get_range(const std::string& key, uint64_t offset, uint64_t size) override {
    TIDE_TRY(check_key(key));
    return store_.get_range(prefix_ + key, offset, size);
  }
  Result<std::optional<uint64_t>> head(const std::string& key) override {
    TIDE_TRY(check_key(key));
    return store_.head(prefix_ + key);
  }
  Result<std::vector<ObjectInfo>> list(const std::string& prefix) override {
    std::vector<ObjectInfo> objects = TIDE_TRY(store_.list(prefix_ + prefix));
    for (ObjectInfo& object : objects) object.key.erase(0, prefix_.size());
    return objects;
  }
  Status remove(const std::string& key) override {
    TIDE_TRY(check_key(key));
    return store_.remove(prefix_ + key);
  }
  ObjectStoreStats stats() const override { return store_.stats(); }
  std::string describe() const override {
    return fmt::format("{} under {}", store_.describe(), prefix_);
  }

 private:
  ObjectStore& store_;
  std::string prefix_;
};

}  // namespace

Result<bool> ObjectStore::exists(const std::string& key) {
  std::optional<uint64_t> size = TIDE_TRY(head(key));
  return size.has_value();
}

Status check_key(std::string_view key) {
  auto invalid = [&](std::string_view why) {
    std::string shown(key.substr(0, 100));
    for (char& c : shown) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
    }
    return Status(Code::kInvalid, fmt::format("object key \"{}\" {}", shown, why));
  };
  if (key.empty()) return invalid("is empty");
  if (key.size() > kKeyBytesMax) return invalid("is longer than 900 bytes");
  if (!is_utf8(key)) return invalid("is not UTF-8");
  if (std::any_of(key.begin(), key.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; })) {
    return invalid("contains a control character");
  }
  for (size_t begin = 0; begin <= key.size();) {
    size_t end = std::min(key.find('/', begin), key.size());
    std::string_view component = key.substr(begin, end - begin);
    if (component.empty()) return invalid("has an empty component");
    if (component == "." || component == "..") return invalid("has a component . or ..");
    if (component.size() > kComponentBytesMax) return invalid("has a component over 255 bytes");
    if (component == internal::kTemporaryDirectory) return invalid("uses a reserved name");
    begin = end + 1;
  }
  return {};
}

Result<std::unique_ptr<ObjectStore>> open(const std::string& url, const Options& options) {
  internal::StoreUrl parsed = TIDE_TRY(internal::parse_url(url));
  if (parsed.scheme == "file") return internal::open_local_store(parsed.path);
  return internal::open_s3_store(parsed, options);
}

std::unique_ptr<ObjectStore> with_prefix(ObjectStore& store, std::string prefix) {
  return std::make_unique<PrefixedStore>(store, std::move(prefix));
}

}  // namespace tide::objectstore
