// SPDX-License-Identifier: Apache-2.0
//
// TempDir: a folder that exists for the life of a test.

#pragma once

#include <filesystem>
#include <string_view>

namespace vmferry::testing {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace vmferry::testing
