#include "pagestore/page_reader.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <string>

#include "pagestore/page_version.h"
#include "redo/redo_pool.h"

namespace tide::pagestore {
namespace {

struct Step {
  Lsn lsn;
  std::string_view value;
};

/// A page's versions from its newest base (first) to the version asked for (last).
using Chain = std::vector<Step>;

/// Holds the bytes of versions while a request is answered: thousands of small ones in a run of
/// pages, for which an allocation each would cost more than the redo.
class Arena {
 public:
  std::string_view keep(std::string_view bytes) {
    if (blocks_.empty() || kBlock - used_ < bytes.size()) {
      if (bytes.size() > kBlock / 4) {
        large_.emplace_back(bytes);
        return large_.back();
      }
      blocks_.push_back(std::make_unique_for_overwrite<char[]>(kBlock));
      used_ = 0;
    }
    char* at = blocks_.back().get() + used_;
    std::memcpy(at, bytes.data(), bytes.size());
    used_ += bytes.size();
    return {at, bytes.size()};
  }

 private:
  // Below what malloc takes from the kernel anew each time.
  static constexpr size_t kBlock = 64 * 1024;
  std::vector<std::unique_ptr<char[]>> blocks_;
  std::deque<std::string> large_;
  size_t used_ = 0;
};

/// Takes one version, newest first; false once the chain reaches a base.
bool extend_chain(Chain& chain, Arena& arena, Lsn lsn, std::string_view value) {
  chain.push_back({lsn, arena.keep(value)});
  return !is_base(value);
}

bool has_records(const Chain& chain) {
  return std::any_of(chain.begin(), chain.end(),
                     [](const Step& step) { return is_record(step.value); });
}

/// Chains of images and our own changes only; `page` starts as zeros where there is no image.
Status apply_natively(std::span<const Step> steps, std::byte* page) {
  std::memset(page, 0, kPageSize);
  for (const Step& step : steps) {
    if (is_base(step.value)) {
      TIDE_TRY(decode_image(step.value, page));
    } else {
      TIDE_TRY(apply_change(step.value, step.lsn, page));
    }
  }
  return {};
}

/// A chain that needs PostgreSQL, cut into runs: our own changes may stand between records (a
/// visibility-map page), so a run is redone, then changed natively, and so on.
class MixedChain {
 public:
  MixedChain(const PageTag& tag, const Chain& chain, std::byte* out)
      : tag_(tag), chain_(chain), out_(out) {}

  bool done() const { return next_ == chain_.size(); }

  /// Applies what we can ourselves, then collects the records up to the next change of our own.
  Status prepare(redo::PageRequest* request) {
    while (next_ < chain_.size() && !is_record(chain_[next_].value)) {
      const Step& step = chain_[next_++];
      if (is_base(step.value)) {
        TIDE_TRY(decode_image(step.value, out_));
      } else {
        if (!has_page_) std::memset(out_, 0, kPageSize);
        TIDE_TRY(apply_change(step.value, step.lsn, out_));
      }
      has_page_ = true;
    }
    records_.clear();
    while (next_ < chain_.size() && is_record(chain_[next_].value)) {
      const Step& step = chain_[next_++];
      records_.push_back({step.lsn, as_bytes(step.value.substr(1))});
    }
    if (has_page_) base_.assign(out_, out_ + kPageSize);
    *request = {tag_, has_page_ ? base_.data() : nullptr, records_, out_, {}};
    has_page_ = true;
    return {};
  }

 private:
  PageTag tag_;
  const Chain& chain_;
  std::byte* out_;
  size_t next_ = 0;
  bool has_page_ = false;
  std::vector<redo::Record> records_;
  std::vector<std::byte> base_;
};

}  // namespace

Status PageReader::read(TimelineId timeline, std::span<const PageTag> tags, Lsn at, std::byte* out,
                        std::vector<Lsn>* chain_lsns) const {
  std::vector<std::string> bodies;
  bodies.reserve(tags.size());
  for (const PageTag& tag : tags) bodies.push_back(page_body(tag));
  Arena arena;
  std::vector<Chain> chains(tags.size());
  TIDE_TRY(versions_.walk_many(timeline, Kind::kPage, bodies, at,
                               [&](size_t index, Lsn lsn, std::string_view value) {
                                 return extend_chain(chains[index], arena, lsn, value);
                               }));
  if (chain_lsns != nullptr) chain_lsns->assign(tags.size(), Lsn());

  std::vector<std::unique_ptr<MixedChain>> mixed;
  for (size_t i = 0; i < tags.size(); ++i) {
    std::byte* page = out + i * kPageSize;
    if (chain_lsns != nullptr && !chains[i].empty()) (*chain_lsns)[i] = chains[i].front().lsn;
    std::reverse(chains[i].begin(), chains[i].end());
    if (!has_records(chains[i])) {
      TIDE_TRY(apply_natively(chains[i], page));
    } else {
      mixed.push_back(std::make_unique<MixedChain>(tags[i], chains[i], page));
    }
  }
  while (!mixed.empty()) {
    std::vector<redo::PageRequest> requests(mixed.size());
    std::vector<redo::PageRequest> to_redo;
    for (size_t i = 0; i < mixed.size(); ++i) {
      TIDE_TRY(mixed[i]->prepare(&requests[i]));
      if (!requests[i].records.empty()) to_redo.push_back(requests[i]);
    }
    TIDE_TRY(redo_.apply(to_redo));
    for (redo::PageRequest& request : to_redo) {
      if (!request.status.ok()) {
        return std::move(request.status)
            .with_context(fmt::format("redo {} at {}", request.tag, at));
      }
    }
    std::erase_if(mixed, [](const auto& chain) { return chain->done(); });
  }
  return {};
}

Result<bool> PageReader::read_slru(TimelineId timeline, SlruPage page, Lsn at, std::byte* out,
                                   Lsn* chain_lsn) const {
  Arena arena;
  Chain chain;
  TIDE_TRY(versions_.walk(
      timeline, Kind::kSlru, slru_body(page.slru, page.page), at,
      [&](Lsn lsn, std::string_view value) { return extend_chain(chain, arena, lsn, value); }));
  if (chain.empty() || chain.front().value.front() == static_cast<char>(VersionTag::kGone))
    return false;
  if (chain_lsn != nullptr) *chain_lsn = chain.front().lsn;
  std::reverse(chain.begin(), chain.end());
  TIDE_TRY(apply_natively(chain, out));
  return true;
}

}  // namespace tide::pagestore
