// SPDX-License-Identifier: Apache-2.0
#include "proof/certificate.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/byte_reader.h"
#include "codec/signature.h"
#include "codec/text_codec.h"
#include "proof/signing_key.h"
#include "sys/file.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "text/json.h"

namespace vmferry::proof {
namespace {

Certificate MakeCertificate() {
  return {.verdict = Verdict::kDiffers,
          .migration_id = "mig-abcdefghijklmnop",
          .mode = "full",
          .route = "instance",
          .source = {.path = "/disks/\"web\".vmdk",
                     .format = "vmdk",
                     .subformat = "streamOptimized",
                     .virtual_size_bytes = std::uint64_t{20} << 30,
                     .stored_size_bytes = 12345,
                     .modified_at = "2026-01-01T00:00:00Z",
                     .device = 2049,
                     .inode = ~std::uint64_t{0}},
          .volume_size_bytes = std::uint64_t{20} << 30,
          .root = std::string(64, 'a'),
          .target_root = std::string(64, 'b'),
          .source_blocks = {.data = 10, .zero = 20, .hole = 30},
          .compared_blocks = {.total = 60,
                              .compared = 11,
                              .unlisted = 49,
                              .identical = 10,
                              .differing = 1,
                              .missing = 0,
                              .read = 11},
          .holes_not_written = 0,
          .differing_ranges = {{.offset_bytes = 4096, .length_bytes = 1}},
          .target_ids = {{"volume", "vol-0123"}, {"snapshot", "snap-0123"}},
          .encryption = "none",
          .tool_version = "0.1.0",
          .issued_at = "2026-01-01T01:00:00Z"};
}

struct Keys {
  Secret private_pem = codec::GenerateEd25519Key();
  std::string public_pem = *codec::Ed25519PublicKey(private_pem);
};

TEST(Certificate, PayloadComesBackAsItWas) {
  const Certificate certificate = MakeCertificate();
  const auto parsed = ParsePayload(BuildPayload(certificate));
  ASSERT_TRUE(parsed.has_value()) << parsed.error().ToString();
  EXPECT_EQ(*parsed, certificate);
}

TEST(Certificate, EveryMemberOfThePayloadIsNeeded) {
  const auto payload = text::Json::Parse(BuildPayload(MakeCertificate()));
  ASSERT_TRUE(payload.has_value());
  for (const auto& member : payload->Members()) {
    if (member.first == "target") continue;  // a target without ids is an empty object
    text::Json without = text::Json::MakeObject();
    for (const auto& other : payload->Members()) {
      if (other.first != member.first) without.Set(other.first, other.second);
    }
    const auto parsed = ParsePayload(without.Dump());
    ASSERT_FALSE(parsed.has_value()) << member.first;
    EXPECT_EQ(parsed.error().reason(),
              member.first == "schema" ? "certificate.schema" : "certificate.malformed");
  }
}

TEST(Certificate, VerifiesWhatWasSigned) {
  const Keys keys;
  const auto envelope = Sign(BuildPayload(MakeCertificate()), keys.private_pem);
  ASSERT_TRUE(envelope.has_value());
  const auto verified = Verify(*envelope, keys.public_pem);
  ASSERT_TRUE(verified.has_value()) << verified.error().ToString();
  EXPECT_EQ(*verified, MakeCertificate());
}

TEST(Certificate, RefusesAnotherKey) {
  const Keys keys;
  const Keys others;
  const auto envelope = Sign(BuildPayload(MakeCertificate()), keys.private_pem);
  ASSERT_TRUE(envelope.has_value());
  const auto verified = Verify(*envelope, others.public_pem);
  ASSERT_FALSE(verified.has_value());
  EXPECT_EQ(verified.error().reason(), "certificate.wrong_key");
}

TEST(Certificate, RefusesAChangedPayload) {
  const Keys keys;
  const auto envelope = Sign(BuildPayload(MakeCertificate()), keys.private_pem);
  ASSERT_TRUE(envelope.has_value());
  auto json = text::Json::Parse(*envelope);
  ASSERT_TRUE(json.has_value());
  Certificate better = MakeCertificate();
  better.verdict = Verdict::kIdentical;
  json->Set("payload", codec::Base64Encode(AsBytes(BuildPayload(better))));
  const auto verified = Verify(json->Dump(), keys.public_pem);
  ASSERT_FALSE(verified.has_value());
  EXPECT_EQ(verified.error().reason(), "certificate.bad_signature");
}

TEST(Certificate, RefusesWhatIsNotAnEnvelope) {
  const Keys keys;
  const auto envelope = Sign(BuildPayload(MakeCertificate()), keys.private_pem);
  ASSERT_TRUE(envelope.has_value());
  for (std::size_t size = 0; size < envelope->size() - 1; size += 7) {
    EXPECT_FALSE(Verify(std::string_view(*envelope).substr(0, size), keys.public_pem).has_value());
  }
  struct Case {
    const char* text;
    const char* reason;
  };
  for (const Case& tested : {
           Case{"", "certificate.malformed"},
           Case{"[]", "certificate.malformed"},
           Case{R"({"payload":"","payloadType":"text/plain","signatures":[]})",
                "certificate.payload_type"},
           Case{R"({"payload":"?","payloadType":"application/vnd.vmferry.certificate+json",)"
                R"("signatures":[]})",
                "certificate.malformed"},
           Case{R"({"payload":"","payloadType":"application/vnd.vmferry.certificate+json",)"
                R"("signatures":[]})",
                "certificate.wrong_key"},
           Case{R"({"payload":"","payloadType":"application/vnd.vmferry.certificate+json",)"
                R"("signatures":[{"sig":"AAAA"}]})",
                "certificate.wrong_key"},
       }) {
    const auto verified = Verify(tested.text, keys.public_pem);
    ASSERT_FALSE(verified.has_value()) << tested.text;
    EXPECT_EQ(verified.error().reason(), tested.reason) << tested.text;
  }
}

TEST(Certificate, OpensslAgreesAboutTheSignature) {
  VMFERRY_NEEDS_TOOL("openssl");
  const Keys keys;
  testing::TempDir folder;
  const std::string payload = BuildPayload(MakeCertificate());
  const auto envelope = Sign(payload, keys.private_pem);
  ASSERT_TRUE(envelope.has_value());
  const auto json = text::Json::Parse(*envelope);
  ASSERT_TRUE(json.has_value());
  const auto signature = codec::Base64Decode((*json)["signatures"].Items()[0]["sig"].AsString());
  ASSERT_TRUE(signature.has_value());
  // Written out from the DSSE specification, not by our own encoder.
  const std::string message = "DSSEv1 40 application/vnd.vmferry.certificate+json " +
                              std::to_string(payload.size()) + " " + payload;
  ASSERT_TRUE(sys::WriteWholeFile(folder / "message", message).has_value());
  ASSERT_TRUE(sys::WriteWholeFile(folder / "signature", AsText(*signature)).has_value());
  ASSERT_TRUE(sys::WriteWholeFile(folder / "key.pem", keys.public_pem).has_value());
  const auto checked =
      testing::RunTool({"openssl", "pkeyutl", "-verify", "-pubin", "-inkey", folder / "key.pem",
                        "-rawin", "-in", folder / "message", "-sigfile", folder / "signature"});
  EXPECT_TRUE(checked.ok()) << checked.output << checked.error_output;
}

TEST(SigningKey, IsMadeOnceAndKept) {
  testing::TempDir folder;
  const auto first = LoadOrCreateSigningKey(folder / "state");
  ASSERT_TRUE(first.has_value()) << first.error().ToString();
  const auto second = LoadOrCreateSigningKey(folder / "state");
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(first->private_pem.Expose(), second->private_pem.Expose());
  EXPECT_EQ(first->public_pem, second->public_pem);
  struct stat status = {};
  ASSERT_EQ(::stat((folder / "state" / kPrivateKeyFile).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_EQ(*sys::ReadWholeFile(folder / "state" / kPublicKeyFile, 4096), first->public_pem);
}

TEST(SigningKey, IsRefusedWhenOthersMayReadIt) {
  testing::TempDir folder;
  ASSERT_TRUE(LoadOrCreateSigningKey(folder.path()).has_value());
  ASSERT_EQ(::chmod((folder / kPrivateKeyFile).c_str(), 0640), 0);
  const auto loaded = LoadOrCreateSigningKey(folder.path());
  ASSERT_FALSE(loaded.has_value());
  EXPECT_EQ(loaded.error().reason(), "certificate.key_exposed");
}

TEST(SigningKey, IsRefusedWhenItIsGarbage) {
  testing::TempDir folder;
  ASSERT_TRUE(sys::WriteWholeFile(folder / kPrivateKeyFile, "garbage").has_value());
  const auto loaded = LoadOrCreateSigningKey(folder.path());
  ASSERT_FALSE(loaded.has_value());
  EXPECT_EQ(loaded.error().reason(), "codec.bad_key");
}

}  // namespace
}  // namespace vmferry::proof
