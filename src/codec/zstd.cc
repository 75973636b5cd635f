// SPDX-License-Identifier: Apache-2.0
#include "codec/zstd.h"

#include <fmt/format.h>
#include <zstd.h>

#include "base/check.h"

namespace vmferry::codec {
namespace {

Error DecodeFailed(std::size_t compressed_bytes, const char* why) {
  return Error(ErrorCode::kDataLoss, "codec.zstd_failed",
               fmt::format("cannot decode {} bytes of zstd data: {}", compressed_bytes, why));
}

}  // namespace

struct ZstdDecoder::State {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { ZSTD_freeDCtx(context); }
};

ZstdDecoder::ZstdDecoder() : state_(std::make_unique<State>()) {
  VMFERRY_CHECK(state_->context != nullptr);
}
ZstdDecoder::~ZstdDecoder() = default;
ZstdDecoder::ZstdDecoder(ZstdDecoder&&) noexcept = default;
ZstdDecoder& ZstdDecoder::operator=(ZstdDecoder&&) noexcept = default;

Result<void> ZstdDecoder::Decode(std::span<const std::byte> compressed, std::span<std::byte> out) {
  const std::size_t compressed_bytes = compressed.size();
  while (!out.empty()) {
    if (compressed.empty()) return DecodeFailed(compressed_bytes, "it ends too early");
    const std::size_t frame_bytes =
        ZSTD_findFrameCompressedSize(compressed.data(), compressed.size());
    if (ZSTD_isError(frame_bytes)) {
      return DecodeFailed(compressed_bytes, ZSTD_getErrorName(frame_bytes));
    }
    const std::size_t written = ZSTD_decompressDCtx(state_->context, out.data(), out.size(),
                                                    compressed.data(), frame_bytes);
    if (ZSTD_isError(written)) return DecodeFailed(compressed_bytes, ZSTD_getErrorName(written));
    compressed = compressed.subspan(frame_bytes);
    out = out.subspan(written);
  }
  return {};
}

}  // namespace vmferry::codec
