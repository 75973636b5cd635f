// SPDX-License-Identifier: Apache-2.0
#include "cli/open_options.h"

#include <algorithm>
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

unsigned ThreadsForDisks() { return std::clamp(std::thread::hardware_concurrency(), 1U, 16U); }

}  // namespace vmferry::cli
