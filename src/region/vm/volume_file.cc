// SPDX-License-Identifier: Apache-2.0
#include "region/vm/volume_file.h"

#include <fmt/format.h>

#include <system_error>

#include "base/units.h"
#include "sys/file.h"
#include "sys/process.h"

namespace vmferry::region::vm {
namespace {

constexpr std::chrono::minutes kPatience{2};  // it writes a header and empty tables
constexpr std::uint64_t kFileMax = 256 * kMiB;

}  // namespace

Result<void> MakeVolumeFile(sys::Clock& clock, const Sandbox& sandbox,
                            const std::filesystem::path& folder, const std::string& file,
                            std::uint64_t size_bytes, const std::string& backing) {
  // In a folder of its own: the unprivileged user may not write where the others lie.
  const std::filesystem::path work = folder / (file + ".work");
  std::error_code failure;
  std::filesystem::remove_all(work, failure);
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(work));
  VMFERRY_RETURN_IF_ERROR(sandbox.Give(work));
  std::vector<std::string> arguments = {"qemu-img", "create", "-q", "-f", "qcow2"};
  if (!backing.empty()) {
    // -u: not opened now, since its name holds only where the file will lie.
    arguments.insert(arguments.end(), {"-u", "-F", "raw", "-b", backing});
  }
  arguments.insert(arguments.end(), {"disk.qcow2", std::to_string(size_bytes)});
  const auto make = [&]() -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(
        const sys::ProcessOutcome outcome,
        sys::RunProcess(clock,
                        sandbox.Confine(std::move(arguments), work,
                                        {.cpu = std::chrono::seconds(60),
                                         .address_space_bytes = 2 * kGiB,
                                         .file_bytes = kFileMax,
                                         .dies_with_us = true}),
                        OpContext{}.WithDeadline(clock.DeadlineIn(kPatience))));
    if (outcome.exit_code != 0) {
      std::string_view words = outcome.error_output;
      if (const std::size_t end = words.find('\n'); end != words.npos) words = words.substr(0, end);
      return Error(ErrorCode::kDataLoss, "region.tool_failed",
                   fmt::format("qemu-img ended with {}: {}", outcome.exit_code, words));
    }
    VMFERRY_RETURN_IF_ERROR(sandbox.TakeBack(work / "disk.qcow2"));
    VMFERRY_ASSIGN_OR_RETURN(const sys::File content,
                             sys::File::Open(work / "disk.qcow2", sys::File::Mode::kReadWrite));
    VMFERRY_RETURN_IF_ERROR(content.Sync());
    std::filesystem::rename(work / "disk.qcow2", folder / file, failure);
    if (failure) return sys::ErrnoError("move", folder / file, failure.value());
    return sys::SyncFolder(folder);
  };
  Result<void> made = make();
  std::filesystem::remove_all(work, failure);
  return made;
}

}  // namespace vmferry::region::vm
