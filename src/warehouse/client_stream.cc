#include "warehouse/client_stream.h"

#include <errno.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace tide::warehouse {

Status ClientStream::set_read_deadline(int seconds) {
  timeval value{};
  value.tv_sec = seconds;
  if (::setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &value, sizeof value) != 0)
    return Status::from_errno(errno, "set a socket's deadline");
  value.tv_sec = 300;
  if (::setsockopt(fd(), SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value) != 0)
    return Status::from_errno(errno, "set a socket's deadline");
  return {};
}

Result<std::string> ClientStream::read() {
  while (true) {
    if (tls_) {
      Result<std::string> plain = tls_->read();
      TIDE_TRY(send_raw(tls_->take_output()));
      if (!plain.ok()) return plain;
      if (!plain->empty()) return plain;
    }
    char buffer[32 * 1024];
    ssize_t got = ::recv(fd(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return Status(Code::kUnavailable, "the client said nothing in time");
    if (got <= 0) return Status(Code::kUnavailable, "the client is gone");
    std::string_view bytes(buffer, static_cast<size_t>(got));
    if (!tls_) return std::string(bytes);
    TIDE_TRY(tls_->feed(bytes));
  }
}

Status ClientStream::write(std::string_view bytes) {
  if (bytes.empty()) return {};
  if (!tls_) return send_raw(bytes);
  TIDE_TRY(tls_->write(bytes));
  return send_raw(tls_->take_output());
}

Status ClientStream::send_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t sent = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0)
      return {Code::kUnavailable, fmt::format("the client is gone: {}", ::strerror(errno))};
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

Status ClientStream::begin_tls(const pgwire::TlsContext& context) {
  tls_ = TIDE_TRY(context.accept());
  return {};
}

void ClientStream::shut_down() { ::shutdown(fd(), SHUT_RDWR); }

}  // namespace tide::warehouse
