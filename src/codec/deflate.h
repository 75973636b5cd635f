// SPDX-License-Identifier: Apache-2.0
//
// Deflate with the zlib wrapper (RFC 1950), for blocks that fit in memory.

#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"

namespace vmferry::codec {

/// Inflates zlib streams with libdeflate. One object per thread: it is not thread-safe.
class ZlibInflater {
 public:
  ZlibInflater();
  ~ZlibInflater();
  ZlibInflater(ZlibInflater&&) noexcept;
  ZlibInflater& operator=(ZlibInflater&&) noexcept;

  /// Inflates one stream at the front of `compressed` into `out` and returns the bytes written.
  /// Never writes past `out`. Errors: kDataLoss codec.inflate_failed when the stream is broken or
  /// inflates to more than `out` holds.
  Result<std::size_t> Inflate(std::span<const std::byte> compressed, std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One zlib stream with ISA-L level 1. The output depends on ISA-L's version and the processor.
std::vector<std::byte> ZlibDeflate(std::span<const std::byte> data);

}  // namespace vmferry::codec
