// SPDX-License-Identifier: Apache-2.0
//
// Where a name inside an image may lead: the only rule by which a stranger's image chooses a file.
//
// A name is resolved in the folder of the file that names it; what it resolves to, symbolic links
// followed, must lie inside one of the allowed folders.

#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/companions.h"

namespace vmferry::image {

/// More than any file system takes.
inline constexpr std::size_t kMaxNameBytes = 4096;

/// The name as a path of this system: Windows' separators turned, its drive or prefix dropped when
/// the rest is absolute. Errors: kInvalidArgument image.chain.bad_name for an empty name, control
/// characters, or a URI or pseudo-protocol ("json:", "nbd://").
Result<std::filesystem::path> PathOfName(std::string_view name, NameStyle style);

/// The existing file that `path` (relative to `folder`, or absolute) leads to, all links resolved.
///
/// Errors: kNotFound image.chain.missing; kPermissionDenied image.chain.outside when it is not
///         inside one of `roots`, which are resolved folders.
Result<std::filesystem::path> ResolveInside(const std::filesystem::path& path,
                                            const std::filesystem::path& folder,
                                            const std::vector<std::filesystem::path>& roots);

/// True when the resolved `path` is `root` or lies below it.
bool IsInside(const std::filesystem::path& path, const std::filesystem::path& root);

}  // namespace vmferry::image
