// SPDX-License-Identifier: Apache-2.0
#include "codec/deflate.h"

#include <fmt/format.h>
#include <isa-l.h>
#include <libdeflate.h>

#include "base/check.h"

namespace vmferry::codec {
namespace {

Error InflateFailed(libdeflate_result outcome, std::size_t compressed_bytes) {
  const char* why =
      outcome == LIBDEFLATE_INSUFFICIENT_SPACE ? "it inflates to too many bytes" : "it is damaged";
  return Error(ErrorCode::kDataLoss, "codec.inflate_failed",
               fmt::format("cannot inflate {} bytes of deflate data: {}", compressed_bytes, why));
}

}  // namespace

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
  return InflateFailed(outcome, compressed.size());
}

Result<std::size_t> ZlibInflater::InflateRaw(std::span<const std::byte> compressed,
                                             std::span<std::byte> out) {
  std::size_t consumed = 0;
  std::size_t written = 0;
  const libdeflate_result outcome =
      libdeflate_deflate_decompress_ex(state_->decompressor, compressed.data(), compressed.size(),
                                       out.data(), out.size(), &consumed, &written);
  if (outcome == LIBDEFLATE_SUCCESS) return written;
  return InflateFailed(outcome, compressed.size());
}

struct Deflater::State {
  Wrapper wrapper;
  unsigned window_bits;
  std::vector<std::uint8_t> level_buffer = std::vector<std::uint8_t>(ISAL_DEF_LVL1_DEFAULT);
  isal_zstream stream;
};

Deflater::Deflater(Wrapper wrapper, unsigned window_bits) : state_(std::make_unique<State>()) {
  VMFERRY_CHECK(window_bits >= 10 && window_bits <= 15);
  state_->wrapper = wrapper;
  state_->window_bits = window_bits;
}
Deflater::~Deflater() = default;
Deflater::Deflater(Deflater&&) noexcept = default;
Deflater& Deflater::operator=(Deflater&&) noexcept = default;

std::optional<std::size_t> Deflater::Deflate(std::span<const std::byte> data,
                                             std::span<std::byte> out) {
  isal_zstream& stream = state_->stream;
  isal_deflate_stateless_init(&stream);
  stream.level = 1;
  stream.level_buf = state_->level_buffer.data();
  stream.level_buf_size = static_cast<std::uint32_t>(state_->level_buffer.size());
  stream.gzip_flag = state_->wrapper == Wrapper::kZlib ? IGZIP_ZLIB : IGZIP_DEFLATE;
  stream.hist_bits = static_cast<std::uint16_t>(state_->window_bits);
  stream.end_of_stream = 1;
  stream.next_in = const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(data.data()));
  stream.avail_in = static_cast<std::uint32_t>(data.size());
  stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
  stream.avail_out = static_cast<std::uint32_t>(out.size());
  if (isal_deflate_stateless(&stream) != COMP_OK) return std::nullopt;
  return stream.total_out;
}

std::size_t Deflater::Bound(std::size_t data_size) {
  // Stored blocks cost 5 bytes per 65,535; the rest is header, trailer and slack.
  return data_size + data_size / 1000 + 128;
}

#define VMFERRY_TEXT_OF(x) #x
#define VMFERRY_TEXT(x) VMFERRY_TEXT_OF(x)
std::string_view Deflater::Method() {
  return "isal-" VMFERRY_TEXT(ISAL_MAJOR_VERSION) "." VMFERRY_TEXT(ISAL_MINOR_VERSION) "-l1";
}

std::vector<std::byte> ZlibDeflate(std::span<const std::byte> data) {
  std::vector<std::byte> out(Deflater::Bound(data.size()));
  const auto size = Deflater(Deflater::Wrapper::kZlib).Deflate(data, out);
  VMFERRY_CHECK(size.has_value());
  out.resize(*size);
  return out;
}

}  // namespace vmferry::codec
