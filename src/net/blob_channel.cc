#include "net/blob_channel.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "net/api_error.h"

namespace tide::net {
namespace {

constexpr uint32_t kMaxMessage = uint32_t{1} << 30;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Status(Code::kInvalid, fmt::format("{} is too long for a Unix socket", path));
  }
  path.copy(address.sun_path, path.size());
  return address;
}

Result<env::FileDescriptor> unix_socket() {
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Status::from_errno(errno, "socket");
  return env::FileDescriptor(fd);
}

Status send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t put = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return {Code::kUnavailable, "the peer has hung up"};
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return {};
}

Status receive_all(int fd, char* to, size_t size) {
  while (size > 0) {
    ssize_t got = ::recv(fd, to, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return {Code::kUnavailable, "the peer has hung up"};
    to += got;
    size -= static_cast<size_t>(got);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<BlobChannel>> BlobChannel::connect(const std::string& path) {
  env::FileDescriptor socket = TIDE_TRY(unix_socket());
  sockaddr_un address = TIDE_TRY(address_of(path));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Status(Code::kUnavailable,
                  Status::from_errno(errno, fmt::format("connect to {}", path)).message());
  }
  return std::make_unique<BlobChannel>(std::move(socket));
}

Status BlobChannel::send(const nlohmann::json& message, const std::vector<std::string>& blobs) {
  nlohmann::json whole = message;
  size_t size = sizeof(uint32_t);
  if (!blobs.empty()) {
    auto& sizes = whole["blobs"] = nlohmann::json::array();
    for (const std::string& blob : blobs) {
      sizes.push_back(blob.size());
      size += blob.size();
    }
  }
  std::string text = to_text(whole);
  size += text.size();
  if (size > kMaxMessage) return {Code::kOutOfRange, fmt::format("a message of {} bytes", size)};
  std::string head;
  append(head, static_cast<uint32_t>(size));
  append(head, static_cast<uint32_t>(text.size()));
  TIDE_TRY(send_all(socket_.get(), head + text));
  for (const std::string& blob : blobs) TIDE_TRY(send_all(socket_.get(), blob));
  return {};
}

Result<BlobMessage> BlobChannel::receive(std::chrono::milliseconds timeout) {
  pollfd wait{socket_.get(), POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&wait, 1, static_cast<int>(timeout.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) return Status(Code::kRetry, "no message in time");
  char head[8];
  TIDE_TRY(receive_all(socket_.get(), head, sizeof head));
  auto size = load<uint32_t>(head);
  auto text_size = load<uint32_t>(head + 4);
  auto corrupt = [] { return Status(Code::kCorrupt, "what came is no message"); };
  if (size < sizeof(uint32_t) || size > kMaxMessage || text_size > size - sizeof(uint32_t)) {
    return corrupt();
  }
  BlobMessage message;
  message.json.resize(text_size);
  TIDE_TRY(receive_all(socket_.get(), message.json.data(), text_size));
  size_t left = size - sizeof(uint32_t) - text_size;
  nlohmann::json parsed = nlohmann::json::parse(message.json, nullptr, false);
  if (!parsed.is_object()) return corrupt();
  if (parsed.contains("blobs")) {
    if (!parsed["blobs"].is_array()) return corrupt();
    for (const nlohmann::json& each : parsed["blobs"]) {
      if (!each.is_number_unsigned() || each.get<uint64_t>() > left) return corrupt();
      std::string& blob = message.blobs.emplace_back(each.get<size_t>(), '\0');
      left -= blob.size();
      TIDE_TRY(receive_all(socket_.get(), blob.data(), blob.size()));
    }
  }
  if (left != 0) return corrupt();
  return message;
}

Result<BlobMessage> BlobChannel::call(const nlohmann::json& request,
                                      std::chrono::milliseconds timeout) {
  TIDE_TRY(send(request));
  BlobMessage answer = TIDE_TRY(receive(timeout));
  nlohmann::json parsed = nlohmann::json::parse(answer.json, nullptr, false);
  if (parsed.contains("error")) return status_from_reply(500, answer.json);
  return answer;
}

Result<pid_t> BlobChannel::peer() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return Status::from_errno(errno, "ask who is at the other end");
  return credentials.pid;
}

void BlobChannel::shut_down() { ::shutdown(socket_.get(), SHUT_RDWR); }

Result<env::FileDescriptor> listen_unix(const std::string& path) {
  sockaddr_un address = TIDE_TRY(address_of(path));
  if (BlobChannel::connect(path).ok()) {
    return Status(Code::kExists, fmt::format("somebody listens at {} already", path));
  }
  ::unlink(path.c_str());
  env::FileDescriptor socket = TIDE_TRY(unix_socket());
  mode_t before = ::umask(0177);
  int bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  int error = errno;
  ::umask(before);
  if (bound != 0) return Status::from_errno(error, fmt::format("listen at {}", path));
  if (::listen(socket.get(), 128) != 0) return Status::from_errno(errno, "listen");
  return socket;
}

}  // namespace tide::net
