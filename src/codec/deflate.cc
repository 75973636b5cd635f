// SPDX-License-Identifier: Apache-2.0
#include "codec/deflate.h"

#include <fmt/format.h>
#include <isa-l/igzip_lib.h>
#include <libdeflate.h>

#include "base/check.h"

namespace vmferry::codec {

struct ZlibInflater::State {
  libdeflate_decompressor* decompressor = libdeflate_alloc_decompressor();
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { libdeflate_free_decompressor(decompressor); }
};

ZlibInflater::ZlibInflater() : state_(std::make_unique<State>()) {
  VMFERRY_CHECK(state_->decompressor != nullptr);
}
ZlibInflater::~ZlibInflater() = default;
ZlibInflater::ZlibInflater(ZlibInflater&&) noexcept = default;
ZlibInflater& ZlibInflater::operator=(ZlibInflater&&) noexcept = default;

Result<std::size_t> ZlibInflater::Inflate(std::span<const std::byte> compressed,
                                          std::span<std::byte> out) {
  std::size_t consumed = 0;
  std::size_t written = 0;
  const libdeflate_result outcome =
      libdeflate_zlib_decompress_ex(state_->decompressor, compressed.data(), compressed.size(),
                                    out.data(), out.size(), &consumed, &written);
  if (outcome == LIBDEFLATE_SUCCESS) return written;
  const char* why =
      outcome == LIBDEFLATE_INSUFFICIENT_SPACE ? "it inflates to too many bytes" : "it is damaged";
  return Error(ErrorCode::kDataLoss, "codec.inflate_failed",
               fmt::format("cannot inflate {} bytes of deflate data: {}", compressed.size(), why));
}

std::vector<std::byte> ZlibDeflate(std::span<const std::byte> data) {
  std::vector<std::byte> level_buffer(ISAL_DEF_LVL1_DEFAULT);
  // Stored blocks cost 5 bytes per 65,535; the rest is header, trailer and slack.
  std::vector<std::byte> out(data.size() + data.size() / 1000 + 128);
  isal_zstream stream;
  isal_deflate_stateless_init(&stream);
  stream.level = 1;
  stream.level_buf = reinterpret_cast<std::uint8_t*>(level_buffer.data());
  stream.level_buf_size = static_cast<std::uint32_t>(level_buffer.size());
  stream.gzip_flag = IGZIP_ZLIB;
  stream.end_of_stream = 1;
  stream.next_in = const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(data.data()));
  stream.avail_in = static_cast<std::uint32_t>(data.size());
  stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
  stream.avail_out = static_cast<std::uint32_t>(out.size());
  VMFERRY_CHECK(isal_deflate_stateless(&stream) == COMP_OK);
  out.resize(stream.total_out);
  return out;
}

}  // namespace vmferry::codec
