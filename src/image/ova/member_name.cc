// SPDX-License-Identifier: Apache-2.0
#include "image/ova/member_name.h"

#include <algorithm>
#include <cctype>

#include "image/chain_path.h"

namespace vmferry::image::ova {
namespace {

bool IsPrintable(char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; }

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<std::string> NormalizeMemberName(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes || name.front() == '/') return std::nullopt;
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return IsPrintable(c) && c != '\\'; });
  if (!plain) return std::nullopt;
  std::string normal;
  while (!name.empty()) {
    const std::size_t slash = name.find('/');
    const std::string_view component = name.substr(0, slash);
    name = slash == name.npos ? std::string_view() : name.substr(slash + 1);
    if (component.empty() || component == ".") continue;
    if (component == "..") return std::nullopt;
    if (!normal.empty()) normal += '/';
    normal += component;
  }
  if (normal.empty()) return std::nullopt;
  return normal;
}

std::string_view BaseName(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  return slash == name.npos ? name : name.substr(slash + 1);
}

bool HasExtension(std::string_view name, std::string_view extension) {
  if (name.size() < extension.size()) return false;
  const std::string_view end = name.substr(name.size() - extension.size());
  return std::equal(end.begin(), end.end(), extension.begin(), [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == b;
  });
}

std::string_view Stem(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == name.npos || name.find('/', dot) != name.npos ? name : name.substr(0, dot);
}

std::optional<std::string> DecodeUri(std::string_view uri) {
  std::string decoded;
  for (std::size_t i = 0; i < uri.size(); ++i) {
    if (uri[i] != '%') {
      decoded += uri[i];
      continue;
    }
    if (uri.size() - i < 3) return std::nullopt;
    const int high = HexValue(uri[i + 1]);
    const int low = HexValue(uri[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::string Shown(std::string_view name) {
  std::string shown(name.substr(0, 200));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return !IsPrintable(c); }, '?');
  return shown;
}

}  // namespace vmferry::image::ova
