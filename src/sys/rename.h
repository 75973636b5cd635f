// SPDX-License-Identifier: Apache-2.0
//
// RenameFile: gives a finished file its name, without taking another file's.

#pragma once

#include <filesystem>

#include "base/result.h"

namespace vmferry::sys {

/// Gives a file another name in the same file system, and syncs the folder.
/// Errors: kAlreadyExists io.exists when the name is taken and `replace` is false; io.* as File.
Result<void> RenameFile(const std::filesystem::path& from, const std::filesystem::path& to,
                        bool replace);

}  // namespace vmferry::sys
