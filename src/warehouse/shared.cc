#include "warehouse/shared.h"

#include "base/bytes.h"
#include "pgwire/scram.h"

namespace tide::warehouse {

Result<CancelKeys::Key> CancelKeys::add(Cancellable& session) {
  std::string random = TIDE_TRY(pgwire::random_bytes(sizeof(int32_t)));
  std::lock_guard lock(mutex_);
  while (sessions_.contains(next_) || next_ <= 0) next_ = next_ <= 0 ? 1 : next_ + 1;
  Key key{next_++, load<int32_t>(random.data())};
  sessions_[key.process] = {key.secret, &session};
  return key;
}

void CancelKeys::remove(const Key& key) {
  std::lock_guard lock(mutex_);
  sessions_.erase(key.process);
}

void CancelKeys::cancel(const Key& key) {
  std::lock_guard lock(mutex_);
  auto found = sessions_.find(key.process);
  if (found != sessions_.end() && found->second.first == key.secret) found->second.second->cancel();
}

}  // namespace tide::warehouse
