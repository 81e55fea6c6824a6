#pragma once

#include <string>
#include <string_view>

namespace tide {

/// What the caller can do about an error.
enum class Code {
  kOk,
  kInvalid,      ///< The request itself is wrong; repeating it cannot help.
  kNotFound,     ///< The named thing does not exist.
  kExists,       ///< The named thing exists already.
  kConflict,     ///< The thing is in a state that forbids the request (branch has children, ...).
  kStaleEpoch,   ///< The caller was fenced: a newer epoch of its timeline exists.
  kOutOfRange,   ///< The LSN or time lies outside the history that is kept.
  kRetry,        ///< Nothing is wrong; the same request may succeed a little later.
  kUnavailable,  ///< A part we need does not answer (process dead, object store unreachable).
  kNoSpace,      ///< The disk or quota is full.
  kIo,           ///< The operating system refused a read or write.
  kCorrupt,      ///< Stored or received bytes contradict their checksum or format.
  kDenied,       ///< The caller may not do this.
  kBug,          ///< We contradict ourselves.
};

/// Name of a code as it appears in logs and JSON, e.g. "NOT_FOUND".
std::string_view code_name(Code code);

/// Success, or a code with a message that says what happened, facts last.
///
/// `detail` and `hint` carry what a user needs beyond the message: what was checked, and the
/// command that helps. They correspond to PostgreSQL's DETAIL and HINT fields.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status ok_status() { return {}; }
  /// kIo (kNoSpace for ENOSPC and EDQUOT, kNotFound for ENOENT) with strerror(`error`) behind
  /// `what`.
  static Status from_errno(int error, std::string_view what);

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& detail() const { return detail_; }
  const std::string& hint() const { return hint_; }

  /// Puts a verb phrase in front: "flush WAL up to 0/1F8: sync: no space left".
  Status with_context(std::string_view context) &&;
  Status with_detail(std::string detail) &&;
  Status with_hint(std::string hint) &&;

  /// "NOT_FOUND: no branch dev" plus DETAIL and HINT lines where present.
  std::string to_string() const;

  /// Drops an error on purpose; the reason is for the reader.
  void ignore(std::string_view reason) const { (void)reason; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
  std::string detail_;
  std::string hint_;
};

}  // namespace tide
