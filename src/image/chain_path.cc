// SPDX-License-Identifier: Apache-2.0
#include "image/chain_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <system_error>

namespace vmferry::image {
namespace {

namespace fs = std::filesystem;

Error BadName(std::string_view name, std::string_view why) {
  return Error(ErrorCode::kInvalidArgument, "image.chain.bad_name",
               fmt::format("the disk image names a file '{}', which {}", name.substr(0, 200), why))
      .WithRemedy(
          "name the file with a plain path beside the image, or convert the disk with the "
          "tool that made it");
}

/// "\\?\C:\vms\a.vhdx", "C:\vms\a.vhdx", "\\host\share\a.vhdx", ".\a.vhdx" to Unix spelling; what
/// was absolute stays absolute.
std::string TurnWindows(std::string_view name) {
  const bool verbatim = name.starts_with("\\\\?\\") || name.starts_with("//?/");
  if (verbatim) name.remove_prefix(4);
  const bool has_drive =
      name.size() >= 2 && std::isalpha(static_cast<unsigned char>(name[0])) != 0 && name[1] == ':';
  if (has_drive) name.remove_prefix(2);
  // Behind "\\?\" stands a drive, or else "UNC\host\share" or "Volume{GUID}": never relative.
  std::string turned(verbatim && !has_drive && !name.empty() ? "/" : "");
  turned += name;
  std::replace(turned.begin(), turned.end(), '\\', '/');
  return turned;
}

/// QEMU takes "word:" in front of the first slash for a protocol, and so do URIs.
bool HasProtocol(std::string_view name) {
  const std::size_t colon = name.find(':');
  return colon != name.npos && colon < name.find('/');
}

}  // namespace

Result<fs::path> PathOfName(std::string_view name, NameStyle style) {
  if (name.empty()) return BadName(name, "is empty");
  if (name.size() > kMaxNameBytes) return BadName(name, "is too long for a path");
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
  });
  if (!printable) return BadName("...", "has control characters");
  const std::string spelled = style == NameStyle::kWindows ? TurnWindows(name) : std::string(name);
  if (spelled.empty()) return BadName(name, "is empty");
  if (HasProtocol(spelled)) return BadName(name, "is not a path but a protocol or URI");
  return fs::path(spelled);
}

bool IsInside(const fs::path& path, const fs::path& root) {
  const auto [root_end, path_end] =
      std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  // "/a/" ends in an empty component.
  return root_end == root.end() || (root_end->empty() && std::next(root_end) == root.end());
}

Result<fs::path> ResolveInside(const fs::path& path, const fs::path& folder,
                               const std::vector<fs::path>& roots) {
  const fs::path joined = folder / path;  // an absolute path stays what it is
  std::error_code failure;
  const fs::path resolved = fs::canonical(joined, failure);
  const std::string unreachable = failure == std::errc::no_such_file_or_directory
                                      ? "does not exist"
                                      : "cannot be reached: " + failure.message();
  // Whether a file outside exists is nobody's business: look at the spelling first.
  const fs::path judged = failure ? fs::weakly_canonical(joined, failure) : resolved;
  const bool inside = std::any_of(roots.begin(), roots.end(),
                                  [&](const fs::path& root) { return IsInside(judged, root); });
  if (!inside) {
    return Error(ErrorCode::kPermissionDenied, "image.chain.outside",
                 fmt::format("the disk image names {}, which lies outside its own folder",
                             path.string()))
        .With("path", path.string())
        .WithRemedy("if you trust the image, allow the folder with --allow-path DIR");
  }
  if (resolved.empty()) {
    return Error(ErrorCode::kNotFound, "image.chain.missing",
                 fmt::format("the disk image names {}, which {}", path.string(), unreachable))
        .With("path", joined.string())
        .WithRemedy("put all files of the disk, its parents included, into one folder");
  }
  return resolved;
}

}  // namespace vmferry::image
