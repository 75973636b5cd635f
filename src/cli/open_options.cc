// SPDX-License-Identifier: Apache-2.0
#include "cli/open_options.h"

namespace vmferry::cli {

image::OpenOptions OpenOptionsOf(const Arguments& arguments) {
  return {.allow_running = arguments.allow_running,
          .allow_paths = {arguments.allow_paths.begin(), arguments.allow_paths.end()},
          .disk = arguments.disk};
}

}  // namespace vmferry::cli
