// SPDX-License-Identifier: Apache-2.0
#include "cli/open_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <thread>

namespace vmferry::cli {

image::OpenOptions OpenOptionsOf(const Arguments& arguments) {
  return {.allow_running = arguments.allow_running,
          .allow_paths = {arguments.allow_paths.begin(), arguments.allow_paths.end()},
          .disk = arguments.disk};
}

image::OpenOptions OtherOpenOptionsOf(const Arguments& arguments) {
  image::OpenOptions options = OpenOptionsOf(arguments);
  options.disk = arguments.other_disk;
  return options;
}

Result<void> CheckNotSource(const image::OpenedDisk& disk, const std::string& target) {
  std::error_code failure;
  for (const image::DiskFile& file : disk.files) {
    if (!std::filesystem::equivalent(file.path, target, failure) || failure) continue;
    return Error(ErrorCode::kInvalidArgument, "target.is_source",
                 fmt::format("{} is a part of the source", target))
        .With("path", target)
        .WithRemedy("choose another name");
  }
  return {};
}

unsigned ThreadsForDisks() { return std::clamp(std::thread::hardware_concurrency(), 1U, 16U); }

}  // namespace vmferry::cli
