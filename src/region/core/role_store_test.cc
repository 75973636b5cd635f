// SPDX-License-Identifier: Apache-2.0
#include "region/core/role_store.h"

#include <gtest/gtest.h>

#include "testing/temp_dir.h"

namespace vmferry::region {
namespace {

// As the VM Import/Export User Guide gives it, "Externalid" included.
constexpr const char* kVmieTrust =
    R"({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Service": "vmie.amazonaws.com"}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}}}]})";
constexpr const char* kVmiePolicy =
    R"({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"],
         "Resource": ["arn:aws:s3:::disks", "arn:aws:s3:::disks/*"]},
        {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::disks/secret/*"},
        {"Effect": "Allow", "Action": ["ec2:Describe*"], "Resource": "*"}]})";

class RoleStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    store_.reset();
    database_.reset();
    database_ = std::move(Database::Open(folder_ / "region.db")).value();
    store_ = std::move(RoleStore::Open(*database_)).value();
  }
  void AddVmimport() {
    Role role;
    role.name = "vmimport";
    role.id = "AROAEXAMPLE";
    role.arn = "arn:aws:iam::123456789012:role/vmimport";
    role.trust_policy = kVmieTrust;
    role.tags = {{"k", "v"}};
    ASSERT_TRUE(store_->Add(role));
  }

  testing::TempDir folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<RoleStore> store_;
};

TEST_F(RoleStoreTest, KeepsRolesAndFindsThemWithoutCase) {
  AddVmimport();
  ASSERT_TRUE(*store_->PutPolicy("VMIMPORT", "vmimport", kVmiePolicy, 10'240));
  Open();
  const auto role = store_->Find("VmImport");
  ASSERT_TRUE(role && *role);
  EXPECT_EQ((*role)->name, "vmimport");
  EXPECT_EQ((*role)->policies.at("vmimport"), kVmiePolicy);
  EXPECT_EQ((*role)->tags, (std::vector<NameValue>{{"k", "v"}}));
  EXPECT_FALSE(*store_->Find("other"));
  const auto again = store_->Add(**role);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().reason(), "region.role_exists");
}

TEST_F(RoleStoreTest, RemovesARoleOnlyWithoutPolicies) {
  AddVmimport();
  EXPECT_TRUE(*store_->PutPolicy("vmimport", "p", kVmiePolicy, 10'240));
  EXPECT_EQ(store_->Remove("vmimport").error().reason(), "region.role_has_policies");
  EXPECT_EQ(*store_->RemovePolicy("vmimport", "other"), RoleStore::PolicyRemoval::kNoPolicy);
  EXPECT_EQ(*store_->RemovePolicy("other", "p"), RoleStore::PolicyRemoval::kNoRole);
  EXPECT_EQ(*store_->RemovePolicy("vmimport", "p"), RoleStore::PolicyRemoval::kDone);
  EXPECT_TRUE(*store_->Remove("vmimport"));
  EXPECT_FALSE(*store_->Remove("vmimport"));
  EXPECT_FALSE(*store_->PutPolicy("vmimport", "p", kVmiePolicy, 10'240));
}

TEST_F(RoleStoreTest, BoundsPoliciesWithoutTheirBlanks) {
  AddVmimport();
  EXPECT_TRUE(store_->PutPolicy("vmimport", "p", "{ \"a\" : 1 }", 7));
  EXPECT_TRUE(store_->PutPolicy("vmimport", "p", "{\n\"a\" : 2 }", 7));
  EXPECT_EQ(store_->PutPolicy("vmimport", "q", "{}", 7).error().reason(),
            "region.policies_too_long");
}

TEST_F(RoleStoreTest, TellsWhoMayAssumeIt) {
  AddVmimport();
  const Role role = **store_->Find("vmimport");
  EXPECT_TRUE(ServiceMayAssume(role, "vmie.amazonaws.com", {{"sts:ExternalId", "vmimport"}}));
  EXPECT_FALSE(ServiceMayAssume(role, "vmie.amazonaws.com", {{"sts:ExternalId", "other"}}));
  EXPECT_FALSE(ServiceMayAssume(role, "vmie.amazonaws.com", {}));
  EXPECT_FALSE(ServiceMayAssume(role, "ec2.amazonaws.com", {{"sts:ExternalId", "vmimport"}}));
}

TEST_F(RoleStoreTest, TellsWhatItAllows) {
  AddVmimport();
  ASSERT_TRUE(store_->PutPolicy("vmimport", "vmimport", kVmiePolicy, 10'240));
  const Role role = **store_->Find("vmimport");
  EXPECT_TRUE(RoleAllows(role, "s3:GetObject", "arn:aws:s3:::disks/a/b"));
  EXPECT_TRUE(RoleAllows(role, "s3:getobject", "arn:aws:s3:::disks/a"));
  EXPECT_FALSE(RoleAllows(role, "s3:GetObject", "arn:aws:s3:::others/a"));
  EXPECT_FALSE(RoleAllows(role, "s3:GetObject", "arn:aws:s3:::disks/secret/a"));
  EXPECT_FALSE(RoleAllows(role, "s3:PutObject", "arn:aws:s3:::disks/a"));
  EXPECT_TRUE(RoleAllows(role, "ec2:DescribeImages", "*"));
}

TEST(PolicyDocument, RefusesWhatIamRefuses) {
  const auto reason = [](std::string_view document, PolicyKind kind) {
    const auto outcome = CheckPolicy(document, kind);
    return outcome ? std::string("ok") : outcome.error().reason();
  };
  const auto trust = [&](std::string_view document) {
    return reason(document, PolicyKind::kTrust);
  };
  EXPECT_EQ(trust(kVmieTrust), "ok");
  EXPECT_EQ(reason(kVmiePolicy, PolicyKind::kPermissions), "ok");
  EXPECT_EQ(trust(kVmiePolicy), "region.malformed_policy");
  EXPECT_EQ(reason(kVmieTrust, PolicyKind::kPermissions), "region.malformed_policy");
  for (const char* bad : {"", "{", "[]", "{}", R"({"Statement": []})", R"({"Statement": [1]})",
                          R"({"Version": "2020-01-01", "Statement": {}})"}) {
    EXPECT_EQ(trust(bad), "region.malformed_policy") << bad;
  }
  EXPECT_EQ(trust(R"({"Statement": {"Effect": "Allow", "Principal": {"Federated": "x"},
                      "Action": "sts:AssumeRole"}})"),
            "region.policy_not_modelled");
  EXPECT_EQ(trust(R"({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole",
                      "Condition": {"DateLessThan": {"aws:CurrentTime": "x"}}}})"),
            "region.policy_not_modelled");
}

TEST(PolicyDocument, KnowsPrincipalsOfAccounts) {
  const auto allows = [](std::string_view principal, std::string_view arn) {
    PolicyQuestion question;
    question.principal_arn = arn;
    question.action = "sts:AssumeRole";
    return PolicyAllows(R"({"Statement": {"Effect": "Allow", "Action": "sts:*", "Principal": )" +
                            std::string(principal) + "}}",
                        PolicyKind::kTrust, question);
  };
  const char* user = "arn:aws:iam::123456789012:user/u";
  EXPECT_TRUE(allows(R"("*")", user));
  EXPECT_TRUE(allows(R"({"AWS": "123456789012"})", user));
  EXPECT_TRUE(allows(R"({"AWS": ["arn:aws:iam::123456789012:root"]})", user));
  EXPECT_TRUE(allows(R"({"AWS": "arn:aws:iam::123456789012:user/u"})", user));
  EXPECT_FALSE(allows(R"({"AWS": "arn:aws:iam::123456789012:user/v"})", user));
  EXPECT_FALSE(allows(R"({"AWS": "210987654321"})", user));
  EXPECT_FALSE(allows(R"({"Service": "vmie.amazonaws.com"})", user));
}

TEST(PolicyDocument, MatchesWildcards) {
  EXPECT_TRUE(MatchesWildcards("*", ""));
  EXPECT_TRUE(MatchesWildcards("a*c?e", "abbcde"));
  EXPECT_FALSE(MatchesWildcards("a*c?e", "abbce"));
  EXPECT_FALSE(MatchesWildcards("", "a"));
  EXPECT_FALSE(MatchesWildcards("***a", std::string(1000, 'b')));
}

}  // namespace
}  // namespace vmferry::region
