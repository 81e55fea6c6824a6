#pragma once

#include <string>
#include <string_view>

namespace tide::deltalog {

/// Paths in the log are URIs: relative to the table's root, or absolute. Actions keep them as they
/// were written (other readers compare them byte for byte); these turn them into names of files and
/// back.

/// "a%20b" -> "a b". A '%' that two hex digits do not follow stays.
std::string percent_decode(std::string_view path);
/// Leaves letters, digits and -._~/=+@!$&'()*,;: as they are and encodes every other byte, so that
/// a Java, Rust or C++ reader decodes the same name from it.
std::string percent_encode(std::string_view path);

/// A file's name from an action's path: decoded; `file:` URIs become absolute paths ("file:/a",
/// "file:///a" and "/a" are one file). Other schemes stay as they are, decoded.
std::string file_name(std::string_view path);

/// True for "/a" and "scheme:..." (after file_name()).
bool is_absolute(std::string_view name);

}  // namespace tide::deltalog
