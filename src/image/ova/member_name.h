// SPDX-License-Identifier: Apache-2.0
//
// Names of an appliance's files: as the archive, the descriptor and the manifest spell them.

#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vmferry::image::ova {

/// The name as a relative path without "." and empty components. Nothing when it is empty, too
/// long, absolute, leads out of its folder, or has control characters or backslashes.
std::optional<std::string> NormalizeMemberName(std::string_view name);

/// The last component.
std::string_view BaseName(std::string_view name);

/// True when the name ends in `extension` (".ovf"), in any case.
bool HasExtension(std::string_view name, std::string_view extension);

/// The name without its extension.
std::string_view Stem(std::string_view name);

/// "%20" and the like decoded, as in URIs. Nothing when an escape is broken.
std::optional<std::string> DecodeUri(std::string_view uri);

/// A stranger's name made fit for a message: short, without control characters.
std::string Shown(std::string_view name);

}  // namespace vmferry::image::ova
