// SPDX-License-Identifier: Apache-2.0
#include "codec/digest.h"

#include <isa-l/crc.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "base/check.h"

namespace vmferry::codec {
namespace {

const EVP_MD* Algorithm(DigestKind kind) {
  switch (kind) {
    case DigestKind::kSha256:
      return EVP_sha256();
    case DigestKind::kSha1:
      return EVP_sha1();
    case DigestKind::kMd5:
      return EVP_md5();
    case DigestKind::kSha512:
      return EVP_sha512();
  }
  return nullptr;
}

const unsigned char* Raw(std::span<const std::byte> data) {
  return reinterpret_cast<const unsigned char*>(data.data());
}

template <typename Digest>
Digest OneShot(DigestKind kind, std::span<const std::byte> data) {
  Digest digest;
  unsigned length = 0;
  VMFERRY_CHECK(EVP_Digest(data.data(), data.size(),
                           reinterpret_cast<unsigned char*>(digest.data()), &length,
                           Algorithm(kind), nullptr) == 1 &&
                length == digest.size());
  return digest;
}

}  // namespace

Sha256Digest Sha256(std::span<const std::byte> data) {
  return OneShot<Sha256Digest>(DigestKind::kSha256, data);
}

Md5Digest Md5(std::span<const std::byte> data) {
  return OneShot<Md5Digest>(DigestKind::kMd5, data);
}

Sha256Digest HmacSha256(std::span<const std::byte> key, std::span<const std::byte> data) {
  Sha256Digest digest;
  unsigned length = 0;
  VMFERRY_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), Raw(data), data.size(),
                     reinterpret_cast<unsigned char*>(digest.data()), &length) != nullptr);
  return digest;
}

struct Digester::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { EVP_MD_CTX_free(context); }
};

Digester::Digester(DigestKind kind) : state_(std::make_unique<State>()) {
  VMFERRY_CHECK(EVP_DigestInit_ex(state_->context, Algorithm(kind), nullptr) == 1);
}
Digester::~Digester() = default;
Digester::Digester(Digester&&) noexcept = default;
Digester& Digester::operator=(Digester&&) noexcept = default;

void Digester::Update(std::span<const std::byte> data) {
  VMFERRY_CHECK(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1);
}

std::span<const std::byte> Digester::Finish(std::span<std::byte> out) {
  unsigned length = 0;
  VMFERRY_CHECK(out.size() >= static_cast<std::size_t>(EVP_MD_CTX_size(state_->context)));
  VMFERRY_CHECK(EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(out.data()),
                                   &length) == 1);
  return out.first(length);
}

std::uint32_t Crc32c(std::span<const std::byte> data, std::uint32_t previous) {
  // ISA-L's crc32_iscsi takes an int length and leaves both inversions to the caller.
  constexpr std::size_t kPieceBytes = std::size_t{1} << 30;
  std::uint32_t crc = ~previous;
  while (!data.empty()) {
    const std::size_t count = std::min(data.size(), kPieceBytes);
    crc = crc32_iscsi(const_cast<unsigned char*>(Raw(data)), static_cast<int>(count), crc);
    data = data.subspan(count);
  }
  return ~crc;
}

std::uint32_t Crc32(std::span<const std::byte> data, std::uint32_t previous) {
  return crc32_gzip_refl(previous, Raw(data), data.size());
}

std::array<std::byte, 4> CrcBytes(std::uint32_t crc) {
  return {static_cast<std::byte>(crc >> 24), static_cast<std::byte>((crc >> 16) & 0xff),
          static_cast<std::byte>((crc >> 8) & 0xff), static_cast<std::byte>(crc & 0xff)};
}

}  // namespace vmferry::codec
