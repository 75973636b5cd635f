// SPDX-License-Identifier: Apache-2.0
//
// SendEncoded: carries a disk to a Target in the format of an encoder, encoded while it is read; no
// copy of it is ever stored here.
//
// In front of each piece's sending, the journal learns where the encoder stood behind it. A run cut
// off begins again at the first piece that was not confirmed; what comes out as it was recorded and
// is at the target is not sent again, everything else is. So a processor that compresses otherwise
// costs time, not correctness.

#pragma once

#include <functional>
#include <string_view>

#include "image/encoder.h"
#include "store/store.h"
#include "sys/clock.h"
#include "transfer/send.h"
#include "transfer/target.h"

namespace vmferry::transfer {

/// Parts of max(10 MiB, what keeps their number below 10,000): `bound_bytes` is the most that the
/// output can be. Errors: kUnimplemented transfer.too_large.
Result<std::uint64_t> EncodedPieceBytes(std::uint64_t bound_bytes);

/// Which record of the journal the pieces belong to.
struct PieceJournal {
  store::Store& store;
  std::string_view migration_id;
  std::uint32_t disk = 0;
};

struct SendEncodedOptions {
  /// Pieces in flight and threads that encode: each takes a piece of memory and two parts.
  std::uint32_t parallel = 8;
  std::uint64_t memory_bytes = std::uint64_t{256} << 20;
  std::uint64_t piece_bytes = kPartBytesMin;
};

/// Encodes and sends what is not there yet.
///
/// Post:   the journal's pieces are the whole output, numbered from 0 without a gap.
/// Errors: those of the disk, the encoder, the target and the store; kCancelled transfer.stopped.
Result<SendOutcome> SendEncoded(const image::DiskImage& disk, image::Encoder& encoder,
                                const PieceJournal& journal, bool resuming, Target& target,
                                const std::function<void(const SendProgress&)>& on_progress,
                                sys::Clock& clock, const SendEncodedOptions& options,
                                const OpContext& context);

}  // namespace vmferry::transfer
