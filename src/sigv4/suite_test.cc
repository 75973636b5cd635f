// SPDX-License-Identifier: Apache-2.0
//
// AWS's own signing test suite: 38 requests, each signed in the header and in the query, and each
// result read back and verified as a server does. The suite is not part of this project; the folder
// is named by VMFERRY_SIGV4_VECTORS.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"
#include "sigv4/sign.h"
#include "sigv4/verify.h"

namespace vmferry::sigv4 {
namespace {

std::filesystem::path SuiteFolder() {
  // Set before the process starts any thread.
  const char* named = std::getenv("VMFERRY_SIGV4_VECTORS");  // NOLINT(concurrency-mt-unsafe)
  return named != nullptr ? named : VMFERRY_DEFAULT_VECTORS;
}

std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  std::string content = text.str();
  while (content.ends_with('\n') && path.filename() != "request.txt") content.pop_back();
  return content;
}

struct Case {
  std::string method, path, query, body;
  std::vector<Header> headers;
  std::string payload_hash;
  Credentials credentials;
  std::string region, service;
  WallTime time;
  std::chrono::seconds expires{0};
  Options options;
  bool sign_body = false;

  RequestView View() const { return {method, path, query, headers, payload_hash}; }
  Signing Where() const { return {region, service, time, options}; }
};

void ReadRequest(const std::string& text, Case& out) {
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  const std::size_t method_end = line.find(' ');
  const std::size_t target_end = line.rfind(' ');
  out.method = line.substr(0, method_end);
  const std::string target = line.substr(method_end + 1, target_end - method_end - 1);
  out.path = target.substr(0, target.find('?'));
  if (target.find('?') != std::string::npos) out.query = target.substr(target.find('?') + 1);
  while (std::getline(lines, line) && !line.empty()) {
    if (line.front() == ' ') {  // a continued value
      out.headers.back().second += "\n" + line;
    } else {
      const std::size_t colon = line.find(':');
      out.headers.emplace_back(line.substr(0, colon), line.substr(colon + 1));
    }
  }
  std::ostringstream rest;
  rest << lines.rdbuf();
  out.body = rest.str();
}

Case ReadCase(const std::filesystem::path& folder) {
  Case out;
  ReadRequest(ReadAll(folder / "request.txt"), out);
  const auto context = nlohmann::json::parse(ReadAll(folder / "context.json"));
  const auto& keys = context["credentials"];
  out.credentials.access_key_id = keys["access_key_id"];
  out.credentials.secret_access_key = Secret(keys["secret_access_key"]);
  if (keys.contains("token")) out.credentials.session_token = Secret(keys["token"]);
  out.region = context["region"];
  out.service = context["service"];
  out.time = *ParseTime(context["timestamp"].get<std::string>());
  out.expires = std::chrono::seconds(context["expiration_in_seconds"].get<int>());
  out.options.normalize_path = context["normalize"];
  out.options.sign_session_token = !context.value("omit_session_token", false);
  out.sign_body = context["sign_body"];
  out.payload_hash = codec::HexEncode(codec::Sha256(AsBytes(out.body)));
  return out;
}

class SigningSuite : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::is_directory(SuiteFolder())) {
      GTEST_SKIP() << "AWS signing test suite is absent; name its folder in VMFERRY_SIGV4_VECTORS";
    }
    for (const auto& entry : std::filesystem::directory_iterator(SuiteFolder())) {
      if (entry.is_directory()) folders_.push_back(entry.path());
    }
    EXPECT_EQ(folders_.size(), 38U);
  }
  std::vector<std::filesystem::path> folders_;
};

void ExpectVerified(const std::filesystem::path& folder, const std::string& form, const Case& test,
                    const RequestView& signed_request) {
  const auto claim = ParseClaim(signed_request);
  ASSERT_TRUE(claim) << claim.error().ToString();
  const Computation computed =
      ComputeSignature(*claim, signed_request, test.credentials.secret_access_key, test.options);
  EXPECT_EQ(computed.canonical_request, ReadAll(folder / (form + "-canonical-request.txt")));
  EXPECT_EQ(computed.string_to_sign, ReadAll(folder / (form + "-string-to-sign.txt")));
  EXPECT_EQ(computed.signature, ReadAll(folder / (form + "-signature.txt")));
  EXPECT_TRUE(ConstantTimeEquals(computed.signature, claim->signature));
  EXPECT_EQ(claim->session_token, test.credentials.session_token.Expose());
}

TEST_F(SigningSuite, HeaderFormEqualsEveryCase) {
  for (const auto& folder : folders_) {
    SCOPED_TRACE(folder.filename());
    Case test = ReadCase(folder);
    test.options.content_sha256_header = test.sign_body;
    const std::vector<Header> added = SignHeaders(test.View(), test.credentials, test.Where());
    const std::string expected = ReadAll(folder / "header-signed-request.txt") + "\n";
    for (const auto& [name, value] : added) {
      EXPECT_NE(expected.find(name + ":" + value + "\n"), std::string::npos) << name << value;
    }
    test.headers.insert(test.headers.end(), added.begin(), added.end());
    ExpectVerified(folder, "header", test, test.View());
  }
}

TEST_F(SigningSuite, QueryFormEqualsEveryCase) {
  for (const auto& folder : folders_) {
    SCOPED_TRACE(folder.filename());
    Case test = ReadCase(folder);
    test.query = Presign(test.View(), test.credentials, test.Where(), test.expires);
    const std::string expected = ReadAll(folder / "query-signed-request.txt");
    EXPECT_NE(expected.find("?" + test.query + " HTTP/1.1\n"), std::string::npos) << test.query;
    ExpectVerified(folder, "query", test, test.View());
  }
}

}  // namespace
}  // namespace vmferry::sigv4
