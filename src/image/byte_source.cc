// SPDX-License-Identifier: Apache-2.0
#include "image/byte_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace vmferry::image {
namespace {

class FileSource final : public ByteSource {
 public:
  FileSource(sys::File file, std::uint64_t size_bytes)
      : file_(std::move(file)), size_bytes_(size_bytes) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<void> ReadAt(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    return file_.ReadAt(offset_bytes, out);
  }

  Result<sys::FileRun> RunAt(std::uint64_t offset_bytes) const override {
    VMFERRY_ASSIGN_OR_RETURN(sys::FileRun run, file_.RunAt(offset_bytes));
    run.length_bytes = std::min(run.length_bytes, size_bytes_ - offset_bytes);
    if (run.length_bytes > 0) return run;
    return Error(ErrorCode::kUnavailable, "io.short_read",
                 fmt::format("{} became shorter than {} bytes", file_.path().string(), size_bytes_))
        .With("path", file_.path().string());
  }

 private:
  const sys::File file_;
  const std::uint64_t size_bytes_;
};

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  std::uint64_t SizeBytes() const override { return bytes_.size(); }

  Result<void> ReadAt(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    if (offset_bytes > bytes_.size() || out.size() > bytes_.size() - offset_bytes) {
      return Error(ErrorCode::kUnavailable, "io.short_read",
                   fmt::format("memory of {} bytes ends before byte {}", bytes_.size(),
                               offset_bytes + out.size()));
    }
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset_bytes), out.size(),
                out.begin());
    return {};
  }

  Result<sys::FileRun> RunAt(std::uint64_t offset_bytes) const override {
    return sys::FileRun{offset_bytes, bytes_.size() - offset_bytes, false};
  }

 private:
  const std::vector<std::byte> bytes_;
};

class SliceSource final : public ByteSource {
 public:
  SliceSource(std::shared_ptr<const ByteSource> whole, std::uint64_t offset_bytes,
              std::uint64_t length_bytes)
      : whole_(std::move(whole)), offset_bytes_(offset_bytes), length_bytes_(length_bytes) {}

  std::uint64_t SizeBytes() const override { return length_bytes_; }

  Result<void> ReadAt(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    if (offset_bytes > length_bytes_ || out.size() > length_bytes_ - offset_bytes) {
      return Error(ErrorCode::kUnavailable, "io.short_read",
                   fmt::format("a part of {} bytes ends before byte {}", length_bytes_,
                               offset_bytes + out.size()));
    }
    return whole_->ReadAt(offset_bytes_ + offset_bytes, out);
  }

  Result<sys::FileRun> RunAt(std::uint64_t offset_bytes) const override {
    VMFERRY_ASSIGN_OR_RETURN(sys::FileRun run, whole_->RunAt(offset_bytes_ + offset_bytes));
    run.offset_bytes = offset_bytes;
    run.length_bytes = std::min(run.length_bytes, length_bytes_ - offset_bytes);
    return run;
  }

 private:
  const std::shared_ptr<const ByteSource> whole_;
  const std::uint64_t offset_bytes_;
  const std::uint64_t length_bytes_;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> MakeFileSource(sys::File file) {
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, file.Size());
  return std::unique_ptr<ByteSource>(std::make_unique<FileSource>(std::move(file), size_bytes));
}

std::unique_ptr<ByteSource> MakeMemorySource(std::vector<std::byte> bytes) {
  return std::make_unique<MemorySource>(std::move(bytes));
}

std::unique_ptr<ByteSource> MakeSliceSource(std::shared_ptr<const ByteSource> whole,
                                            std::uint64_t offset_bytes,
                                            std::uint64_t length_bytes) {
  VMFERRY_CHECK(offset_bytes <= whole->SizeBytes() &&
                length_bytes <= whole->SizeBytes() - offset_bytes);
  return std::make_unique<SliceSource>(std::move(whole), offset_bytes, length_bytes);
}

}  // namespace vmferry::image
