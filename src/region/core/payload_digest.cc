// SPDX-License-Identifier: Apache-2.0
#include "region/core/payload_digest.h"

#include <isa-l/crc.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>

namespace vmferry::region {
namespace {

struct KindFacts {
  ChecksumKind kind;
  std::string_view name;
  std::size_t bytes;
  std::string PayloadDigests::*member;
};

constexpr std::array<KindFacts, 6> kFacts = {{
    {ChecksumKind::kMd5, "md5", 16, &PayloadDigests::md5},
    {ChecksumKind::kSha256, "sha256", 32, &PayloadDigests::sha256},
    {ChecksumKind::kSha1, "sha1", 20, &PayloadDigests::sha1},
    {ChecksumKind::kCrc32, "crc32", 4, &PayloadDigests::crc32},
    {ChecksumKind::kCrc32c, "crc32c", 4, &PayloadDigests::crc32c},
    {ChecksumKind::kCrc64nvme, "crc64nvme", 8, &PayloadDigests::crc64nvme},
}};

const KindFacts& FactsOf(ChecksumKind kind) { return kFacts[static_cast<std::size_t>(kind)]; }

constexpr std::uint64_t kCrc64Polynomial = 0x9A6C9329AC4BC9B5;  // reflected
constexpr std::size_t kSlices = 8;
using Crc64Tables = std::array<std::array<std::uint64_t, 256>, kSlices>;

constexpr Crc64Tables MakeCrc64Tables() {
  Crc64Tables tables{};
  for (std::uint64_t i = 0; i < 256; ++i) {
    std::uint64_t value = i;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value & 1) != 0 ? (value >> 1) ^ kCrc64Polynomial : value >> 1;
    }
    tables[0][i] = value;
  }
  for (std::size_t slice = 1; slice < kSlices; ++slice) {
    for (std::size_t i = 0; i < 256; ++i) {
      const std::uint64_t before = tables[slice - 1][i];
      tables[slice][i] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}
constexpr Crc64Tables kCrc64 = MakeCrc64Tables();

/// Takes `data` into the CRC's register, by tables.
std::uint64_t UpdateCrc64(std::span<const std::byte> data, std::uint64_t crc) {
  while (data.size() >= kSlices) {
    std::uint64_t word = 0;
    std::memcpy(&word, data.data(), sizeof(word));  // little-endian machines only, as ISA-L's code
    word ^= crc;
    crc = 0;
    for (std::size_t i = 0; i < kSlices; ++i) {
      crc ^= kCrc64[kSlices - 1 - i][(word >> (8 * i)) & 0xff];
    }
    data = data.subspan(kSlices);
  }
  for (const std::byte byte : data) {
    crc = (crc >> 8) ^ kCrc64[0][(crc ^ static_cast<std::uint64_t>(byte)) & 0xff];
  }
  return crc;
}

#if defined(__x86_64__)
constexpr std::size_t kLaneBytes = 16;
constexpr std::size_t kFoldBytesMin = 8 * kLaneBytes;

/// x^n modulo the polynomial, reflected.
constexpr std::uint64_t Crc64Power(int n) {
  std::uint64_t value = std::uint64_t{1} << 63;
  for (int i = 0; i < n; ++i) {
    value = (value & 1) != 0 ? (value >> 1) ^ kCrc64Polynomial : value >> 1;
  }
  return value;
}

// What a 128-bit lane is multiplied with to move it on by so many bits: its first half lies 64 bits
// further from the end than its second. One less, because the product of two reflected numbers
// comes out shifted by one.
constexpr std::uint64_t kFirstBy512 = Crc64Power(512 + 64 - 1);
constexpr std::uint64_t kSecondBy512 = Crc64Power(512 - 1);
constexpr std::uint64_t kFirstBy128 = Crc64Power(128 + 64 - 1);
constexpr std::uint64_t kSecondBy128 = Crc64Power(128 - 1);

__attribute__((target("pclmul"))) inline __m128i Fold(__m128i lane, __m128i factors, __m128i next) {
  const __m128i first = _mm_clmulepi64_si128(lane, factors, 0x00);
  const __m128i second = _mm_clmulepi64_si128(lane, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

inline __m128i LoadLane(const std::byte* from) {
  __m128i lane;
  std::memcpy(&lane, from, sizeof(lane));
  return lane;
}

/// The same as UpdateCrc64 for the whole lanes at the front of `data`, which is left with the rest:
/// 16 bytes that leave the same remainder as all before them, by carry-less multiplication (Gopal
/// et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel,
/// 2009).
__attribute__((target("pclmul"))) std::uint64_t FoldCrc64(std::span<const std::byte>& data,
                                                          std::uint64_t crc) {
  constexpr std::size_t kLanes = 4;
  const auto constant = [](std::uint64_t first, std::uint64_t second) {
    return _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first));
  };
  const __m128i by_512 = constant(kFirstBy512, kSecondBy512);
  const __m128i by_128 = constant(kFirstBy128, kSecondBy128);
  __m128i lanes[kLanes];  // the type has attributes that std::array would drop
  for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = LoadLane(data.data() + i * kLaneBytes);
  lanes[0] = _mm_xor_si128(lanes[0], constant(crc, 0));
  data = data.subspan(kLanes * kLaneBytes);
  while (data.size() >= kLanes * kLaneBytes) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      lanes[i] = Fold(lanes[i], by_512, LoadLane(data.data() + i * kLaneBytes));
    }
    data = data.subspan(kLanes * kLaneBytes);
  }
  __m128i lane = lanes[0];
  for (std::size_t i = 1; i < kLanes; ++i) lane = Fold(lane, by_128, lanes[i]);
  while (data.size() >= kLaneBytes) {
    lane = Fold(lane, by_128, LoadLane(data.data()));
    data = data.subspan(kLaneBytes);
  }
  std::array<std::byte, kLaneBytes> rest;
  std::memcpy(rest.data(), &lane, sizeof(lane));
  return UpdateCrc64(rest, 0);
}
#endif

template <typename Number>
std::string BigEndian(Number value) {
  std::string out(sizeof(Number), '\0');
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[out.size() - 1 - i] = static_cast<char>(value & 0xff);
    value = static_cast<Number>(value >> 8);
  }
  return out;
}

std::string FinishDigest(std::optional<codec::Digester>& digester) {
  if (!digester) return {};
  std::array<std::byte, 32> out;
  const auto bytes = digester->Finish(out);
  std::string text(bytes.size(), '\0');
  std::memcpy(text.data(), bytes.data(), bytes.size());
  return text;
}

std::uint32_t Crc32(std::span<const std::byte> data, std::uint32_t previous) {
  // ISA-L takes a non-const pointer in some versions, and lengths below 4 GiB in none too many.
  return crc32_gzip_refl(previous, reinterpret_cast<const unsigned char*>(data.data()),
                         data.size());
}

}  // namespace

std::optional<ChecksumKind> ChecksumKindByName(std::string_view name) {
  for (const KindFacts& facts : kFacts) {
    if (facts.name == name && facts.kind != ChecksumKind::kMd5) return facts.kind;
  }
  return std::nullopt;
}

std::string_view ChecksumName(ChecksumKind kind) { return FactsOf(kind).name; }
std::size_t ChecksumBytes(ChecksumKind kind) { return FactsOf(kind).bytes; }
const std::string& DigestOf(const PayloadDigests& digests, ChecksumKind kind) {
  return digests.*FactsOf(kind).member;
}

std::uint64_t Crc64Nvme(std::span<const std::byte> data, std::uint64_t previous) {
  std::uint64_t crc = ~previous;
#if defined(__x86_64__)
  static const bool can_fold = __builtin_cpu_supports("pclmul");
  if (can_fold && data.size() >= kFoldBytesMin) crc = FoldCrc64(data, crc);
#endif
  return ~UpdateCrc64(data, crc);
}

std::string CombineCrc(ChecksumKind kind, std::string_view first, std::string_view second,
                       std::uint64_t second_bytes) {
  // Appending n bytes multiplies a CRC by x^(8n) modulo its polynomial; the initial and the final
  // inversion cancel out.
  int bits = 32;
  std::uint64_t polynomial = 0;
  if (kind == ChecksumKind::kCrc32) polynomial = 0xEDB88320;
  if (kind == ChecksumKind::kCrc32c) polynomial = 0x82F63B78;
  if (kind == ChecksumKind::kCrc64nvme) {
    polynomial = kCrc64Polynomial;
    bits = 64;
  }
  if (polynomial == 0) return {};
  const auto number = [](std::string_view raw) {
    std::uint64_t value = 0;
    for (const char c : raw) value = (value << 8) | static_cast<unsigned char>(c);
    return value;
  };
  const std::uint64_t one = std::uint64_t{1} << (bits - 1);  // reflected: x^0 is the top bit
  const auto multiply = [&](std::uint64_t a, std::uint64_t b) {
    std::uint64_t product = 0;
    for (std::uint64_t bit = one; bit != 0; bit >>= 1) {
      if ((a & bit) != 0) product ^= b;
      b = (b & 1) != 0 ? (b >> 1) ^ polynomial : b >> 1;
    }
    return product;
  };
  std::uint64_t factor = one;
  std::uint64_t power = one >> 8;  // x^8: one byte
  for (std::uint64_t n = second_bytes; n != 0; n >>= 1) {
    if ((n & 1) != 0) factor = multiply(factor, power);
    power = multiply(power, power);
  }
  const std::uint64_t combined = multiply(factor, number(first)) ^ number(second);
  return bits == 64 ? BigEndian(combined) : BigEndian(static_cast<std::uint32_t>(combined));
}

void PayloadDigester::Want(ChecksumKind kind) {
  switch (kind) {
    case ChecksumKind::kMd5:
      if (!md5_) md5_.emplace(codec::DigestKind::kMd5);
      return;
    case ChecksumKind::kSha256:
      if (!sha256_) sha256_.emplace(codec::DigestKind::kSha256);
      return;
    case ChecksumKind::kSha1:
      if (!sha1_) sha1_.emplace(codec::DigestKind::kSha1);
      return;
    case ChecksumKind::kCrc32:
      if (!crc32_) crc32_ = 0;
      return;
    case ChecksumKind::kCrc32c:
      if (!crc32c_) crc32c_ = 0;
      return;
    case ChecksumKind::kCrc64nvme:
      if (!crc64_) crc64_ = 0;
      return;
  }
}

void PayloadDigester::Update(std::span<const std::byte> data) {
  // In steps that stay in the processor's cache, so that each byte is fetched once.
  constexpr std::size_t kStepBytes = 128 * 1024;
  while (!data.empty()) {
    const auto step = data.first(std::min(kStepBytes, data.size()));
    if (md5_) md5_->Update(step);
    if (sha256_) sha256_->Update(step);
    if (sha1_) sha1_->Update(step);
    if (crc32_) crc32_ = Crc32(step, *crc32_);
    if (crc32c_) crc32c_ = codec::Crc32c(step, *crc32c_);
    if (crc64_) crc64_ = Crc64Nvme(step, *crc64_);
    data = data.subspan(step.size());
  }
}

PayloadDigests PayloadDigester::Finish() {
  PayloadDigests digests;
  digests.md5 = FinishDigest(md5_);
  digests.sha256 = FinishDigest(sha256_);
  digests.sha1 = FinishDigest(sha1_);
  if (crc32_) digests.crc32 = BigEndian(*crc32_);
  if (crc32c_) digests.crc32c = BigEndian(*crc32c_);
  if (crc64_) digests.crc64nvme = BigEndian(*crc64_);
  return digests;
}

}  // namespace vmferry::region
