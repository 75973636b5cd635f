// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "base/byte_reader.h"
#include "codec/deflate.h"
#include "codec/digest.h"
#include "codec/signature.h"
#include "codec/text_codec.h"
#include "codec/zstd.h"
#include "testing/fake_random.h"

namespace vmferry::codec {
namespace {

// aws-reference: published CRC32C values, and EBS checksums of constant blocks.
TEST(Digest, Crc32IsZlibs) {
  EXPECT_EQ(Crc32({}), 0U);
  EXPECT_EQ(Crc32(AsBytes("123456789")), 0xcbf43926U);
  EXPECT_EQ(Crc32(AsBytes("6789"), Crc32(AsBytes("12345"))), 0xcbf43926U);
}

TEST(Crc32c, EqualsPublishedValues) {
  EXPECT_EQ(Crc32c({}), 0U);
  EXPECT_EQ(Crc32c(AsBytes("123456789")), 0xe3069283U);
  EXPECT_EQ(Base64Encode(CrcBytes(Crc32c(AsBytes("hello")))), "mnG7TA==");
  EXPECT_EQ(Crc32c(AsBytes("6789"), Crc32c(AsBytes("12345"))), 0xe3069283U);
}

TEST(Sha256, EqualsPublishedValues) {
  EXPECT_EQ(Base64Encode(Sha256(std::vector<std::byte>(524288))),
            "B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE=");
  EXPECT_EQ(HexEncode(Sha256(AsBytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// RFC 4231, test case 2.
TEST(HmacSha256, EqualsPublishedValue) {
  EXPECT_EQ(HexEncode(HmacSha256(AsBytes("Jefe"), AsBytes("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Digester, EqualsOneShotForDataInParts) {
  Digester digester(DigestKind::kSha256);
  digester.Update(AsBytes("a"));
  digester.Update(AsBytes("bc"));
  std::array<std::byte, 32> out;
  EXPECT_EQ(HexEncode(digester.Finish(out)), HexEncode(Sha256(AsBytes("abc"))));
  EXPECT_EQ(HexEncode(Md5(AsBytes("abc"))), "900150983cd24fb0d6963f7d28e17f72");
}

TEST(Digest, Sha512MatchesTheStandardsExample) {
  // FIPS 180-2, appendix C.1.
  Digester digester(DigestKind::kSha512);
  digester.Update(AsBytes("abc"));
  std::array<std::byte, kMaxDigestBytes> out;
  EXPECT_EQ(HexEncode(digester.Finish(out)),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a8"
            "36ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

// RFC 4648 section 10.
TEST(Base64, EqualsPublishedValues) {
  const std::pair<const char*, const char*> cases[] = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}};
  for (const auto& [plain, encoded] : cases) {
    EXPECT_EQ(Base64Encode(AsBytes(plain)), encoded);
    EXPECT_EQ(AsText(*Base64Decode(encoded)), plain);
  }
}

TEST(Base64, RefusesWhatIsNotStrict) {
  for (const char* text : {"Zg", "Zg=", "Z===", "Zh==", "Zm9v ", "Zm-v", "=m9v", "Zg==Zg=="}) {
    EXPECT_FALSE(Base64Decode(text)) << text;
  }
}

TEST(Hex, RoundTripsAndRefusesTheRest) {
  EXPECT_EQ(HexEncode(*HexDecode("00ffA0")), "00ffa0");
  EXPECT_FALSE(HexDecode("0"));
  EXPECT_FALSE(HexDecode("zz"));
}

TEST(Deflater, GivesTheSameBytesEachTimeAndSaysWhenThereIsNoRoom) {
  std::vector<std::byte> data(100'000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * i >> 9);
  Deflater deflater(Deflater::Wrapper::kZlib);
  std::vector<std::byte> first(Deflater::Bound(data.size()));
  std::vector<std::byte> second(first.size());
  const auto size = deflater.Deflate(data, first);
  ASSERT_TRUE(size.has_value());
  EXPECT_EQ(deflater.Deflate(data, second), size);
  EXPECT_EQ(first, second);
  EXPECT_EQ(deflater.Deflate(data, std::span(first).first(*size - 1)), std::nullopt);
  EXPECT_EQ(Deflater::Method().substr(0, 5), "isal-");
}

TEST(Zlib, InflatesWhatItDeflates) {
  testing::FakeRandom random(1);
  for (const std::size_t size : {0U, 1U, 65536U, 200000U}) {
    std::vector<std::byte> data(size);
    random.Fill(std::span(data).first(size / 2));
    const std::vector<std::byte> compressed = ZlibDeflate(data);
    std::vector<std::byte> out(size + 1);
    ZlibInflater inflater;
    const auto written = inflater.Inflate(compressed, out);
    ASSERT_TRUE(written) << written.error().ToString();
    ASSERT_EQ(*written, size);
    out.resize(size);
    EXPECT_EQ(out, data);
  }
}

TEST(Zlib, RefusesDamageAndBombs) {
  const std::vector<std::byte> compressed = ZlibDeflate(std::vector<std::byte>(1 << 20));
  ZlibInflater inflater;
  std::vector<std::byte> small(4096);
  EXPECT_EQ(inflater.Inflate(compressed, small).error().reason(), "codec.inflate_failed");
  std::vector<std::byte> whole(1 << 20);
  EXPECT_FALSE(inflater.Inflate(std::span(compressed).first(compressed.size() / 2), whole));
}

TEST(RawDeflate, InflatesAndPassesOverWhatComesBehind) {
  std::vector<std::byte> data(65536);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i / 100);
  std::vector<std::byte> compressed(Deflater::Bound(data.size()));
  const auto size = Deflater(Deflater::Wrapper::kRaw, 12).Deflate(data, compressed);
  ASSERT_TRUE(size.has_value());
  compressed.resize(*size + 300, std::byte{0xff});
  ZlibInflater inflater;
  std::vector<std::byte> out(data.size());
  const auto written = inflater.InflateRaw(compressed, out);
  ASSERT_TRUE(written) << written.error().ToString();
  EXPECT_EQ(*written, data.size());
  EXPECT_EQ(out, data);
  EXPECT_FALSE(inflater.InflateRaw(std::span(compressed).first(*size / 2), out));
  EXPECT_FALSE(inflater.InflateRaw(compressed, std::span(out).first(65535)));
}

TEST(RawDeflate, KeepsToAWindowOfFourKilobytes) {
  // Repeats at every distance: zlib with a window of 4 KiB that has only that much history, because
  // it puts out a few bytes at a time, refuses a longer one.
  testing::FakeRandom random(3);
  std::vector<std::byte> data(65536);
  random.Fill(std::span(data).first(9000));
  for (std::size_t at = 9000; at + 64 <= data.size(); at += 64) {
    std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(at - 64 - random.Below(8000)), 64,
                data.begin() + static_cast<std::ptrdiff_t>(at));
  }
  std::vector<std::byte> compressed(Deflater::Bound(data.size()));
  const auto size = Deflater(Deflater::Wrapper::kRaw, 12).Deflate(data, compressed);
  ASSERT_TRUE(size.has_value());
  z_stream stream{};
  ASSERT_EQ(inflateInit2(&stream, -12), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_in = static_cast<uInt>(*size);
  std::vector<std::byte> out(data.size());
  int status = Z_OK;
  for (std::size_t at = 0; at < out.size() && status == Z_OK; at += 16) {
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + at);
    stream.avail_out = 16;
    status = inflate(&stream, Z_SYNC_FLUSH);
  }
  inflateEnd(&stream);
  EXPECT_TRUE(status == Z_OK || status == Z_STREAM_END) << status;
  EXPECT_EQ(out, data);
}

std::vector<std::byte> ZstdCompress(std::span<const std::byte> data) {
  std::vector<std::byte> frame(ZSTD_compressBound(data.size()));
  frame.resize(ZSTD_compress(frame.data(), frame.size(), data.data(), data.size(), 3));
  return frame;
}

TEST(Zstd, DecodesFramesUntilTheRoomIsFull) {
  testing::FakeRandom random(1);
  std::vector<std::byte> data(100000);
  random.Fill(std::span(data).first(50000));
  std::vector<std::byte> frames = ZstdCompress(std::span(data).first(60000));
  const std::vector<std::byte> second = ZstdCompress(std::span(data).subspan(60000));
  frames.insert(frames.end(), second.begin(), second.end());
  frames.resize(frames.size() + 400);  // what stands behind is not looked at
  ZstdDecoder decoder;
  std::vector<std::byte> out(data.size());
  const auto decoded = decoder.Decode(frames, out);
  ASSERT_TRUE(decoded) << decoded.error().ToString();
  EXPECT_EQ(out, data);
}

TEST(Zstd, RefusesDamageBombsAndShortness) {
  const std::vector<std::byte> frame = ZstdCompress(std::vector<std::byte>(1 << 20));
  ZstdDecoder decoder;
  std::vector<std::byte> small(4096);
  EXPECT_EQ(decoder.Decode(frame, small).error().reason(), "codec.zstd_failed");
  std::vector<std::byte> large((1 << 20) + 1);
  EXPECT_FALSE(decoder.Decode(frame, large));
  EXPECT_FALSE(decoder.Decode(std::span(frame).first(frame.size() - 1), large));
  EXPECT_FALSE(decoder.Decode(AsBytes("no frame at all"), large));
}

TEST(Ed25519, VerifiesItsOwnSignatureAndNoOther) {
  const Secret key = GenerateEd25519Key();
  const auto public_key = Ed25519PublicKey(key);
  ASSERT_TRUE(public_key);
  const auto signature = Ed25519Sign(key, AsBytes("message"));
  ASSERT_TRUE(signature);
  EXPECT_TRUE(*Ed25519Verify(*public_key, AsBytes("message"), *signature));
  EXPECT_FALSE(*Ed25519Verify(*public_key, AsBytes("massage"), *signature));
  EXPECT_EQ(Ed25519Sign(Secret("no key"), AsBytes("m")).error().reason(), "codec.bad_key");
}

}  // namespace
}  // namespace vmferry::codec
