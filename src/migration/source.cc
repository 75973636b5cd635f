// SPDX-License-Identifier: Apache-2.0
#include "migration/source.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "image/open.h"

namespace vmferry::migration {
namespace {

constexpr std::uint64_t kSampleCount = 16;
constexpr std::uint64_t kSampleBytes = 64 * kKiB;

// SHA-256 over ranges spread evenly over the file, first and last bytes included: catches a file
// that was replaced or rewritten with its time stamp kept.
Result<std::string> SampleOf(const sys::File& file, std::uint64_t size_bytes) {
  codec::Digester digester(codec::DigestKind::kSha256);
  std::vector<std::byte> buffer(std::min(size_bytes, kSampleBytes));
  const std::uint64_t last_offset = size_bytes - buffer.size();
  for (std::uint64_t i = 0; i < kSampleCount; ++i) {
    // i * last_offset cannot overflow: files are smaller than 2^59 bytes on every system.
    VMFERRY_RETURN_IF_ERROR(file.ReadAt(last_offset * i / (kSampleCount - 1), buffer));
    digester.Update(buffer);
  }
  std::array<std::byte, 32> out;
  return codec::HexEncode(digester.Finish(out));
}

}  // namespace

Result<OpenedSource> OpenSource(const std::filesystem::path& path, bool allow_running) {
  std::error_code failure;
  const std::filesystem::path absolute = std::filesystem::absolute(path, failure);
  VMFERRY_ASSIGN_OR_RETURN(image::OpenedDisk opened,
                           image::OpenDisk(absolute.string(), {.allow_running = allow_running}));
  std::unique_ptr<image::DiskImage> image = std::move(opened.image);
  VMFERRY_ASSIGN_OR_RETURN(sys::File file, sys::File::Open(absolute, sys::File::Mode::kRead));
  VMFERRY_ASSIGN_OR_RETURN(const sys::FileIdentity identity, file.Identity());
  VMFERRY_ASSIGN_OR_RETURN(std::string sample, SampleOf(file, identity.size_bytes));
  const image::DiskImageInfo& info = image->Info();
  SourceSpec spec{.path = absolute.string(),
                  .identity = identity,
                  .sample = std::move(sample),
                  .format = info.format,
                  .subformat = info.subformat,
                  .wire_format = info.wire_format,
                  .virtual_size_bytes = image->SizeBytes(),
                  .allow_running = allow_running};
  return OpenedSource{std::move(image), std::move(file), std::move(spec)};
}

Result<void> CheckUnchanged(const SourceSpec& then, const SourceSpec& now) {
  std::string_view what;
  if (then.identity.size_bytes != now.identity.size_bytes) {
    what = "its size";
  } else if (then.identity.device != now.identity.device ||
             then.identity.inode != now.identity.inode) {
    what = "its identity (another file has taken its place)";
  } else if (then.identity.modified_ns != now.identity.modified_ns) {
    what = "its modification time";
  } else if (then.sample != now.sample || then.virtual_size_bytes != now.virtual_size_bytes) {
    what = "its content";
  } else {
    return {};
  }
  return Error(ErrorCode::kFailedPrecondition, "source.changed",
               fmt::format("{} has changed since the migration began: {}", then.path, what))
      .With("path", then.path)
      .WithRemedy("begin a new migration, and clean up this one with vmferry clean");
}

Result<RunLock> RunLock::Take(const std::filesystem::path& state_folder, std::string_view name) {
  const std::filesystem::path folder = state_folder / "locks";
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(folder));
  VMFERRY_ASSIGN_OR_RETURN(sys::File file, sys::File::Open(folder / fmt::format("{}.lock", name),
                                                           sys::File::Mode::kCreate));
  VMFERRY_ASSIGN_OR_RETURN(const bool taken, file.TryLock(/*exclusive=*/true));
  if (taken) return RunLock(std::move(file));
  return Error(ErrorCode::kFailedPrecondition, "migration.busy",
               "another vmferry process is working on it at this moment")
      .WithRemedy("wait for it, or see vmferry status");
}

std::string SourceLockName(const sys::FileIdentity& identity) {
  return fmt::format("source-{}-{}", identity.device, identity.inode);
}

}  // namespace vmferry::migration
