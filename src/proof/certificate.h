// SPDX-License-Identifier: Apache-2.0
//
// The certificate: a signed record of what was compared and how it ended.
//
// A DSSE envelope (github.com/secure-systems-lab/dsse, protocol 1.0.2) around JSON of schema
// vmferry.certificate/1, signed with Ed25519. Whoever has the public key can check it.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "proof/compare.h"
#include "proof/hash_disk.h"

namespace vmferry::proof {

inline constexpr std::string_view kCertificateSchema = "vmferry.certificate/1";
inline constexpr std::string_view kCertificatePayloadType =
    "application/vnd.vmferry.certificate+json";

/// How the comparison ended. Names, not numbers, are stored.
enum class Verdict {
  kIdentical,        ///< every block of the target is what the source holds
  kEditedByService,  ///< it differs on a route where the service edits the guest
  kDiffers,
  kAttested,     ///< not read back: the service checked the checksums of what was sent
  kNotCompared,  ///< nobody checked anything
};
/// "identical", "edited-by-service", "differs", "attested", "not-compared".
std::string_view VerdictName(Verdict verdict);

struct CertificateSource {
  std::string path;
  std::string format;     ///< "raw", "vmdk"
  std::string subformat;  ///< may be empty
  std::uint64_t virtual_size_bytes = 0;
  std::uint64_t stored_size_bytes = 0;
  std::string modified_at;  ///< UTC, RFC 3339
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  bool operator==(const CertificateSource&) const = default;
};

/// The payload.
struct Certificate {
  Verdict verdict = Verdict::kNotCompared;
  std::string migration_id;
  std::string mode;   ///< "full", "sample=N", "attested", "none"
  std::string route;  ///< "instance", "direct", ...
  CertificateSource source;
  std::uint64_t volume_size_bytes = 0;
  std::string root;         ///< of the source's hash tree, hexadecimal
  std::string target_root;  ///< of what was read back; empty when nothing was
  BlockCounts source_blocks;
  CompareCounts compared_blocks;
  /// Blocks that were holes in the source and were never sent as bytes.
  std::uint64_t holes_not_written = 0;
  std::vector<DifferingRange> differing_ranges;  ///< at most kMaxDifferingRanges
  bool differing_ranges_complete = true;
  std::map<std::string, std::string> target_ids;  ///< "volume": "vol-0123..."
  std::string encryption;  ///< as the service reported it: "none", a key id; empty: not reported
  std::string tool_version;
  std::string issued_at;  ///< UTC, RFC 3339

  bool operator==(const Certificate&) const = default;
};

/// The JSON text of a certificate; the same certificate gives the same text.
std::string BuildPayload(const Certificate& certificate);

/// Reads what BuildPayload writes.
///
/// Errors: kInvalidArgument certificate.schema, certificate.malformed.
Result<Certificate> ParsePayload(std::string_view payload);

/// Signs a payload: the text of the DSSE envelope.
///
/// Errors: kInvalidArgument codec.bad_key.
Result<std::string> Sign(std::string_view payload, const Secret& private_pem);

/// Checks the signature and reads the certificate. What it says is not looked at before the
/// signature is right.
///
/// Errors: kInvalidArgument certificate.malformed, certificate.schema, certificate.payload_type;
///         kPermissionDenied certificate.wrong_key (no signature by this key),
///         certificate.bad_signature; kInvalidArgument codec.bad_key.
Result<Certificate> Verify(std::string_view envelope, std::string_view public_pem);

/// Hexadecimal SHA-256 of the public key's PEM text: the keyid of the envelope.
std::string KeyId(std::string_view public_pem);

/// Sums up a comparison: kIdentical, or kDiffers, or kEditedByService where `service_edits`.
Verdict VerdictOf(const Comparison& comparison, bool service_edits);

}  // namespace vmferry::proof
