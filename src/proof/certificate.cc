// SPDX-License-Identifier: Apache-2.0
#include "proof/certificate.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "codec/signature.h"
#include "codec/text_codec.h"
#include "text/json.h"

namespace vmferry::proof {
namespace {

using text::Json;

/// A certificate has at most 64 ranges and a few ids: some 10 KiB.
constexpr std::size_t kMaxEnvelopeBytes = 256 * 1024;
/// DSSE allows several signatures; more than a handful is not ours.
constexpr std::size_t kMaxSignatures = 16;

constexpr std::array<std::pair<Verdict, std::string_view>, 5> kVerdictNames = {
    {{Verdict::kIdentical, "identical"},
     {Verdict::kEditedByService, "edited-by-service"},
     {Verdict::kDiffers, "differs"},
     {Verdict::kAttested, "attested"},
     {Verdict::kNotCompared, "not-compared"}}};

Error Malformed(std::string_view what) {
  return Error(ErrorCode::kInvalidArgument, "certificate.malformed",
               fmt::format("the certificate {}", what))
      .WithRemedy("check that the file is a vmferry certificate and was copied completely");
}

// DSSE 1.0.2, "Signature Definition": PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body)
// SP body.
std::string PreAuthEncoding(std::string_view payload) {
  return fmt::format("DSSEv1 {} {} {} {}", kCertificatePayloadType.size(), kCertificatePayloadType,
                     payload.size(), payload);
}

/// Reads members of JSON objects and remembers the first that is not what it should be.
class MemberReader {
 public:
  std::string String(const Json& object, std::string_view name) {
    const Json& value = object[name];
    if (!value.IsString()) Note(name);
    return value.AsString();
  }
  std::uint64_t Number(const Json& object, std::string_view name) {
    const std::int64_t value = object[name].AsInt(-1);
    if (value < 0) Note(name);
    return value < 0 ? 0 : static_cast<std::uint64_t>(value);
  }
  bool Bool(const Json& object, std::string_view name) {
    const bool value = object[name].AsBool(false);
    if (!value && object[name].AsBool(true)) Note(name);
    return value;
  }
  void Note(std::string_view name) {
    if (fault_.empty()) fault_ = name;
  }
  const std::string& fault() const { return fault_; }

 private:
  std::string fault_;
};

Json SourceToJson(const CertificateSource& source) {
  Json json = Json::MakeObject();
  json.Set("path", source.path)
      .Set("format", source.format)
      .Set("subformat", source.subformat)
      .Set("virtual_size_bytes", source.virtual_size_bytes)
      .Set("stored_size_bytes", source.stored_size_bytes)
      .Set("modified_at", source.modified_at)
      // As text: some file systems use all 64 bits, which JSON numbers do not carry.
      .Set("device", std::to_string(source.device))
      .Set("inode", std::to_string(source.inode));
  return json;
}

std::uint64_t NumberInText(MemberReader& reader, const Json& object, std::string_view name) {
  const auto value = ParseUint(reader.String(object, name));
  if (!value) reader.Note(name);
  return value.value_or(0);
}

CertificateSource SourceFromJson(MemberReader& reader, const Json& json) {
  return {.path = reader.String(json, "path"),
          .format = reader.String(json, "format"),
          .subformat = reader.String(json, "subformat"),
          .virtual_size_bytes = reader.Number(json, "virtual_size_bytes"),
          .stored_size_bytes = reader.Number(json, "stored_size_bytes"),
          .modified_at = reader.String(json, "modified_at"),
          .device = NumberInText(reader, json, "device"),
          .inode = NumberInText(reader, json, "inode")};
}

Json SourceBlocksToJson(const BlockCounts& counts) {
  Json json = Json::MakeObject();
  json.Set("total", counts.total())
      .Set("data", counts.data)
      .Set("zero", counts.zero)
      .Set("hole", counts.hole);
  return json;
}

BlockCounts SourceBlocksFromJson(MemberReader& reader, const Json& json) {
  const BlockCounts counts = {.data = reader.Number(json, "data"),
                              .zero = reader.Number(json, "zero"),
                              .hole = reader.Number(json, "hole")};
  if (reader.Number(json, "total") != counts.total()) reader.Note("total");
  return counts;
}

Json ComparedBlocksToJson(const CompareCounts& counts) {
  Json json = Json::MakeObject();
  json.Set("total", counts.total)
      .Set("compared", counts.compared)
      .Set("unlisted", counts.unlisted)
      .Set("identical", counts.identical)
      .Set("differing", counts.differing)
      .Set("missing", counts.missing)
      .Set("read", counts.read);
  return json;
}

CompareCounts ComparedBlocksFromJson(MemberReader& reader, const Json& json) {
  return {.total = reader.Number(json, "total"),
          .compared = reader.Number(json, "compared"),
          .unlisted = reader.Number(json, "unlisted"),
          .identical = reader.Number(json, "identical"),
          .differing = reader.Number(json, "differing"),
          .missing = reader.Number(json, "missing"),
          .read = reader.Number(json, "read")};
}

Json RangesToJson(const std::vector<DifferingRange>& ranges) {
  Json json = Json::MakeArray();
  for (const DifferingRange& range : ranges) {
    Json item = Json::MakeObject();
    item.Set("offset_bytes", range.offset_bytes).Set("length_bytes", range.length_bytes);
    json.Append(std::move(item));
  }
  return json;
}

std::vector<DifferingRange> RangesFromJson(MemberReader& reader, const Json& json) {
  if (!json.IsArray() || json.Items().size() > kMaxDifferingRanges) {
    reader.Note("differing_ranges");
    return {};
  }
  std::vector<DifferingRange> ranges;
  for (const Json& item : json.Items()) {
    ranges.push_back({.offset_bytes = reader.Number(item, "offset_bytes"),
                      .length_bytes = reader.Number(item, "length_bytes")});
  }
  return ranges;
}

Verdict VerdictFromName(MemberReader& reader, std::string_view name) {
  for (const auto& [verdict, known] : kVerdictNames) {
    if (known == name) return verdict;
  }
  reader.Note("verdict");
  return Verdict::kNotCompared;
}

struct Envelope {
  std::string payload;
  std::vector<std::pair<std::string, std::vector<std::byte>>> signatures;  // keyid, signature
};

// DSSE 1.0.2, envelope.md: payload, payloadType and signatures[].{keyid, sig}.
Result<Envelope> ParseEnvelope(std::string_view text) {
  auto parsed = Json::Parse(text, kMaxEnvelopeBytes);
  if (!parsed) return Malformed("is not an envelope").CausedBy(std::move(parsed).error());
  const Json& json = *parsed;
  if (!json["payload"].IsString() || !json["payloadType"].IsString() ||
      !json["signatures"].IsArray()) {
    return Malformed("has no payload, payloadType or signatures");
  }
  if (json["payloadType"].AsString() != kCertificatePayloadType) {
    return Error(ErrorCode::kInvalidArgument, "certificate.payload_type",
                 fmt::format("the envelope holds '{}', not a vmferry certificate",
                             json["payloadType"].AsString()));
  }
  const auto payload = codec::Base64Decode(json["payload"].AsString());
  if (!payload) return Malformed("has a payload that is not base64");
  Envelope envelope = {.payload = std::string(AsText(*payload))};
  if (json["signatures"].Items().size() > kMaxSignatures) {
    return Malformed(fmt::format("has more than {} signatures", kMaxSignatures));
  }
  for (const Json& item : json["signatures"].Items()) {
    auto signature = codec::Base64Decode(item["sig"].AsString());
    if (!signature) return Malformed("has a signature that is not base64");
    envelope.signatures.emplace_back(item["keyid"].AsString(), std::move(*signature));
  }
  return envelope;
}

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  for (const auto& [known, name] : kVerdictNames) {
    if (known == verdict) return name;
  }
  return {};
}

std::string BuildPayload(const Certificate& certificate) {
  Json target = Json::MakeObject();
  for (const auto& [name, id] : certificate.target_ids) target.Set(name, id);
  Json json = Json::MakeObject();
  json.Set("schema", kCertificateSchema)
      .Set("verdict", VerdictName(certificate.verdict))
      .Set("migration", certificate.migration_id)
      .Set("mode", certificate.mode)
      .Set("route", certificate.route)
      .Set("source", SourceToJson(certificate.source))
      .Set("volume_size_bytes", certificate.volume_size_bytes)
      .Set("block_size_bytes", kLeafBlockBytes)
      .Set("root", certificate.root)
      .Set("target_root", certificate.target_root)
      .Set("source_blocks", SourceBlocksToJson(certificate.source_blocks))
      .Set("compared_blocks", ComparedBlocksToJson(certificate.compared_blocks))
      .Set("holes_not_written", certificate.holes_not_written)
      .Set("differing_ranges", RangesToJson(certificate.differing_ranges))
      .Set("differing_ranges_complete", certificate.differing_ranges_complete)
      .Set("target", std::move(target))
      .Set("encryption", certificate.encryption)
      .Set("tool_version", certificate.tool_version)
      .Set("issued_at", certificate.issued_at);
  return json.Dump(true);
}

Result<Certificate> ParsePayload(std::string_view payload) {
  auto parsed = Json::Parse(payload, kMaxEnvelopeBytes);
  if (!parsed) return Malformed("is not JSON").CausedBy(std::move(parsed).error());
  const Json& json = *parsed;
  if (json["schema"].AsString() != kCertificateSchema) {
    return Error(ErrorCode::kInvalidArgument, "certificate.schema",
                 fmt::format("the certificate's schema is '{}', not '{}'",
                             json["schema"].AsString(), kCertificateSchema))
        .WithRemedy("check it with the version of vmferry that issued it, or a newer one");
  }
  MemberReader reader;
  Certificate certificate = {
      .verdict = VerdictFromName(reader, reader.String(json, "verdict")),
      .migration_id = reader.String(json, "migration"),
      .mode = reader.String(json, "mode"),
      .route = reader.String(json, "route"),
      .source = SourceFromJson(reader, json["source"]),
      .volume_size_bytes = reader.Number(json, "volume_size_bytes"),
      .root = reader.String(json, "root"),
      .target_root = reader.String(json, "target_root"),
      .source_blocks = SourceBlocksFromJson(reader, json["source_blocks"]),
      .compared_blocks = ComparedBlocksFromJson(reader, json["compared_blocks"]),
      .holes_not_written = reader.Number(json, "holes_not_written"),
      .differing_ranges = RangesFromJson(reader, json["differing_ranges"]),
      .differing_ranges_complete = reader.Bool(json, "differing_ranges_complete"),
      .encryption = reader.String(json, "encryption"),
      .tool_version = reader.String(json, "tool_version"),
      .issued_at = reader.String(json, "issued_at")};
  if (reader.Number(json, "block_size_bytes") != kLeafBlockBytes) reader.Note("block_size_bytes");
  for (const auto& [name, id] : json["target"].Members()) {
    certificate.target_ids[name] = id.AsString();
  }
  if (reader.fault().empty()) return certificate;
  return Malformed(fmt::format("has no proper '{}'", reader.fault()));
}

std::string KeyId(std::string_view public_pem) {
  // PEM (RFC 7468): the lines between the dashes are the key's DER in base64.
  std::string base64;
  for (std::string_view rest = public_pem; !rest.empty();) {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.starts_with("-----")) base64 += line;
  }
  const auto der = codec::Base64Decode(base64);
  return codec::HexEncode(codec::Sha256(der ? std::span<const std::byte>(*der) : AsBytes(base64)));
}

Result<std::string> Sign(std::string_view payload, const Secret& private_pem) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string public_pem, codec::Ed25519PublicKey(private_pem));
  VMFERRY_ASSIGN_OR_RETURN(const codec::Ed25519Signature signature,
                           codec::Ed25519Sign(private_pem, AsBytes(PreAuthEncoding(payload))));
  Json item = Json::MakeObject();
  item.Set("keyid", KeyId(public_pem)).Set("sig", codec::Base64Encode(signature));
  Json envelope = Json::MakeObject();
  envelope.Set("payloadType", kCertificatePayloadType)
      .Set("payload", codec::Base64Encode(AsBytes(payload)))
      .Set("signatures", Json(Json::Array{std::move(item)}));
  return envelope.Dump(true) + "\n";
}

Result<Certificate> Verify(std::string_view envelope_text, std::string_view public_pem) {
  VMFERRY_ASSIGN_OR_RETURN(const Envelope envelope, ParseEnvelope(envelope_text));
  const std::string message = PreAuthEncoding(envelope.payload);
  const std::string key_id = KeyId(public_pem);
  bool named = false;
  for (const auto& [signer, signature] : envelope.signatures) {
    // DSSE 1.0.2, "Protocol": the keyid is a hint, only the signature counts.
    VMFERRY_ASSIGN_OR_RETURN(const bool right,
                             codec::Ed25519Verify(public_pem, AsBytes(message), signature));
    if (right) return ParsePayload(envelope.payload);
    named = named || signer == key_id;
  }
  if (named) {
    return Error(ErrorCode::kPermissionDenied, "certificate.bad_signature",
                 "the certificate was changed after it was signed");
  }
  return Error(ErrorCode::kPermissionDenied, "certificate.wrong_key",
               fmt::format("the certificate was not signed with the key {}", key_id))
      .WithRemedy("give the public key that belongs to the machine that issued it");
}

Verdict VerdictOf(const Comparison& comparison, bool service_edits) {
  if (comparison.identical()) return Verdict::kIdentical;
  return service_edits ? Verdict::kEditedByService : Verdict::kDiffers;
}

}  // namespace vmferry::proof
