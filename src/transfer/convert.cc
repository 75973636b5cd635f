// SPDX-License-Identifier: Apache-2.0
#include "transfer/convert.h"

#include "transfer/local_file.h"

namespace vmferry::transfer {

Result<EncodeOutcome> ConvertToFile(const image::DiskImage& disk, image::Encoder& encoder,
                                    const std::filesystem::path& path,
                                    const ConvertOptions& options,
                                    const std::function<void(const EncodeProgress&)>& on_progress,
                                    const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(LocalFileTarget target, LocalFileTarget::Begin(path, options.replace));
  const TakePiece take = [&target](EncodedPiece& piece, const OpContext& op) -> Result<void> {
    // No checksum: the file system is not asked to check one.
    const auto put = target.Put(piece.piece, piece.bytes.bytes(), /*crc32c=*/0, op);
    if (!put) return put.error();
    return {};
  };
  VMFERRY_ASSIGN_OR_RETURN(const EncodeOutcome outcome,
                           EncodeDisk(disk, encoder, options.encode, take, on_progress, context));
  VMFERRY_RETURN_IF_ERROR(target.Commit(outcome.output_bytes));
  return outcome;
}

Result<EncodeOutcome> ConvertToNothing(
    const image::DiskImage& disk, image::Encoder& encoder, const EncodeOptions& options,
    const std::function<void(const EncodeProgress&)>& on_progress, const OpContext& context) {
  return EncodeDisk(
      disk, encoder, options, [](EncodedPiece&, const OpContext&) { return Result<void>(); },
      on_progress, context);
}

}  // namespace vmferry::transfer
