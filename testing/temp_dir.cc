// SPDX-License-Identifier: Apache-2.0
#include "testing/temp_dir.h"

#include <cstdlib>
#include <string>

#include "base/check.h"

namespace vmferry::testing {

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "vmferry-test-XXXXXX").string();
  VMFERRY_CHECK(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace vmferry::testing
