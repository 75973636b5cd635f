// SPDX-License-Identifier: Apache-2.0
#include "aws/core/profile_file.h"

#include <gtest/gtest.h>

namespace vmferry::aws {
namespace {

TEST(ProfileFile, ReadsSectionsCommentsAndSubKeys) {
  const auto file = ProfileFile::Parse(
      "# a comment\n"
      "[default]\n"
      "aws_access_key_id = AK#ID ; not the key\n"
      "Region=eu-central-1\r\n"
      "\n"
      "[ profile   work ]\n"
      "s3 =\n"
      "  addressing_style = path\n"
      "\tmax_bandwidth = 1 # slow\n"
      "services = local\n"
      "[services local]\n"
      "ec2 =\n"
      "  endpoint_url = http://127.0.0.1:1\n");
  ASSERT_TRUE(file) << file.error().ToString();
  const auto* section = file->Find("default");
  ASSERT_NE(section, nullptr);
  EXPECT_EQ(section->at("aws_access_key_id"), "AK#ID");
  EXPECT_EQ(section->at("region"), "eu-central-1");
  section = file->Find("profile work");
  ASSERT_NE(section, nullptr);
  EXPECT_EQ(section->at("s3.addressing_style"), "path");
  EXPECT_EQ(section->at("s3.max_bandwidth"), "1");
  EXPECT_EQ(section->at("services"), "local");
  EXPECT_EQ(file->Find("services local")->at("ec2.endpoint_url"), "http://127.0.0.1:1");
  EXPECT_EQ(file->Find("work"), nullptr);
}

TEST(ProfileFile, NamesTheLineButNotItsText) {
  for (const char* text : {"[default\n", "[a]\nsecret\n", "key = secret\n", "[a]\n= secret\n"}) {
    const auto file = ProfileFile::Parse(text);
    ASSERT_FALSE(file) << text;
    EXPECT_EQ(file.error().reason(), "aws.bad_config");
    EXPECT_NE(file.error().FindFact("line"), nullptr);
    EXPECT_EQ(file.error().ToString().find("secret"), std::string::npos);
  }
}

TEST(ProfileFile, AcceptsAnEmptyFile) { EXPECT_TRUE(ProfileFile::Parse("")); }

}  // namespace
}  // namespace vmferry::aws
