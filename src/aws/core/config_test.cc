// SPDX-License-Identifier: Apache-2.0
#include "aws/core/config.h"

#include <gtest/gtest.h>

#include "sys/file.h"
#include "testing/fake_environment.h"
#include "testing/temp_dir.h"

namespace vmferry::aws {
namespace {

using testing::FakeEnvironment;

class LoadConfigTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, std::string_view text) {
    ASSERT_TRUE(sys::MakeFolders(home_ / ".aws"));
    ASSERT_TRUE(sys::WriteWholeFile(home_ / ".aws" / name, text));
  }
  Result<Config> Load(std::map<std::string, std::string, std::less<>> variables,
                      const ConfigRequest& request = {}) {
    return LoadConfig(FakeEnvironment(std::move(variables)), home_.path(), request);
  }
  std::string ReasonOf(std::map<std::string, std::string, std::less<>> variables,
                       const ConfigRequest& request = {}) {
    const auto config = Load(std::move(variables), request);
    return config ? "no error" : config.error().reason();
  }

  testing::TempDir home_;
};

TEST_F(LoadConfigTest, TakesKeysAndRegionFromTheEnvironment) {
  const auto config = Load({{"AWS_ACCESS_KEY_ID", "AK"},
                            {"AWS_SECRET_ACCESS_KEY", "SK"},
                            {"AWS_SESSION_TOKEN", "T"},
                            {"AWS_CREDENTIAL_EXPIRATION", "2026-11-22T10:00:00Z"},
                            {"AWS_REGION", "eu-west-1"},
                            {"AWS_DEFAULT_REGION", "eu-west-2"},
                            {"AWS_CA_BUNDLE", "/ca.pem"}});
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->credentials.access_key_id, "AK");
  EXPECT_EQ(config->credentials.secret_access_key.Expose(), "SK");
  EXPECT_EQ(config->credentials.session_token.Expose(), "T");
  EXPECT_TRUE(config->credentials.expires.has_value());
  EXPECT_EQ(config->region, "eu-west-1");
  EXPECT_EQ(config->credentials_source, "environment");
  EXPECT_EQ(config->ca_file, "/ca.pem");
  EXPECT_EQ(config->endpoints.Of(Service::kS3).ToString(), "https://s3.eu-west-1.amazonaws.com/");
}

TEST_F(LoadConfigTest, SaysWhatIsMissing) {
  EXPECT_EQ(ReasonOf({}), "aws.no_credentials");
  EXPECT_EQ(ReasonOf({{"AWS_ACCESS_KEY_ID", "AK"}}), "aws.no_credentials");
  EXPECT_EQ(ReasonOf({{"AWS_ACCESS_KEY_ID", "AK"}, {"AWS_SECRET_ACCESS_KEY", "SK"}}),
            "aws.no_region");
  EXPECT_EQ(ReasonOf({{"AWS_PROFILE", "work"}}), "aws.no_such_profile");
  Write("config", "[profile work]\nrole_arn = arn:aws:iam::1:role/x\n");
  const auto config = Load({{"AWS_PROFILE", "work"}});
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message().find("role_arn"), std::string::npos);
  EXPECT_FALSE(config.error().remedy().empty());
}

TEST_F(LoadConfigTest, FindsProfilesInBothFiles) {
  Write("credentials",
        "[default]\naws_access_key_id=D\naws_secret_access_key=S\n"
        "[work]\naws_access_key_id=W\naws_secret_access_key=S\naws_session_token=T\n");
  Write("config",
        "[default]\nregion=us-west-2\n"
        "[profile work]\nregion=eu-west-1\naws_access_key_id=ignored\naws_secret_access_key=x\n"
        "[profile conf]\nregion=eu-west-3\naws_access_key_id=C\naws_secret_access_key=S\n");
  EXPECT_EQ(Load({})->credentials.access_key_id, "D");
  EXPECT_EQ(Load({})->region, "us-west-2");
  const auto work = Load({{"AWS_PROFILE", "work"}});
  EXPECT_EQ(work->credentials.access_key_id, "W");  // the credentials file wins
  EXPECT_EQ(work->credentials.session_token.Expose(), "T");
  EXPECT_EQ(work->region, "eu-west-1");
  EXPECT_NE(work->credentials_source.find("profile work"), std::string::npos);
  EXPECT_EQ(Load({}, {.profile = "conf"})->credentials.access_key_id, "C");
  EXPECT_EQ(Load({}, {.profile = "conf", .region = "us-east-1"})->region, "us-east-1");
}

// As botocore: a profile from the environment does not beat keys from there, a named one does.
TEST_F(LoadConfigTest, ANamedProfileBeatsKeysOfTheEnvironment) {
  Write("credentials", "[work]\naws_access_key_id=W\naws_secret_access_key=S\n");
  const std::map<std::string, std::string, std::less<>> variables = {{"AWS_ACCESS_KEY_ID", "E"},
                                                                     {"AWS_SECRET_ACCESS_KEY", "S"},
                                                                     {"AWS_PROFILE", "work"},
                                                                     {"AWS_REGION", "us-east-1"}};
  EXPECT_EQ(Load(variables)->credentials.access_key_id, "E");
  EXPECT_EQ(Load(variables, {.profile = "work"})->credentials.access_key_id, "W");
}

TEST_F(LoadConfigTest, FilesCanBeElsewhere) {
  Write("other", "[default]\naws_access_key_id=O\naws_secret_access_key=S\nregion=us-east-1\n");
  EXPECT_EQ(Load({{"AWS_SHARED_CREDENTIALS_FILE", (home_ / ".aws" / "other").string()}})
                ->credentials.access_key_id,
            "O");
  EXPECT_EQ(
      Load({{"AWS_CONFIG_FILE", (home_ / ".aws" / "other").string()}})->credentials.access_key_id,
      "O");
}

class EndpointOrderTest : public LoadConfigTest {
 protected:
  std::map<std::string, std::string, std::less<>> variables_ = {
      {"AWS_ACCESS_KEY_ID", "A"}, {"AWS_SECRET_ACCESS_KEY", "S"}, {"AWS_REGION", "us-east-1"}};
  std::string Endpoint(Service service) {
    return Load(variables_)->endpoints.Of(service).ToString();
  }
};

TEST_F(EndpointOrderTest, FollowsThePublishedOrder) {
  Write("config",
        "[default]\nendpoint_url = http://127.0.0.1:4566\nservices = local\n"
        "[services local]\ns3 =\n  endpoint_url = http://127.0.0.1:9000\n");
  EXPECT_EQ(Endpoint(Service::kS3), "http://127.0.0.1:9000/");
  EXPECT_EQ(Endpoint(Service::kEc2), "http://127.0.0.1:4566/");
  variables_["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1";
  EXPECT_EQ(Endpoint(Service::kS3), "http://127.0.0.1:1/");
  variables_["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:2";
  EXPECT_EQ(Endpoint(Service::kS3), "http://127.0.0.1:2/");
  EXPECT_EQ(Endpoint(Service::kEbs), "http://127.0.0.1:1/");
  variables_["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true";
  EXPECT_EQ(Endpoint(Service::kS3), "https://s3.us-east-1.amazonaws.com/");
}

TEST_F(EndpointOrderTest, RefusesWhatIsNoAddress) {
  for (const char* bad : {"127.0.0.1:8014", "ftp://x", "http://x/?q=1"}) {
    variables_["AWS_ENDPOINT_URL"] = bad;
    EXPECT_EQ(ReasonOf(variables_), "aws.bad_config") << bad;
  }
}

TEST(Endpoints, KnowPartitions) {
  EXPECT_EQ(Endpoints::ForRegion("cn-north-1")->Of(Service::kEc2).host,
            "ec2.cn-north-1.amazonaws.com.cn");
  EXPECT_EQ(Endpoints::ForRegion("us-gov-west-1")->Of(Service::kEbs).host,
            "ebs.us-gov-west-1.amazonaws.com");
  EXPECT_EQ(Partition("us-gov-west-1"), "aws-us-gov");
  EXPECT_EQ(Partition("cn-north-1"), "aws-cn");
  EXPECT_EQ(Partition("eu-west-1"), "aws");
}

// The name becomes part of a host name that is sent signed requests.
TEST(Endpoints, RefuseWhatIsNoRegion) {
  for (const char* bad : {"", "evil.example/", "EU-WEST-1", "-a", "a b", "a@b"}) {
    const auto endpoints = Endpoints::ForRegion(bad);
    ASSERT_FALSE(endpoints) << bad;
    EXPECT_EQ(endpoints.error().reason(), "aws.bad_config");
  }
}

TEST(IsLoopback, KnowsNamesAndAddresses) {
  for (const char* host : {"localhost", "s3.localhost", "127.0.0.1", "127.1.2.3", "::1"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (const char* host : {"127.0.0.1.example.com", "10.0.0.1", "localhost.example.com"}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

}  // namespace
}  // namespace vmferry::aws
