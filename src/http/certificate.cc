// SPDX-License-Identifier: Apache-2.0
#include "http/certificate.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <memory>

namespace vmferry::http {
namespace {

constexpr int kAuthorityDays = 3650;
constexpr int kServerDays = 397;
constexpr long kDaySeconds = 86'400;

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;

Error Failed(std::string_view step) {
  const unsigned long code = ERR_get_error();
  std::array<char, 256> text{};
  ERR_error_string_n(code, text.data(), text.size());
  return Error(ErrorCode::kInternal, "http.tls.failed",
               fmt::format("cannot {}: {}", step, text.data()));
}

Error BadPem(std::string_view what) {
  ERR_clear_error();
  return Error(ErrorCode::kDataLoss, "http.tls.bad_pem",
               fmt::format("the {} cannot be read", what));
}

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size <= 0 ? std::string() : std::string(data, static_cast<std::size_t>(size));
}

Bio BioOf(std::string_view text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<CertifiedKey> PemOf(const Certificate& certificate, const Key& key) {
  const Bio first(BIO_new(BIO_s_mem()));
  const Bio second(BIO_new(BIO_s_secmem()));
  if (!first || !second || PEM_write_bio_X509(first.get(), certificate.get()) != 1 ||
      PEM_write_bio_PrivateKey(second.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return Failed("write a certificate");
  }
  return CertifiedKey{TextOf(first.get()), Secret(TextOf(second.get()))};
}

Certificate ReadCertificate(std::string_view pem) {
  const Bio bio = BioOf(pem);
  return Certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
}

Key ReadKey(std::string_view pem) {
  const Bio bio = BioOf(pem);
  return Key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr) : nullptr);
}

bool Add(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

/// A certificate for `key` without extensions and signature.
Result<Certificate> Blank(const Key& key, const std::string& common_name, WallTime now, int days) {
  Certificate made(X509_new());
  std::array<unsigned char, 16> serial{};
  if (!made || RAND_bytes(serial.data(), static_cast<int>(serial.size())) != 1) {
    return Failed("make a certificate");
  }
  serial[0] = static_cast<unsigned char>((serial[0] & 0x3f) | 0x40);  // positive, of full length
  BIGNUM* number = BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr);
  const bool numbered =
      number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(made.get())) != nullptr;
  BN_free(number);
  const std::time_t when = std::chrono::system_clock::to_time_t(now);
  X509_NAME* name = X509_get_subject_name(made.get());
  // A day earlier: the clocks of clients differ.
  if (!numbered || X509_set_version(made.get(), X509_VERSION_3) != 1 ||
      ASN1_TIME_adj(X509_getm_notBefore(made.get()), when, -1, 0) == nullptr ||
      ASN1_TIME_adj(X509_getm_notAfter(made.get()), when, days - 1, 0) == nullptr ||
      X509_set_pubkey(made.get(), key.get()) != 1 ||
      X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common_name.data()),
                                 static_cast<int>(common_name.size()), -1, 0) != 1) {
    return Failed("make a certificate");
  }
  return made;
}

}  // namespace

Result<CertifiedKey> MakeAuthority(const std::string& common_name, WallTime now) {
  const Key key(EVP_EC_gen("P-256"));
  if (!key) return Failed("make a key");
  VMFERRY_ASSIGN_OR_RETURN(const Certificate made, Blank(key, common_name, now, kAuthorityDays));
  X509* raw = made.get();
  if (X509_set_issuer_name(raw, X509_get_subject_name(raw)) != 1 ||
      !Add(raw, raw, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !Add(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !Add(raw, raw, NID_subject_key_identifier, "hash") ||
      !Add(raw, raw, NID_authority_key_identifier, "keyid:always") ||
      X509_sign(raw, key.get(), EVP_sha256()) == 0) {
    return Failed("sign a certificate");
  }
  return PemOf(made, key);
}

Result<CertifiedKey> IssueServerCertificate(const CertifiedKey& authority,
                                            std::span<const std::string> names,
                                            std::span<const std::string> addresses, WallTime now) {
  const Certificate issuer = ReadCertificate(authority.certificate);
  const Key issuer_key = ReadKey(authority.key.Expose());
  if (!issuer || !issuer_key) return BadPem("certificate authority");
  const Key key(EVP_EC_gen("P-256"));
  if (!key) return Failed("make a key");
  VMFERRY_ASSIGN_OR_RETURN(
      const Certificate made,
      Blank(key, names.empty() ? std::string("server") : names.front(), now, kServerDays));
  std::string alternatives;
  const auto add = [&](std::string_view kind, const std::string& value) {
    if (!alternatives.empty()) alternatives += ',';
    alternatives += kind;
    alternatives += value;
  };
  for (const std::string& name : names) add("DNS:", name);
  for (const std::string& address : addresses) add("IP:", address);
  X509* raw = made.get();
  if (X509_set_issuer_name(raw, X509_get_subject_name(issuer.get())) != 1 ||
      !Add(raw, issuer.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !Add(raw, issuer.get(), NID_key_usage, "critical,digitalSignature") ||
      !Add(raw, issuer.get(), NID_ext_key_usage, "serverAuth") ||
      !Add(raw, issuer.get(), NID_subject_key_identifier, "hash") ||
      !Add(raw, issuer.get(), NID_authority_key_identifier, "keyid:always") ||
      !Add(raw, issuer.get(), NID_subject_alt_name, alternatives) ||
      X509_sign(raw, issuer_key.get(), EVP_sha256()) == 0) {
    return Failed("sign a certificate");
  }
  return PemOf(made, key);
}

bool IsUsable(const std::string& certificate, const std::string& authority,
              std::span<const std::string> names, WallTime now, int days) {
  const Certificate made = ReadCertificate(certificate);
  const Certificate issuer = ReadCertificate(authority);
  const auto finish = [](bool answer) {
    ERR_clear_error();
    return answer;
  };
  if (!made || !issuer) return finish(false);
  const Key issuer_key(X509_get_pubkey(issuer.get()));
  if (!issuer_key || X509_verify(made.get(), issuer_key.get()) != 1) return finish(false);
  std::time_t begin = std::chrono::system_clock::to_time_t(now);
  std::time_t end = begin + days * kDaySeconds;
  if (X509_cmp_time(X509_get0_notBefore(made.get()), &begin) >= 0 ||
      X509_cmp_time(X509_get0_notAfter(made.get()), &end) <= 0) {
    return finish(false);
  }
  return finish(std::ranges::all_of(names, [&](const std::string& name) {
    // A wildcard is asked for by a name below it.
    const std::string asked = name.starts_with("*.") ? "x" + name.substr(1) : name;
    return X509_check_host(made.get(), asked.data(), asked.size(), 0, nullptr) == 1;
  }));
}

}  // namespace vmferry::http
