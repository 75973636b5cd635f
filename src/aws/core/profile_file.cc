// SPDX-License-Identifier: Apache-2.0
#include "aws/core/profile_file.h"

#include <fmt/format.h>

#include <algorithm>

namespace vmferry::aws {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// A value ends where a comment begins: at # or ; after a blank.
std::string_view WithoutComment(std::string_view value) {
  for (std::size_t i = 1; i < value.size(); ++i) {
    if ((value[i] == '#' || value[i] == ';') && IsBlank(value[i - 1])) return value.substr(0, i);
  }
  return value;
}

std::string Normalised(std::string_view name) {  // "profile   a" and "profile a" are one section
  std::string out;
  for (const char c : Trim(name)) {
    const bool blank = IsBlank(c);
    if (blank && (out.empty() || out.back() == ' ')) continue;
    out += blank ? ' ' : c;
  }
  return out;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

Result<ProfileFile> ProfileFile::Parse(std::string_view text) {
  ProfileFile file;
  Section* section = nullptr;
  std::string parent;  // the key whose sub-keys may follow
  std::uint64_t number = 0;
  // The line itself may hold a secret: only its number is told.
  const auto bad = [&number](std::string_view why) {
    return Error(ErrorCode::kInvalidArgument, "aws.bad_config",
                 fmt::format("line {} {}", number, why))
        .With("line", number);
  };
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const std::string_view content = Trim(line);
    if (content.empty() || content.front() == '#' || content.front() == ';') continue;
    if (content.front() == '[') {
      const std::size_t close = content.find(']');
      if (close == content.npos) return bad("has a section without its closing bracket");
      section = &file.sections_[Normalised(content.substr(1, close - 1))];
      parent.clear();
      continue;
    }
    const std::size_t equals = content.find('=');
    if (IsBlank(line.front()) && !parent.empty()) {
      if (equals == content.npos) continue;  // a continued value of a key we do not use
      (*section)[parent + "." + Lower(Trim(content.substr(0, equals)))] =
          Trim(WithoutComment(content.substr(equals + 1)));
      continue;
    }
    if (equals == content.npos) return bad("is neither a section nor a key with a value");
    if (section == nullptr) return bad("stands before the first section");
    const std::string key = Lower(Trim(content.substr(0, equals)));
    if (key.empty()) return bad("has no key");
    (*section)[key] = Trim(WithoutComment(content.substr(equals + 1)));
    parent = key;
  }
  return file;
}

const ProfileFile::Section* ProfileFile::Find(std::string_view section) const {
  const auto found = sections_.find(section);
  return found == sections_.end() ? nullptr : &found->second;
}

}  // namespace vmferry::aws
