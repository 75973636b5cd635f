// SPDX-License-Identifier: Apache-2.0
#include "region/import/reachable_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "sys/file.h"

namespace vmferry::region {
namespace {

std::filesystem::path FolderIn(const std::filesystem::path& place, const std::string& id) {
  return place / ("vmferry-" + id);
}

// Whether everybody may pass through all folders of the path.
bool Searchable(const std::filesystem::path& path) {
  std::filesystem::path folder;
  for (const std::filesystem::path& part : std::filesystem::absolute(path)) {
    folder /= part;
    struct stat status = {};
    if (::stat(folder.c_str(), &status) != 0) return false;
    if (S_ISDIR(status.st_mode) && (status.st_mode & S_IXOTH) == 0) return false;
  }
  return true;
}

// Where a folder may lie: second names must be on the file system of the first ones.
std::vector<std::filesystem::path> PlacesFor(const std::filesystem::path& work) {
  std::vector<std::filesystem::path> places = {"/var/tmp", "/tmp"};
  for (auto above = std::filesystem::absolute(work).parent_path(); above.has_relative_path();
       above = above.parent_path()) {
    if (!Searchable(above)) continue;
    places.push_back(above);
    break;
  }
  return places;
}

void RemoveIn(const std::filesystem::path& place, const std::string& id) {
  const std::filesystem::path folder = FolderIn(place, id);
  struct stat status = {};
  // Nothing that somebody else put there.
  if (::lstat(folder.c_str(), &status) != 0 || status.st_uid != ::geteuid()) return;
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

}  // namespace

Result<ReachableDisks> MakeReachable(const std::filesystem::path& work,
                                     std::vector<std::string> names, const std::string& id) {
  // The work folder itself is the sandbox user's own.
  if (::geteuid() != 0 || Searchable(work.parent_path())) return ReachableDisks{work, names};
  RemoveReachable(work, id);
  for (const std::filesystem::path& place : PlacesFor(work)) {
    const std::filesystem::path folder = FolderIn(place, id);
    if (::mkdir(folder.c_str(), 0711) != 0 || ::chmod(folder.c_str(), 0711) != 0) continue;
    ReachableDisks disks{.folder = folder, .names = {}};
    for (const std::string& name : names) {
      const std::string link = fmt::format("disk-{}", disks.names.size());
      if (::link((work / name).c_str(), (folder / link).c_str()) != 0) break;
      disks.names.push_back(link);
    }
    if (disks.names.size() == names.size()) return disks;
    RemoveIn(place, id);
  }
  return Error(ErrorCode::kFailedPrecondition, "region.folder_unreachable",
               fmt::format("the unprivileged user cannot reach disks in {}", work.string()))
      .WithRemedy(
          "run the region in a folder that everybody may enter, or as another user than "
          "root");
}

void RemoveReachable(const std::filesystem::path& work, const std::string& id) {
  for (const std::filesystem::path& place : PlacesFor(work)) RemoveIn(place, id);
}

}  // namespace vmferry::region
