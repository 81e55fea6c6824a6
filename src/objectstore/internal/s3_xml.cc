#include "objectstore/internal/s3_xml.h"

#include <fmt/format.h>

#include <charconv>
#include <functional>

#include "objectstore/internal/url.h"

namespace tide::objectstore::internal {
namespace {

Status corrupt(std::string_view what) {
  return Status(Code::kCorrupt,
                fmt::format("answer of the S3 server is not the XML expected: {}", what));
}

void append_utf8(std::string& to, uint32_t point) {
  if (point < 0x80) {
    to += static_cast<char>(point);
  } else if (point < 0x800) {
    to += static_cast<char>(0xC0 | (point >> 6));
    to += static_cast<char>(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    to += static_cast<char>(0xE0 | (point >> 12));
    to += static_cast<char>(0x80 | ((point >> 6) & 0x3F));
    to += static_cast<char>(0x80 | (point & 0x3F));
  } else {
    to += static_cast<char>(0xF0 | (point >> 18));
    to += static_cast<char>(0x80 | ((point >> 12) & 0x3F));
    to += static_cast<char>(0x80 | ((point >> 6) & 0x3F));
    to += static_cast<char>(0x80 | (point & 0x3F));
  }
}

Result<std::string> unescape(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '&') {
      plain += text[i];
      continue;
    }
    size_t end = text.find(';', i);
    if (end == std::string_view::npos) return corrupt("entity without end");
    std::string_view name = text.substr(i + 1, end - i - 1);
    if (name == "amp")
      plain += '&';
    else if (name == "lt")
      plain += '<';
    else if (name == "gt")
      plain += '>';
    else if (name == "quot")
      plain += '"';
    else if (name == "apos")
      plain += '\'';
    else if (name.size() > 1 && name[0] == '#') {
      bool is_hex = name[1] == 'x' || name[1] == 'X';
      std::string_view digits = name.substr(is_hex ? 2 : 1);
      uint32_t point = 0;
      auto [stop, error] =
          std::from_chars(digits.data(), digits.data() + digits.size(), point, is_hex ? 16 : 10);
      if (digits.empty() || error != std::errc() || stop != digits.data() + digits.size() ||
          point == 0 || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) {
        return corrupt("bad character reference");
      }
      append_utf8(plain, point);
    } else {
      return corrupt(fmt::format("unknown entity &{};", name));
    }
    i = end;
  }
  return plain;
}

/// Calls `on_end(path, text)` at the end of each element; `path` is "Root/Child/Leaf" without
/// namespace prefixes, `text` the unescaped text since the last tag.
Status walk(std::string_view xml,
            const std::function<Status(const std::string& path, const std::string& text)>& on_end) {
  std::vector<std::string> open;
  std::string text;
  auto path = [&] {
    std::string joined;
    for (const std::string& name : open) joined += (joined.empty() ? "" : "/") + name;
    return joined;
  };
  size_t at = 0;
  while (at < xml.size()) {
    size_t tag = std::min(xml.find('<', at), xml.size());
    if (!open.empty()) text += TIDE_TRY(unescape(xml.substr(at, tag - at)));
    if (tag == xml.size()) break;
    std::string_view here = xml.substr(tag);
    auto skip_past = [&](std::string_view mark) -> Status {
      size_t end = here.find(mark);
      if (end == std::string_view::npos) return corrupt(fmt::format("no {}", mark));
      at = tag + end + mark.size();
      return {};
    };
    if (here.starts_with("<?")) {
      TIDE_TRY(skip_past("?>"));
      continue;
    }
    if (here.starts_with("<!--")) {
      TIDE_TRY(skip_past("-->"));
      continue;
    }
    if (here.starts_with("<![CDATA[")) {
      TIDE_TRY(skip_past("]]>"));
      text += here.substr(9, at - tag - 12);
      continue;
    }
    if (here.starts_with("<!")) return corrupt("a document type");
    TIDE_TRY(skip_past(">"));
    std::string_view inside = xml.substr(tag + 1, at - tag - 2);
    bool closing = inside.starts_with("/");
    bool empty = inside.ends_with("/");
    if (closing) inside.remove_prefix(1);
    if (empty) inside.remove_suffix(1);
    std::string_view name = inside.substr(0, inside.find_first_of(" \t\r\n"));
    if (size_t colon = name.find(':'); colon != std::string_view::npos)
      name.remove_prefix(colon + 1);
    if (name.empty()) return corrupt("a tag without name");
    if (!closing) {
      if (open.size() >= 32) return corrupt("nested too deeply");
      open.emplace_back(name);
      text.clear();
    }
    if (closing || empty) {
      if (open.empty() || open.back() != name)
        return corrupt(fmt::format("</{}> out of place", name));
      TIDE_TRY(on_end(path(), text));
      open.pop_back();
      text.clear();
    }
  }
  if (!open.empty()) return corrupt(fmt::format("<{}> is not closed", open.back()));
  return {};
}

}  // namespace

Result<ListPage> parse_list_page(std::string_view xml) {
  ListPage page;
  ObjectInfo current;
  bool has_key = false;
  bool has_size = false;
  bool truncated = false;
  bool saw_root = false;
  bool url_encoded = false;
  std::string token;
  TIDE_TRY(walk(xml, [&](const std::string& path, const std::string& text) -> Status {
    if (path == "ListBucketResult") {
      saw_root = true;
    } else if (path == "ListBucketResult/IsTruncated") {
      truncated = text == "true";
    } else if (path == "ListBucketResult/NextContinuationToken") {
      token = text;
    } else if (path == "ListBucketResult/EncodingType") {
      url_encoded = text == "url";
    } else if (path == "ListBucketResult/Contents/Key") {
      current.key = text;
      has_key = true;
    } else if (path == "ListBucketResult/Contents/Size") {
      auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), current.size);
      if (error != std::errc() || stop != text.data() + text.size()) return corrupt("a bad size");
      has_size = true;
    } else if (path == "ListBucketResult/Contents") {
      if (!has_key || !has_size) return corrupt("an object without key or size");
      page.objects.push_back(std::move(current));
      current = {};
      has_key = has_size = false;
    }
    return {};
  }));
  if (!saw_root) return corrupt("no ListBucketResult");
  if (truncated && token.empty()) return corrupt("truncated list without continuation token");
  if (truncated) page.next_token = std::move(token);
  if (url_encoded) {
    for (ObjectInfo& object : page.objects) object.key = TIDE_TRY(uri_decode(object.key, true));
  }
  return page;
}

S3Error parse_error(std::string_view xml) {
  S3Error error;
  Status walked = walk(xml, [&](const std::string& path, const std::string& text) -> Status {
    if (path == "Error/Code") error.code = text;
    if (path == "Error/Message") error.message = text;
    return {};
  });
  walked.ignore("a body that is no S3 error leaves the fields empty; the HTTP status still speaks");
  return error;
}

Result<std::string> parse_element(std::string_view xml, std::string_view name) {
  std::optional<std::string> found;
  TIDE_TRY(walk(xml, [&](const std::string& path, const std::string& text) -> Status {
    size_t slash = path.rfind('/');
    if (!found && path.substr(slash == std::string::npos ? 0 : slash + 1) == name) found = text;
    return {};
  }));
  if (!found) return corrupt(fmt::format("no <{}>", name));
  return *found;
}

std::string escape_text(std::string_view text) {
  std::string escaped;
  for (char c : text) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else if (c == '"')
      escaped += "&quot;";
    else
      escaped += c;
  }
  return escaped;
}

}  // namespace tide::objectstore::internal
