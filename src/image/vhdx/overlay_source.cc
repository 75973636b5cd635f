// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/overlay_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/byte_writer.h"

namespace vmferry::image::vhdx {
namespace {

constexpr std::uint64_t kLeadingBytes = 8;   // they make room for signature and sequence number
constexpr std::uint64_t kTrailingBytes = 4;  // and for its lower half

std::uint64_t End(const LoggedWrite& write) { return write.offset_bytes + write.length_bytes; }

class OverlaySource final : public ByteSource {
 public:
  OverlaySource(std::unique_ptr<ByteSource> file, std::vector<LoggedWrite> writes,
                std::uint64_t size_bytes)
      : file_(std::move(file)), writes_(std::move(writes)), size_bytes_(size_bytes) {
    VMFERRY_CHECK(size_bytes_ >= file_->SizeBytes());
  }

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<void> ReadAt(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    if (offset_bytes > size_bytes_ || out.size() > size_bytes_ - offset_bytes) {
      return Error(ErrorCode::kUnavailable, "io.short_read",
                   fmt::format("a file of {} bytes ends before byte {}", size_bytes_,
                               offset_bytes + out.size()));
    }
    VMFERRY_RETURN_IF_ERROR(ReadFile(offset_bytes, out));
    const std::uint64_t end_bytes = offset_bytes + out.size();
    for (auto write = FirstEndingAfter(offset_bytes);
         write != writes_.end() && write->offset_bytes < end_bytes; ++write) {
      const std::uint64_t from = std::max(offset_bytes, write->offset_bytes);
      const std::uint64_t to = std::min(end_bytes, End(*write));
      const auto part = out.subspan(from - offset_bytes, to - from);
      VMFERRY_RETURN_IF_ERROR(Apply(*write, from - write->offset_bytes, part));
    }
    return {};
  }

  Result<sys::FileRun> RunAt(std::uint64_t offset_bytes) const override {
    const auto write = FirstEndingAfter(offset_bytes);
    if (write != writes_.end() && write->offset_bytes <= offset_bytes) {
      // Zeros that were logged are as good as a hole: whoever asks wants to skip zeros.
      return sys::FileRun{offset_bytes, std::min(End(*write), size_bytes_) - offset_bytes,
                          write->zero};
    }
    const std::uint64_t file_bytes = file_->SizeBytes();
    sys::FileRun run{offset_bytes, size_bytes_ - offset_bytes, true};
    if (offset_bytes < file_bytes) {
      VMFERRY_ASSIGN_OR_RETURN(run, file_->RunAt(offset_bytes));
    }
    if (write != writes_.end()) {
      run.length_bytes = std::min(run.length_bytes, write->offset_bytes - offset_bytes);
    }
    return run;
  }

 private:
  using Iterator = std::vector<LoggedWrite>::const_iterator;

  Iterator FirstEndingAfter(std::uint64_t offset_bytes) const {
    return std::partition_point(writes_.begin(), writes_.end(), [&](const LoggedWrite& write) {
      return End(write) <= offset_bytes;
    });
  }

  /// The file's own bytes; zeros behind its end.
  Result<void> ReadFile(std::uint64_t offset_bytes, std::span<std::byte> out) const {
    const std::uint64_t file_bytes = file_->SizeBytes();
    const std::size_t stored = offset_bytes >= file_bytes
                                   ? 0
                                   : static_cast<std::size_t>(std::min<std::uint64_t>(
                                         out.size(), file_bytes - offset_bytes));
    if (stored > 0) VMFERRY_RETURN_IF_ERROR(file_->ReadAt(offset_bytes, out.first(stored)));
    const auto rest = out.subspan(stored);
    if (!rest.empty()) std::memset(rest.data(), 0, rest.size());
    return {};
  }

  /// Fills `part` with the write's bytes from `skip_bytes` on.
  Result<void> Apply(const LoggedWrite& write, std::uint64_t skip_bytes,
                     std::span<std::byte> part) const {
    if (write.zero) {
      std::memset(part.data(), 0, part.size());
      return {};
    }
    std::array<std::byte, kLogSectorBytes> sector;
    ByteWriter writer(sector);
    writer.U64Le(write.leading);
    VMFERRY_RETURN_IF_ERROR(file_->ReadAt(
        write.place_bytes, std::span(sector).subspan(
                               kLeadingBytes, kLogSectorBytes - kLeadingBytes - kTrailingBytes)));
    writer.Skip(kLogSectorBytes - kLeadingBytes - kTrailingBytes);
    writer.U32Le(write.trailing);
    std::copy_n(sector.begin() + static_cast<std::ptrdiff_t>(skip_bytes), part.size(),
                part.begin());
    return {};
  }

  const std::unique_ptr<ByteSource> file_;
  const std::vector<LoggedWrite> writes_;
  const std::uint64_t size_bytes_;
};

}  // namespace

void LoggedWrites::Add(const LoggedWrite& write) {
  const std::uint64_t end_bytes = End(write);
  auto at = writes_.upper_bound(write.offset_bytes);
  if (at != writes_.begin() && End(std::prev(at)->second) > write.offset_bytes) --at;
  while (at != writes_.end() && at->first < end_bytes) {
    // Only zeros stick out on either side: data are one sector.
    const LoggedWrite old = at->second;
    at = writes_.erase(at);
    if (old.offset_bytes < write.offset_bytes) {
      LoggedWrite before = old;
      before.length_bytes = write.offset_bytes - old.offset_bytes;
      writes_.emplace(before.offset_bytes, before);
    }
    if (End(old) > end_bytes) {
      LoggedWrite behind = old;
      behind.offset_bytes = end_bytes;
      behind.length_bytes = End(old) - end_bytes;
      writes_.emplace(behind.offset_bytes, behind);
    }
  }
  writes_.emplace(write.offset_bytes, write);
}

std::vector<LoggedWrite> LoggedWrites::List() const {
  std::vector<LoggedWrite> list;
  list.reserve(writes_.size());
  for (const auto& entry : writes_) list.push_back(entry.second);
  return list;
}

std::unique_ptr<ByteSource> MakeOverlaySource(std::unique_ptr<ByteSource> file,
                                              std::vector<LoggedWrite> writes,
                                              std::uint64_t size_bytes) {
  return std::make_unique<OverlaySource>(std::move(file), std::move(writes), size_bytes);
}

}  // namespace vmferry::image::vhdx
