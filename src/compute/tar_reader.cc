#include "compute/tar_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "env/file.h"

namespace tide::compute {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kBuffer = 256 * 1024;
constexpr uint64_t kLongestName = 64 * 1024;

/// The header of POSIX.1-1988 ustar.
struct Header {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char link[100];
  char magic[6];
  char version[2];
  char user[32];
  char group[32];
  char major[8];
  char minor[8];
  char prefix[155];
  char padding[12];
};
static_assert(sizeof(Header) == kBlock);

template <size_t N>
std::string_view text_of(const char (&field)[N]) {
  return {field, ::strnlen(field, N)};
}

/// Octal digits, or, with the top bit set, a big-endian binary number (GNU).
template <size_t N>
Result<uint64_t> number_of(const char (&field)[N], std::string_view what) {
  uint64_t value = 0;
  if ((static_cast<unsigned char>(field[0]) & 0x80) != 0) {
    value = static_cast<unsigned char>(field[0]) & 0x7F;
    for (size_t i = 1; i < N; ++i) {
      if (value >> 55 != 0)
        return Status(Code::kCorrupt, fmt::format("tar: {} is too large", what));
      value = value << 8 | static_cast<unsigned char>(field[i]);
    }
    return value;
  }
  for (char c : text_of(field)) {
    if (c == ' ') continue;
    if (c < '0' || c > '7')
      return Status(Code::kCorrupt, fmt::format("tar: {} is no number", what));
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

bool is_zero(const std::byte* bytes, size_t size) {
  return size == 0 || (bytes[0] == std::byte{0} && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

class Unpacker {
 public:
  Unpacker(const ByteSource& source, const std::string& directory)
      : source_(source), directory_(directory), buffer_(kBuffer) {}

  Status run() {
    root_ = TIDE_TRY(env::open_file(directory_, O_RDONLY | O_DIRECTORY));
    while (true) {
      Header header;
      TIDE_TRY(take(&header, sizeof header));
      if (is_zero(reinterpret_cast<const std::byte*>(&header), sizeof header)) return drain();
      TIDE_TRY(member(header));
    }
  }

 private:
  /// Reads behind the end mark, so that the source sees its own end (or its error) too.
  Status drain() {
    while (TIDE_TRY(source_(std::span(buffer_))) > 0) {
    }
    return {};
  }

  Status member(const Header& header) {
    uint64_t stated = TIDE_TRY(number_of(header.checksum, "checksum"));
    Header blank = header;
    std::memset(blank.checksum, ' ', sizeof blank.checksum);
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof blank; ++i)
      sum += reinterpret_cast<const unsigned char*>(&blank)[i];
    if (sum != stated) return Status(Code::kCorrupt, "tar: header checksum does not match");

    uint64_t size = TIDE_TRY(number_of(header.size, "size"));
    auto mode = static_cast<mode_t>(TIDE_TRY(number_of(header.mode, "mode")) & 07777);
    switch (header.type) {
      case 'L':
        long_name_ = TIDE_TRY(take_text(size));
        long_name_.resize(::strnlen(long_name_.c_str(), long_name_.size()));
        return {};
      case 'K':
        long_link_ = TIDE_TRY(take_text(size));
        long_link_.resize(::strnlen(long_link_.c_str(), long_link_.size()));
        return {};
      case 'x':
        return pax(TIDE_TRY(take_text(size)));
      case 'g':
        TIDE_TRY(take_text(size));
        return {};
      default:
        break;
    }

    std::string name(text_of(header.name));
    if (std::string_view(header.magic, 5) == "ustar" && header.magic[5] == '\0' &&
        header.prefix[0] != '\0') {
      name = fmt::format("{}/{}", text_of(header.prefix), name);
    }
    if (!long_name_.empty()) name = std::move(long_name_);
    std::string link =
        long_link_.empty() ? std::string(text_of(header.link)) : std::move(long_link_);
    if (pax_size_.has_value()) size = *pax_size_;
    long_name_.clear();
    long_link_.clear();
    pax_size_.reset();

    while (name.size() > 1 && name.ends_with('/')) name.pop_back();
    while (name.starts_with("./")) name.erase(0, name.find_first_not_of('/', 1));
    if (name.empty() || name == ".") return skip(size);
    if (!is_safe_member_name(name)) {
      return Status(Code::kInvalid, fmt::format("tar: member {} would leave the directory", name));
    }
    switch (header.type) {
      case '0':
      case '\0':
      case '7':
        return regular_file(name, mode, size);
      case '5':
        TIDE_TRY(make_directory(name, mode));
        return skip(size);
      case '2':
        TIDE_TRY(make_link(name, link));
        return skip(size);
      default:
        return Status(Code::kInvalid,
                      fmt::format("tar: member {} has type {}, neither a file nor a "
                                  "directory nor a symbolic link",
                                  name, header.type));
    }
  }

  Status pax(std::string_view records) {
    while (!records.empty()) {
      size_t length = 0;
      auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
      size_t digits = static_cast<size_t>(end - records.data());
      if (error != std::errc() || length > records.size() || length < digits + 3) {
        return Status(Code::kCorrupt, "tar: bad extended header");
      }
      std::string_view record = records.substr(digits + 1, length - digits - 2);
      records.remove_prefix(length);
      size_t equals = record.find('=');
      if (equals == record.npos) return Status(Code::kCorrupt, "tar: bad extended header");
      std::string_view key = record.substr(0, equals);
      std::string_view value = record.substr(equals + 1);
      if (key == "path") long_name_ = value;
      if (key == "linkpath") long_link_ = value;
      if (key == "size") {
        uint64_t size = 0;
        std::from_chars(value.data(), value.data() + value.size(), size);
        pax_size_ = size;
      }
    }
    return {};
  }

  /// The directory that `name` lies in, opened without following a link anywhere, and the last
  /// part.
  Result<env::FileDescriptor> open_parent(const std::string& name, std::string& last) {
    int dup = ::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0);
    if (dup < 0) return Status::from_errno(errno, "copy descriptor");
    env::FileDescriptor parent(dup);
    std::string_view rest = name;
    while (true) {
      size_t slash = rest.find('/');
      std::string part(rest.substr(0, slash));
      if (slash == rest.npos) {
        last = part;
        return parent;
      }
      rest.remove_prefix(std::min(rest.find_first_not_of('/', slash), rest.size()));
      if (part == ".") continue;
      constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
      int next = ::openat(parent.get(), part.c_str(), kFlags);
      if (next < 0 && errno == ENOENT) {
        ::mkdirat(parent.get(), part.c_str(), 0700);
        next = ::openat(parent.get(), part.c_str(), kFlags);
      }
      if (next < 0 && (errno == ELOOP || errno == ENOTDIR)) {
        return Status(
            Code::kInvalid,
            fmt::format("tar: member {} leads through {}, which is no directory", name, part));
      }
      if (next < 0) return Status::from_errno(errno, fmt::format("open {}/{}", directory_, name));
      parent = env::FileDescriptor(next);
    }
  }

  Status make_directory(const std::string& name, mode_t mode) {
    std::string last;
    env::FileDescriptor parent = TIDE_TRY(open_parent(name, last));
    if (::mkdirat(parent.get(), last.c_str(), mode | 0700) != 0) {
      if (errno != EEXIST)
        return Status::from_errno(errno, fmt::format("make {}/{}", directory_, name));
      struct stat info {};
      if (::fstatat(parent.get(), last.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 ||
          !S_ISDIR(info.st_mode)) {
        return Status(Code::kInvalid,
                      fmt::format("tar: {} is there twice, once not as a directory", name));
      }
      if (::fchmodat(parent.get(), last.c_str(), mode | 0700, 0) != 0) {
        return Status::from_errno(errno, fmt::format("chmod {}/{}", directory_, name));
      }
    }
    return {};
  }

  Status make_link(const std::string& name, const std::string& target) {
    std::string last;
    env::FileDescriptor parent = TIDE_TRY(open_parent(name, last));
    if (::symlinkat(target.c_str(), parent.get(), last.c_str()) != 0) {
      return Status::from_errno(errno, fmt::format("link {}/{}", directory_, name));
    }
    return {};
  }

  Status regular_file(const std::string& name, mode_t mode, uint64_t size) {
    std::string last;
    env::FileDescriptor parent = TIDE_TRY(open_parent(name, last));
    int fd = ::openat(parent.get(), last.c_str(),
                      O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) return Status::from_errno(errno, fmt::format("make {}/{}", directory_, name));
    env::FileDescriptor file(fd);
    uint64_t at = 0;
    bool ends_in_hole = false;
    while (at < size) {
      TIDE_TRY(fill());
      size_t part = static_cast<size_t>(std::min<uint64_t>(size - at, available()));
      // Whole zero blocks become holes: a fresh WAL segment is 16 MiB of them.
      size_t begin = 0;
      while (begin < part) {
        size_t end = begin;
        bool zero = false;
        while (end < part) {
          size_t step = std::min<size_t>(4096, part - end);
          bool step_zero = is_zero(buffer_.data() + position_ + end, step);
          if (end == begin) {
            zero = step_zero;
          } else if (step_zero != zero) {
            break;
          }
          end += step;
        }
        if (!zero) {
          Status written = env::write_at(
              file.get(), at + begin, BytesView(buffer_.data() + position_ + begin, end - begin));
          if (!written.ok()) {
            return std::move(written).with_context(fmt::format("{}/{}", directory_, name));
          }
        }
        ends_in_hole = zero;
        begin = end;
      }
      position_ += part;
      at += part;
    }
    if (ends_in_hole && ::ftruncate(file.get(), static_cast<off_t>(size)) != 0) {
      return Status::from_errno(errno, fmt::format("size {}/{}", directory_, name));
    }
    return discard(padding(size));
  }

  static uint64_t padding(uint64_t size) { return (kBlock - size % kBlock) % kBlock; }

  size_t available() const { return filled_ - position_; }

  /// Makes at least one byte available.
  Status fill() {
    if (available() > 0) return {};
    position_ = 0;
    filled_ = 0;
    size_t got = TIDE_TRY(source_(std::span(buffer_)));
    if (got == 0) return Status(Code::kCorrupt, "tar: the archive ends in the middle");
    filled_ = got;
    return {};
  }

  Status take(void* to, size_t size) {
    auto* out = static_cast<std::byte*>(to);
    while (size > 0) {
      TIDE_TRY(fill());
      size_t part = std::min(size, available());
      std::memcpy(out, buffer_.data() + position_, part);
      position_ += part;
      out += part;
      size -= part;
    }
    return {};
  }

  Result<std::string> take_text(uint64_t size) {
    if (size > kLongestName) return Status(Code::kCorrupt, "tar: an extended header is too long");
    std::string text(size, '\0');
    TIDE_TRY(take(text.data(), text.size()));
    TIDE_TRY(discard(padding(size)));
    return text;
  }

  Status discard(uint64_t size) {
    while (size > 0) {
      TIDE_TRY(fill());
      size_t part = static_cast<size_t>(std::min<uint64_t>(size, available()));
      position_ += part;
      size -= part;
    }
    return {};
  }

  Status skip(uint64_t size) { return discard(size + padding(size)); }

  const ByteSource& source_;
  const std::string& directory_;
  env::FileDescriptor root_;
  std::vector<std::byte> buffer_;
  size_t position_ = 0;
  size_t filled_ = 0;
  std::string long_name_;
  std::string long_link_;
  std::optional<uint64_t> pax_size_;
};

}  // namespace

bool is_safe_member_name(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != name.npos) return false;
  while (true) {
    std::string_view part = name.substr(0, name.find('/'));
    if (part == "..") return false;
    if (part.size() == name.size()) return true;
    name.remove_prefix(part.size() + 1);
  }
}

Status unpack_tar(const ByteSource& source, const std::string& directory) {
  return Unpacker(source, directory).run();
}

}  // namespace tide::compute
