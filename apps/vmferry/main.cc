// SPDX-License-Identifier: Apache-2.0
//
// main() and the wiring: the one place that names the real clock, files, sockets and processes.

#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "cli/world.h"
#include "cloud_factory.h"
#include "log_backend.h"
#include "region/control/serve.h"
#include "region_door.h"
#include "signals.h"
#include "store/sqlite_store.h"
#include "sys/file.h"

namespace vmferry::app {
namespace {

// Keys live in this process's memory: no core dump may carry them.
void ForbidCoreDumps() {
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);
}

// A disk may be split into a thousand files, and each of them is open while it is read.
void AllowManyFiles() {
  rlimit files = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 65536);
  ::setrlimit(RLIMIT_NOFILE, &files);
}

int TerminalColumns() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

Result<std::unique_ptr<store::Store>> OpenStore(const sys::Folders& folders) {
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(folders.state));
  VMFERRY_ASSIGN_OR_RETURN(std::unique_ptr<store::SqliteStore> store,
                           store::SqliteStore::Open(folders.state / "journal.db"));
  return std::unique_ptr<store::Store>(std::move(store));
}

// The region's own process, started by `region start`. It waits for its signals itself.
int ServeRegion(int argc, char** argv) {
  sys::SystemClock clock;
  sys::SystemRandom random;
  const std::unique_ptr<Log> log = MakeLog(/*debug=*/false);
  const std::vector<std::string> arguments(argv + 3, argv + argc);
  const auto options = region::control::ParseServeArguments(arguments);
  const auto served = options ? region::control::Serve(*options, {clock, random, *log})
                              : Result<void>(options.error());
  if (served) return 0;
  std::fprintf(stderr, "%s\n", served.error().ToString().c_str());
  return 1;
}

int Main(int argc, char** argv) {
  ForbidCoreDumps();
  AllowManyFiles();
  ::umask(077);
  if (argc > 3 && std::string_view(argv[1]) == "region" && std::string_view(argv[2]) == "serve") {
    return ServeRegion(argc, argv);
  }
  const SignalWatch signals;
  sys::SystemClock clock;
  sys::SystemRandom random;
  sys::SystemNetwork network;
  const sys::SystemEnvironment environment;
  const sys::Folders folders = sys::FindFolders(environment);
  const std::unique_ptr<Log> log = MakeLog(environment.Get("VMFERRY_DEBUG").has_value());
  RegionDoor region(clock, random, *log, folders);
  ProductClouds clouds(clock, random, *log, environment, folders, region,
                       [](const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); });
  cli::World world{.clock = clock,
                   .random = random,
                   .network = network,
                   .clouds = clouds,
                   .region = region,
                   .open_store = [&folders] { return OpenStore(folders); },
                   .folders = folders,
                   .source_date_epoch =
                       ParseUint(environment.Get("SOURCE_DATE_EPOCH").value_or("0")).value_or(0),
                   .stop = signals.stop_token(),
                   .out = stdout,
                   .talk = stderr,
                   .talk_is_terminal = ::isatty(STDERR_FILENO) == 1,
                   .columns = TerminalColumns};
  return cli::RunCli(argc, argv, world);
}

}  // namespace
}  // namespace vmferry::app

int main(int argc, char** argv) { return vmferry::app::Main(argc, argv); }
