// SPDX-License-Identifier: Apache-2.0
//
// LocalFileTarget: pieces become a file, which has its name only once it is complete and synced.
//
// Until then it is called ".NAME.vmferry-part" in the same folder, locked against a second writer.
// What is left out between pieces is a hole.
//
// Thread safety: Put may be called from several threads at once.

#pragma once

#include <filesystem>

#include "sys/file.h"
#include "transfer/target.h"

namespace vmferry::transfer {

class LocalFileTarget final : public Target {
 public:
  /// Begins the file beside `path`; what an earlier run left half done is thrown away.
  ///
  /// Errors: kAlreadyExists target.exists when `path` exists and `replace` is false;
  ///         kInvalidArgument target.not_a_file when it is a folder, device or the like;
  ///         kFailedPrecondition target.busy when somebody is writing it; io.*.
  static Result<LocalFileTarget> Begin(const std::filesystem::path& path, bool replace);

  LocalFileTarget(LocalFileTarget&&) = default;
  /// Removes the half-written file unless it was committed.
  ~LocalFileTarget() override;

  Result<std::string> Put(const Piece& piece, std::span<const std::byte> data, std::uint32_t crc32c,
                          const OpContext& context) override;
  /// Nothing: a file that is not complete is begun again.
  Result<std::vector<HeldPiece>> Held(const OpContext& context) override;
  Result<bool> Holds(const Piece& piece, std::uint32_t crc32c, const OpContext& context) override;

  /// Gives the file its size, syncs it and gives it its name. Errors: as Begin, and io.*.
  Result<void> Commit(std::uint64_t size_bytes);

 private:
  LocalFileTarget(sys::File file, std::filesystem::path path, bool replace)
      : file_(std::move(file)), path_(std::move(path)), replace_(replace) {}

  sys::File file_;  ///< the half-written one
  std::filesystem::path path_;
  bool replace_;
  bool committed_ = false;
};

}  // namespace vmferry::transfer
