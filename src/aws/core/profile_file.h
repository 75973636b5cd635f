// SPDX-License-Identifier: Apache-2.0
//
// ProfileFile: the INI dialect of ~/.aws/config and ~/.aws/credentials.
//
// Sections in brackets, "key = value", comments after # or ; at the start of a line or after a
// blank; indented lines below "key =" are that key's sub-keys, kept as "key.sub".
//
// Thread safety: a value.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace vmferry::aws {

class ProfileFile {
 public:
  using Section = std::map<std::string, std::string, std::less<>>;

  /// Errors: kInvalidArgument aws.bad_config with the line.
  static Result<ProfileFile> Parse(std::string_view text);

  /// The section of that exact name ("default", "profile work", "services local"), or nullptr.
  const Section* Find(std::string_view section) const;

 private:
  std::map<std::string, Section, std::less<>> sections_;
};

}  // namespace vmferry::aws
