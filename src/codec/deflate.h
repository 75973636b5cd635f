// SPDX-License-Identifier: Apache-2.0
//
// Deflate with the zlib wrapper (RFC 1950), for blocks that fit in memory.

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
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
  /// The same for a stream without the wrapper (RFC 1951 alone), as QCOW2 has them. What stands
  /// behind the stream is not looked at.
  Result<std::size_t> InflateRaw(std::span<const std::byte> compressed, std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Compresses blocks with ISA-L level 1, each to a stream of its own. The output depends on ISA-L's
/// version and the class of the processor, and on nothing else. One object per thread.
class Deflater {
 public:
  enum class Wrapper {
    kZlib,  ///< RFC 1950
    kRaw,   ///< RFC 1951 alone
  };
  /// `window_bits`: no distance in the output is longer than 2^window_bits. 10 to 15.
  explicit Deflater(Wrapper wrapper, unsigned window_bits = 15);
  ~Deflater();
  Deflater(Deflater&&) noexcept;
  Deflater& operator=(Deflater&&) noexcept;

  /// Writes the stream to the front of `out` and returns its length; nothing when it does not fit.
  /// Pre: data.size() and out.size() are below 4 GiB.
  std::optional<std::size_t> Deflate(std::span<const std::byte> data, std::span<std::byte> out);

  /// Enough room for any data of that size.
  static std::size_t Bound(std::size_t data_size);
  /// "isal-2.30-l1": what goes into the ids of encoders.
  static std::string_view Method();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One zlib stream with ISA-L level 1. The output depends on ISA-L's version and the processor.
std::vector<std::byte> ZlibDeflate(std::span<const std::byte> data);

}  // namespace vmferry::codec
