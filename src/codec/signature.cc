// SPDX-License-Identifier: Apache-2.0
#include "codec/signature.h"

#include <openssl/evp.h>
#include <openssl/pem.h>

#include <memory>

namespace vmferry::codec {
namespace {

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeBio {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;
using Bio = std::unique_ptr<BIO, FreeBio>;
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

Error BadKey(std::string_view kind) {
  return Error(ErrorCode::kInvalidArgument, "codec.bad_key",
               "the " + std::string(kind) + " key is not an Ed25519 key in PEM form");
}

std::string Content(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Key ReadPrivate(const Secret& pem) {
  const std::string_view text = pem.Expose();
  const Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (key && EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519) key.reset();
  return key;
}

const unsigned char* Raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

Secret GenerateEd25519Key() {
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const Bio bio(BIO_new(BIO_s_mem()));
  VMFERRY_CHECK(key != nullptr && PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr,
                                                           0, nullptr, nullptr) == 1);
  return Secret(Content(bio.get()));
}

Result<std::string> Ed25519PublicKey(const Secret& private_pem) {
  const Key key = ReadPrivate(private_pem);
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!key || PEM_write_bio_PUBKEY(bio.get(), key.get()) != 1) return BadKey("private");
  return Content(bio.get());
}

Result<Ed25519Signature> Ed25519Sign(const Secret& private_pem,
                                     std::span<const std::byte> message) {
  const Key key = ReadPrivate(private_pem);
  if (!key) return BadKey("private");
  const Context context(EVP_MD_CTX_new());
  Ed25519Signature signature;
  std::size_t length = signature.size();
  VMFERRY_CHECK(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1);
  VMFERRY_CHECK(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()),
                               &length, Raw(message), message.size()) == 1);
  return signature;
}

Result<bool> Ed25519Verify(std::string_view public_pem, std::span<const std::byte> message,
                           std::span<const std::byte> signature) {
  const Bio bio(BIO_new_mem_buf(public_pem.data(), static_cast<int>(public_pem.size())));
  const Key key(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
  if (!key || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519) return BadKey("public");
  const Context context(EVP_MD_CTX_new());
  VMFERRY_CHECK(EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1);
  return EVP_DigestVerify(context.get(), Raw(signature), signature.size(), Raw(message),
                          message.size()) == 1;
}

}  // namespace vmferry::codec
