// SPDX-License-Identifier: Apache-2.0
//
// Zstandard (RFC 8878) for blocks whose size is known beforehand: QCOW2's zstd clusters.

#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/result.h"

namespace vmferry::codec {

/// Decodes zstd frames. One object per thread: it is not thread-safe.
class ZstdDecoder {
 public:
  ZstdDecoder();
  ~ZstdDecoder();
  ZstdDecoder(ZstdDecoder&&) noexcept;
  ZstdDecoder& operator=(ZstdDecoder&&) noexcept;

  /// Decodes the frames at the front of `compressed` until `out` is full; what stands behind them
  /// is not looked at.
  ///
  /// Cost:   no memory beyond the object's own, whatever window a frame asks for: frames are
  ///         decoded straight into `out`, which is all the history there is.
  /// Errors: kDataLoss codec.zstd_failed when a frame is broken or cut off, when it holds more
  ///         than `out` has room for, or when the frames end before `out` is full.
  Result<void> Decode(std::span<const std::byte> compressed, std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmferry::codec
